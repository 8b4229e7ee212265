"""Exit codes: which one an error calls for, and which comes first where several apply. Pure.

Scripts decide by the exit code. One code has one meaning in all commands, and each shows who must
act: 0 nobody; 1 the owner of the tests; 2 and 3 the user of the command; 4 and 5 nobody yet, try
again later. So 1 says that all is known, and 0 that all passed.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from testvibe_async import errors
from testvibe_async.models import OutcomeError, UndocumentedStatusError
from testvibe_async.runner.limit import GenerationLimitError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """The exit code of a command."""

    PASSED = 0
    """The command succeeded, and every operation that it waited for passed."""

    FAILED = 1
    """A run or a generation that the command waited for finished and did not pass."""

    USAGE = 2
    """The call, a setting, or a file on this machine is wrong; or a question was answered by no."""

    REFUSED = 3
    """The service refused: 400, 401, 403, 404, 409. It would refuse the same call again."""

    IN_FLIGHT = 4
    """Operations are still running at the service, or not all were dispatched."""

    UNREACHABLE = 5
    """The service could not be reached, failed (5xx), was too busy (429) or can't be understood."""

    DEFECT = 70
    """The command itself is broken: an error that it has no sentence for."""

    HUNG_UP = 129
    """SIGHUP: the terminal was closed. Dispatched operations are still running at the service."""

    INTERRUPTED = 130
    """Ctrl-C. Dispatched operations are still running at the service."""

    QUIT = 131
    """SIGQUIT. Dispatched operations are still running at the service."""

    PIPE_CLOSED = 141
    """The reader of the output stopped reading."""

    TERMINATED = 143
    """SIGTERM. Dispatched operations are still running at the service."""


_CODES: tuple[tuple[ExitCode, tuple[type[errors.VibeError], ...]], ...] = (
    (ExitCode.USAGE, (errors.ConfigError, errors.LedgerError)),
    (ExitCode.UNREACHABLE, (UndocumentedStatusError, errors.RateLimitedError, errors.ServerError)),
    (ExitCode.UNREACHABLE, (errors.MalformedResponseError, errors.IncompleteListError)),
    (ExitCode.FAILED, (OutcomeError,)),
    (ExitCode.IN_FLIGHT, (errors.WaitTimeoutError, GenerationLimitError, errors.ClientClosedError)),
    (
        ExitCode.REFUSED,
        (errors.ResponseError, errors.OperationNotFoundError, errors.OperationSupersededError),
    ),
    (ExitCode.UNREACHABLE, (errors.ObservationError, errors.TransportError)),
)
"""The first that matches decides, so a class stands before its base."""

STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HUNG_UP, ExitCode.QUIT)
"""The codes of a command that a signal stopped."""

_PRECEDENCE = (
    *STOPPED,
    *(ExitCode.DEFECT, ExitCode.UNREACHABLE, ExitCode.REFUSED),
    *(ExitCode.USAGE, ExitCode.IN_FLIGHT, ExitCode.FAILED),
)
"""Unknown outcomes come before known failures, so 1 means that every outcome is known."""


def exit_code_of(error: errors.VibeError) -> ExitCode:
    """Return the exit code of a command that an error ended."""
    if type(error) is errors.VibeError:  # It was stored by a release that has more classes.
        return ExitCode.UNREACHABLE
    return next((code for code, kinds in _CODES if isinstance(error, kinds)), ExitCode.DEFECT)


def worst_of(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the exit code of a command for which several apply; success if none does."""
    called_for = set(codes)
    return next((code for code in _PRECEDENCE if code in called_for), ExitCode.PASSED)
