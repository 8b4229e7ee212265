"""A check for leaks: tasks and connections that asynchronous code leaves in its event loop.

Decides what counts as a leak: what was not there before, and is neither finished nor closing. It
never closes anything.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    _Loop = asyncio.AbstractEventLoop
    _Name = Callable[[Any, _Loop], str | None]

__all__ = ["assert_no_leaks"]

CLOSING_ITERATIONS = 20
"""Iterations of the event loop in which closing things may finish closing."""


@asynccontextmanager
async def assert_no_leaks() -> AsyncGenerator[None]:
    """Fail if the body leaves something behind in the running event loop.

    For example::

        async with assert_no_leaks():
            await my_service.handle(request)

    It finds tasks that are not done, and open clients of this package, aiohttp sessions,
    connections and servers. What was there before does not count, nor what other loops have. It
    inspects every object in the process twice, which takes some 20 ms each time. If the body
    raises, it checks nothing.

    Raises:
        AssertionError: Something is left behind; the message names all of it.
    """
    before = _open_things()
    yield
    for _ in range(CLOSING_ITERATIONS):
        await asyncio.sleep(0)
    # `before` keeps its objects alive, so that no newer object has one of their ids.
    known = {id(thing) for thing, _ in before}
    left = [name for thing, name in _open_things() if id(thing) not in known]
    if left:
        raise AssertionError("left behind in the event loop: " + "; ".join(sorted(left)))


def _open_things() -> list[tuple[object, str]]:
    """Return the open objects of the running loop, with their descriptions."""
    current = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not current]
    return [*((task, _task(task)) for task in tasks), *_closable_things()]


def _closable_things() -> Iterator[tuple[object, str]]:
    loop = asyncio.get_running_loop()
    names = [
        (getattr(sys.modules[module], kind), name)
        for module, kind, name in _CLOSABLE
        if module in sys.modules  # a module that was never imported has no objects
    ]
    names_of: dict[Any, _Name | None] = {}
    for thing in gc.get_objects():
        kind: Any = type(thing)  # pyright: ignore[reportUnknownVariableType]
        if kind not in names_of:
            names_of[kind] = next((name for base, name in names if issubclass(kind, base)), None)
        name_of = names_of[kind]
        if name_of is not None and (name := name_of(thing, loop)) is not None:
            yield thing, name


def _transport(thing: Any, loop: _Loop) -> str | None:  # noqa: ANN401 - any object of the process
    if thing.is_closing() or getattr(thing, "_loop", loop) is not loop:
        return None
    return f"connection to {_address(thing.get_extra_info('peername'))}"


def _server(thing: Any, loop: _Loop) -> str | None:  # noqa: ANN401 - likewise
    if not thing.is_serving() or thing.get_loop() is not loop:
        return None
    return f"server at {', '.join(_address(each.getsockname()) for each in thing.sockets)}"


def _session(thing: Any, loop: _Loop) -> str | None:  # noqa: ANN401 - likewise
    is_here = thing._loop is loop  # noqa: SLF001 - aiohttp has no public name for it
    return "aiohttp session" if is_here and not thing.closed else None


def _client(thing: Any, loop: _Loop) -> str | None:  # noqa: ANN401 - likewise
    # A client whose arguments were refused has none; the refusal's traceback may keep it.
    transport = getattr(thing, "_transport", None)
    if transport is None or not transport.is_open or transport._loop is not loop:  # noqa: SLF001 - of this package
        return None
    return repr(thing)


_CLOSABLE: tuple[tuple[str, str, _Name], ...] = (
    ("asyncio", "BaseTransport", _transport),
    ("asyncio", "AbstractServer", _server),
    ("aiohttp", "ClientSession", _session),
    ("testvibe_async.client", "Client", _client),
)
"""Types that can be left open, each with a function that describes an open object of a loop.

It returns None for an object that is not open, or belongs to another loop.
"""


def _task(task: asyncio.Task[Any]) -> str:
    coroutine = getattr(task.get_coro(), "__qualname__", "its coroutine")
    (frame,) = task.get_stack(limit=1) or (None,)
    place = f", at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
    return f"task {task.get_name()!r} ({coroutine}{place})"


def _address(address: object) -> str:
    """Return the name of a socket's address: host and port, or a path."""
    if isinstance(address, tuple):
        host, port, *_ = address  # pyright: ignore[reportUnknownVariableType]
        return f"{host}:{port}"
    return str(address)
