"""Starting operations, at most once.

The door: `Conflicts` starts them, `RunDispatch` and `GenerationDispatch` say what, and `Dispatcher`
is closed with the client.
"""

from testvibe_async._dispatch.conflicts import Conflicts, GenerateConflict, RunConflict
from testvibe_async._dispatch.dispatcher import Dispatcher
from testvibe_async._dispatch.kinds import GenerationDispatch, RunDispatch

__all__ = [
    "Conflicts",
    "Dispatcher",
    "GenerateConflict",
    "GenerationDispatch",
    "RunConflict",
    "RunDispatch",
]
