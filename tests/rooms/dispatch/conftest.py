"""The fixtures of the promises of dispatches."""

from tests.promises.dispatch.conftest import emulator, scenario

__all__ = ["emulator", "scenario"]
