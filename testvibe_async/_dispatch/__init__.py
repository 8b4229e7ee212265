"""Starting operations, at most once.

For other packages: `Starter` starts them, `RunDispatch` and `GenerationDispatch` say what, a
`JobSource` makes those of a batch out of `Features`, `select_features` those of a whole project,
and `Dispatcher` is closed with the client.
"""

from testvibe_async._dispatch.dispatch import Dispatch, GenerationDispatch, RunDispatch
from testvibe_async._dispatch.dispatcher import Dispatcher
from testvibe_async._dispatch.jobs import Features, Job, JobSource, select_features
from testvibe_async._dispatch.search import may_have_started
from testvibe_async._dispatch.starter import GenerateConflict, RunConflict, Starter

__all__ = [
    "Dispatch",
    "Dispatcher",
    "Features",
    "GenerateConflict",
    "GenerationDispatch",
    "Job",
    "JobSource",
    "RunConflict",
    "RunDispatch",
    "Starter",
    "may_have_started",
    "select_features",
]
