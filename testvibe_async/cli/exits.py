"""The error that ends a command, and its log: one line each on standard error.

Only this module decides which errors and log records reach standard error: with no key and no
control character in them, and a traceback only with -vv.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cyclopts import Argument, CycloptsError, exceptions

from testvibe_async import VibeError, errors
from testvibe_async._core.config import masked
from testvibe_async.cli.text import escape_lines, reason, warn
from testvibe_async.runner.codes import ExitCode, exit_code_of
from testvibe_async.runner.words import NAME

if TYPE_CHECKING:
    from collections.abc import Generator

    from testvibe_async.events import Event


_LOGGERS = ("testvibe_async", "asyncio")
"""The loggers that are printed: the SDK's, and the event loop's with its unhandled errors."""

ENDING: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
"""The signals, besides Ctrl-C, that end a command in order; Windows lacks some."""


def error_sentence(error: VibeError) -> str:
    """Return the error of a command, and the remedy.

    It leaves out what only a programmer would look for: -vv shows that.
    """
    if isinstance(error, errors.TransportError) and not isinstance(error, errors.LedgerError):
        return f"{urlsplit(error.url).netloc}: {reason(error)}"
    return reason(error) + (_advice(error) if isinstance(error, errors.ResponseError) else "")


def _advice(error: errors.ResponseError) -> str:
    """Return the notes that the command added; else what errors of this kind call for."""
    if notes := getattr(error, "__notes__", ()):
        return f"; {'; '.join(notes)}"
    if isinstance(error, errors.MalformedResponseError):
        return f"; {error.advice}"
    is_key = isinstance(error, errors.UnauthorizedError)
    return f", or log in with {NAME} login" if is_key else ""


def _usage_sentence(error: CycloptsError) -> str:
    """Return the error of a call, and the command for its help."""
    command = " ".join([NAME, *(error.command_chain or ())])
    what = _what(error, command).rstrip(" .,")
    return f"{what}{' See' if what.endswith('?') else '; see'} {command} --help"


def _what(error: CycloptsError, command: str) -> str:
    """Return the library's own sentence, unless ours says more."""
    match error:
        case exceptions.UnusedCliTokensError():
            typed = error.unused_tokens[0] if error.unused_tokens else ""
            return f"{typed!r} is more than {command} takes: put a name of several words in quotes"
        case exceptions.MissingArgumentError(argument=Argument(name=name)):
            return f"{name if name.startswith('--') else name.upper()} needs a value"
        case _:
            pass
    # Some of the commands look like all of them.
    text = str(error).partition(" Available commands: ")[0]
    return text[:1].lower() + text[1:]


def report(error: BaseException) -> ExitCode:
    """Report the error that ended a command, while it is handled; return the exit code.

    Raises:
        ModuleNotFoundError: It is the error; `main` knows which packages an extra brings.
        CancelledError: It is the error.
    """
    match error:
        case CycloptsError():
            code, sentence = ExitCode.USAGE, _usage_sentence(error)
        case VibeError():
            code, sentence = exit_code_of(error), error_sentence(error)
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case SystemExit():  # A signal stopped it.
            return ExitCode(int(error.code or 0))
        case BrokenPipeError():
            with suppress(OSError, ValueError):  # Python would fail to flush it at the exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.PIPE_CLOSED
        case OSError():
            code, sentence = ExitCode.USAGE, reason(error)
        case Exception() if not isinstance(error, ModuleNotFoundError):
            more = "" if _LOG.verbose > 1 else "; -vv shows where"
            sentence = f"internal error: {type(error).__name__}: {error}{more}"
            code = ExitCode.DEFECT
        case _:
            raise error
    _report(sentence)
    return code


class _Log(logging.Handler):
    """Writes to the present standard error, which a live table replaces for a while."""

    verbose = 0
    """Number of times that -v was given."""

    last = ""
    """The last line."""

    hides_reported = False
    """True if the progress view and the end of a command report events, and much else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        line = record.args[0] if isinstance(record.args, tuple) and record.args else None
        event: Event | None = getattr(line, "event", None)
        is_reported = event is not None or getattr(record, "testvibe_reported", False)
        if self.verbose or not (self.hides_reported and is_reported):
            self.last = _harmless(self._text(record, event))
            sys.stderr.write(self.last + "\n")

    def _text(self, record: logging.LogRecord, event: Event | None) -> str:
        """Return a record as one line, and with -vv its traceback too."""
        # It brings asyncio, which commands without requests do without.
        from testvibe_async.events import Paused  # noqa: PLC0415

        text = self.format(record)
        if self.verbose > 1:
            return text
        if self.verbose:
            return text.partition("\n")[0]
        if isinstance(event, Paused):
            seconds = f"{event.seconds:.3g} s"
            what = f"the service asks for a pause, so nothing is sent for {seconds}"
            return f"{NAME}: {what}: {reason(event.error)}"
        return f"{NAME}: {record.getMessage()}".partition("\n")[0]


_LOG = _Log()
_LOG.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))


def log_to_standard_error(verbose: int) -> None:
    """Print log records.

    Args:
        verbose: 0 for warnings alone, 1 for what a user may want to know, 2 for all, tracebacks
            too.
    """
    _LOG.verbose, _LOG.last = verbose, ""
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(_LOG)  # The handler of an earlier command is the same.
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.getLogger(_LOGGERS[0]).setLevel(level)


@contextmanager
def shown_elsewhere() -> Generator[None]:
    """Suppress warnings that the progress view and the end of a command report, unless with -v."""
    _LOG.hides_reported = True
    try:
        yield
    finally:
        _LOG.hides_reported = False


def _report(sentence: str) -> None:
    """Print what went wrong, unless a warning just said it, and with -vv where."""
    line = f"{NAME}: {_harmless(' '.join(sentence.split(chr(10))))}"
    if line != _LOG.last:
        warn(line)
    if _LOG.verbose > 1:
        sys.stderr.write(_harmless(traceback.format_exc()))


def _harmless(text: str) -> str:
    """Return a text without keys and control characters."""
    return masked(escape_lines(text))
