"""Starting operations, at most once.

For other packages: `Starter` starts them, `RunDispatch` and `GenerationDispatch` say what, a
`JobSource` makes those of a batch, `select_features` those of a whole project, and `Dispatcher` is
closed with the client.
"""

from testvibe_async._dispatch.dispatcher import Dispatcher
from testvibe_async._dispatch.dispatches import GenerationDispatch, RunDispatch
from testvibe_async._dispatch.jobs import Job, JobSource, select_features
from testvibe_async._dispatch.starter import GenerateConflict, RunConflict, Starter

__all__ = [
    "Dispatcher",
    "GenerateConflict",
    "GenerationDispatch",
    "Job",
    "JobSource",
    "RunConflict",
    "RunDispatch",
    "Starter",
    "select_features",
]
