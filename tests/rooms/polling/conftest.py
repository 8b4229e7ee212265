"""The fixtures of the promises of polling."""

from tests.promises.polling.conftest import _no_read_before_the_first_run, emulator, scenario

__all__ = ["_no_read_before_the_first_run", "emulator", "scenario"]
