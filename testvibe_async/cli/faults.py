"""Turns whatever ends a command into an exit code, and a sentence where it needs one.

Decides what reaches standard error of errors and logs, and in what form: one line each, with no key
in it and nothing that a terminal obeys; a traceback for those who ask for it with -vv.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import define
from cyclopts import CycloptsError

from testvibe_async import VibeError
from testvibe_async._config import masked
from testvibe_async.cli.exits import ExitCode, exit_code_of
from testvibe_async.cli.output import clean_lines
from testvibe_async.cli.sentences import NAME, error_sentence, usage_sentence

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Fate", "log_to_standard_error", "reported"]

_LOGGERS = ("testvibe_async", "asyncio")
"""Whose logs are told: ours, and the event loop's, which tells of errors that nobody caught."""


@define
class Fate:
    """How a command ends."""

    code: ExitCode | None = None
    """None where all went well."""

    verbose: int = 0
    """How often -v was typed."""


@contextmanager
def reported() -> Generator[Fate]:
    """Take in whatever a command raises, tell of it, and have the exit code at the end."""
    fate = Fate()
    try:
        yield fate
    except CycloptsError as error:
        fate.code = ExitCode.USAGE
        _tell(usage_sentence(error))
    except VibeError as error:
        fate.code = exit_code_of(error)
        _tell(error_sentence(error), fate)
    except KeyboardInterrupt:
        fate.code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        fate.code = ExitCode.PIPE_CLOSED
        _write_no_more()
    except ModuleNotFoundError:
        raise  # `main` knows which are of an extra
    except OSError as error:
        fate.code = ExitCode.USAGE
        _tell(f"{error.filename or 'this machine'}: {error.strerror or error}", fate)
    except Exception as error:  # noqa: BLE001 - the last resort
        fate.code = ExitCode.DEFECT
        more = "" if fate.verbose > 1 else "; -vv shows where"
        _tell(f"an error that should not be: {type(error).__name__}: {error}{more}", fate)


def _tell(sentence: str, fate: Fate | None = None) -> None:
    """Say what went wrong, and with -vv where."""
    one_line = " ".join(sentence.split("\n"))
    sys.stderr.write(f"{NAME}: {_harmless(one_line)}\n")
    if fate is not None and fate.verbose > 1:
        sys.stderr.write(_harmless(traceback.format_exc()))


def _write_no_more() -> None:
    """Send what is left to nowhere: Python would flush it at the end, and complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _harmless(text: str) -> str:
    """Return a text without keys, and without what a terminal might obey."""
    return masked(clean_lines(text))


def log_to_standard_error(verbose: int) -> None:
    """Tell what is logged, in place of what an earlier command of this process wanted.

    Args:
        verbose: 0 for warnings alone, 1 for what a user may want to know, 2 for all, tracebacks
            too.
    """
    handler = _LogHandler()
    handler.setFormatter(_Formatter(verbose))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for each in [each for each in logger.handlers if isinstance(each, _LogHandler)]:
            logger.removeHandler(each)
        logger.addHandler(handler)
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.getLogger(_LOGGERS[0]).setLevel(level)


class _LogHandler(logging.Handler):
    """Writes to standard error as it is at the moment: a live view takes its place meanwhile."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        sys.stderr.write(_harmless(self.format(record)) + "\n")


class _Formatter(logging.Formatter):
    """One line a record, unless all is asked for."""

    def __init__(self, verbose: int) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(message)s" if verbose else f"{NAME}: %(message)s"
        )
        self._is_short = verbose < 2  # noqa: PLR2004 - -vv

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; its traceback is left out where it was not asked for."""
        text = super().format(record)
        return text.partition("\n")[0] if self._is_short else text
