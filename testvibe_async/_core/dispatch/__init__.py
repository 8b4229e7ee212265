"""Dispatch of operations, at most once.

Exported for other packages: a `Starter` starts operations, described by a `Dispatch` that the
`Dispatcher` makes. The `Dispatcher` is closed with the client.
"""

from testvibe_async._core.dispatch.conflicts import GenerateConflict, RunConflict, Starter
from testvibe_async._core.dispatch.dispatch import Dispatch, State
from testvibe_async._core.dispatch.dispatcher import CLOSE_SECONDS, Dispatcher
from testvibe_async._core.dispatch.kinds import GenerationDispatch, RunDispatch, TestsMadeError
from testvibe_async._core.dispatch.record import NOTE_SECONDS, Record, noted, refute
from testvibe_async._core.dispatch.unknown import unknown_of

__all__ = [
    "CLOSE_SECONDS",
    "NOTE_SECONDS",
    "Dispatch",
    "Dispatcher",
    "GenerateConflict",
    "GenerationDispatch",
    "Record",
    "RunConflict",
    "RunDispatch",
    "Starter",
    "State",
    "TestsMadeError",
    "noted",
    "refute",
    "unknown_of",
]
