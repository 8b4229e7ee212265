"""Ctrl-C and SIGTERM: the effect of each signal on a task that cleans up."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, NoReturn

import anyio
import pytest

from testvibe_async.cli.stop import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable


def press_later(*seconds: float, number: signal.Signals = signal.SIGINT) -> None:
    for each in seconds:
        asyncio.get_running_loop().call_later(each, signal.raise_signal, number)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_first_press_ends_the_body_in_order() -> None:
    """The task is cancelled where it waits, cleans up, and continues after the body."""
    done: list[str] = []
    press_later(1)
    with interruptible():
        try:
            await asyncio.sleep(3600)
        finally:
            with anyio.move_on_after(10, shield=True):
                await asyncio.sleep(5)
            done.append("cleaned up")
        done.append("not reached")
    await asyncio.sleep(1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert done == ["cleaned up"]
    assert now() == 7


async def test_second_press_cuts_the_order_short() -> None:
    """The clean-up is cancelled too, and so are all other tasks."""
    other = asyncio.create_task(asyncio.sleep(3600))
    press_later(1, 3)
    with interruptible():
        try:
            await asyncio.sleep(3600)
        finally:
            with anyio.move_on_after(100, shield=True):
                await asyncio.sleep(100)
    await asyncio.wait([other])
    assert other.cancelled()
    assert now() == 3


async def test_third_press_is_pythons_own() -> None:
    """From the second press on the signal has its previous handler."""
    press_later(1, 2)
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        try:
            await asyncio.sleep(3600)
        finally:
            try:
                await asyncio.sleep(3600)
            finally:
                assert signal.getsignal(signal.SIGINT) is before


async def test_other_cancellation() -> None:
    """A cancellation that is not from a signal is raised as usual."""

    async def body() -> None:
        with interruptible():
            await asyncio.sleep(3600)

    task = asyncio.create_task(body())
    asyncio.get_running_loop().call_later(1, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()


async def test_error_is_raised_as_it_is() -> None:
    """An error during the clean-up is not hidden by the signal."""

    async def body() -> None:
        with interruptible():
            try:
                await asyncio.sleep(3600)
            finally:
                raise LookupError

    press_later(1)
    with pytest.raises(LookupError):
        await body()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
async def test_other_signals_end_the_program_after_that(number: signal.Signals, code: int) -> None:
    """They let the body clean up as well, and then exit with their code."""
    press_later(1, number=number)
    with pytest.raises(SystemExit) as caught, interruptible():
        await asyncio.sleep(3600)
    assert caught.value.code == code


async def test_signals_are_left_as_they_were() -> None:
    """Afterwards the signals have their previous handlers."""

    def handle(_number: int, _frame: object) -> None:
        """Do nothing."""

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is not handle
        assert [signal.getsignal(number) for number in numbers] == [handle] * 4
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


async def test_loop_that_takes_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loop can't handle signals, as on Windows, nothing is changed."""

    def refuse(_number: int, _call: Callable[..., object], *_arguments: object) -> NoReturn:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is before
