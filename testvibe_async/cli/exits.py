"""What the exit code of the command says.

Scripts decide by it, so one code has one meaning in all commands, and each tells who must act: 0
nobody, 1 whoever owns the tests, 2 and 3 whoever typed the command, 4 and 5 nobody yet: look again
later. Which error has which code is decided here and nowhere else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from testvibe_async import (
    ClientClosedError,
    ConfigError,
    MalformedResponseError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    OutcomeError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from testvibe_async import VibeError

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """How a command ended."""

    PASSED = 0
    """It did what it is for, and what it waited for passed."""

    FAILED = 1
    """What it waited for is over and did not pass: a run, or a generation."""

    USAGE = 2
    """It was called wrongly, or a setting or a file on this machine is wrong."""

    REFUSED = 3
    """The service refused: 400, 401, 403, 404, 409. The same again will be refused again."""

    IN_FLIGHT = 4
    """It stopped waiting; the operation goes on at the service."""

    UNREACHABLE = 5
    """The service could not be reached, failed (5xx), was too busy (429) or can't be understood."""

    DEFECT = 70
    """The command itself is broken: an error that it has no sentence for."""

    INTERRUPTED = 130
    """Ctrl-C. What was dispatched goes on at the service."""

    PIPE_CLOSED = 141
    """Whoever read the output stopped reading."""

    TERMINATED = 143
    """SIGTERM. What was dispatched goes on at the service."""


_CODES: tuple[tuple[type[VibeError], ExitCode], ...] = (
    (ConfigError, ExitCode.USAGE),
    (OutcomeError, ExitCode.FAILED),
    (WaitTimeoutError, ExitCode.IN_FLIGHT),
    (ClientClosedError, ExitCode.IN_FLIGHT),
    (RateLimitedError, ExitCode.UNREACHABLE),
    (ServerError, ExitCode.UNREACHABLE),
    (MalformedResponseError, ExitCode.UNREACHABLE),
    (ResponseError, ExitCode.REFUSED),
    (OperationNotFoundError, ExitCode.REFUSED),
    (OperationSupersededError, ExitCode.REFUSED),
    (ObservationError, ExitCode.UNREACHABLE),
    (TransportError, ExitCode.UNREACHABLE),
)
"""The first that fits decides, so a class stands before its base."""


def exit_code_of(error: VibeError) -> ExitCode:
    """Return the exit code of a command that an error ended."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.DEFECT)
