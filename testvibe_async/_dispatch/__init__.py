"""Dispatch of operations, at most once.

Exported for other packages: `Starter` starts operations, described by `RunDispatch` and
`GenerationDispatch`. A `JobSource` makes the jobs of a batch from `Features`, and `select_features`
selects the features of a whole project. The `Dispatcher` is closed with the client.
"""

from testvibe_async._dispatch.dispatch import Dispatch
from testvibe_async._dispatch.dispatcher import CLOSE_SECONDS, Dispatcher
from testvibe_async._dispatch.finding import Known, Progress, knowing
from testvibe_async._dispatch.jobs import Features, Job, JobSource, select_features
from testvibe_async._dispatch.kinds import (
    DISPATCHES,
    GenerationDispatch,
    RunDispatch,
    TestsMadeError,
)
from testvibe_async._dispatch.search import may_have_started
from testvibe_async._dispatch.starter import GenerateConflict, RunConflict, Starter

__all__ = [
    "CLOSE_SECONDS",
    "DISPATCHES",
    "Dispatch",
    "Dispatcher",
    "Features",
    "GenerateConflict",
    "GenerationDispatch",
    "Job",
    "JobSource",
    "Known",
    "Progress",
    "RunConflict",
    "RunDispatch",
    "Starter",
    "TestsMadeError",
    "knowing",
    "may_have_started",
    "select_features",
]
