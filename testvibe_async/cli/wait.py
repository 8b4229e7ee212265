"""`testvibe-async wait`: wait for operations that were dispatched anywhere, any time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from testvibe_async import BatchItem, Generation, Run, VibeError, WaitTimeoutError
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.options import NO_FILES, Files, Seconds
from testvibe_async.cli.refs import read_refs
from testvibe_async.cli.texts import TextFile, name_of, read_text
from testvibe_async.cli.watch import watching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from testvibe_async import Client, Ref
    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.dispatch import Item

__all__ = ["wait", "wait_for"]


async def wait(
    *refs: str,
    file: TextFile | None = None,
    timeout: Seconds | None = None,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Wait for runs and generations that were dispatched before.

    A ref is what the other commands print of an operation with --json, on one line of JSON. A file
    may hold any number of them, within any other JSON.

    For example:

        testvibe-async run --all --json > runs.json
        testvibe-async wait --file runs.json
        testvibe-async run Checkout --json | testvibe-async wait --file -

    The exit codes are those of run --wait.

    Args:
        refs: The operations, as JSON.
        file: A file with refs; - for standard input.
        timeout: Seconds to wait. What is in flight then goes on at the service.
        files: What to leave.
        common: The options of every command.
    """
    files.check()
    named = read_refs(refs, {} if file is None else {name_of(file): read_text(file)})
    return await wait_for(lambda _: named, timeout=timeout, files=files, common=common)


async def wait_for(
    name: Callable[[Connection], Sequence[Ref]],
    *,
    timeout: float | None,
    files: Files,
    common: Common,
) -> ExitCode:
    """Wait for operations as a command does that does nothing else.

    Args:
        name: Gives the operations.
        timeout: Seconds to wait; None for as long as it takes.
        files: What to leave.
        common: The options of the command.
    """
    async with watching(common) as watch:
        client, refs = watch.connection.client, name(watch.connection)
        for ref in refs:
            client.attach(ref)  # One of another server is refused before any is waited for.
        ends = ends_of(client, refs, timeout=timeout)
        for ref in refs:
            watch.board.follow(ref)
        items = await watch.collect(aclosing(ends))
        places = {ref: place for place, ref in enumerate(refs)}
        items.sort(key=lambda item: places[item.ref] if item.ref else 0)
        return await watch.conclude(items, files)
    return ExitCode.INTERRUPTED


async def ends_of(
    client: Client, refs: Sequence[Ref], *, timeout: float | None
) -> AsyncGenerator[Item]:
    """Yield what becomes of operations as they end; when the time is over, all that are left.

    Args:
        client: Of their server.
        refs: The operations.
        timeout: Seconds to wait; None for as long as it takes.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    ends = client.finished([client.attach(ref) for ref in refs])
    left = {ref.key: ref for ref in refs}
    while left:
        try:
            async with asyncio.timeout_at(None if timeout is None else began + timeout):
                operation = await anext(ends)
            item = _item(operation.ref, outcome=operation.outcome)
        except VibeError as error:
            if error.ref is None:
                raise
            item = _item(left[error.ref.key], error=error)
        except TimeoutError:
            break
        assert item.ref is not None
        del left[item.ref.key]
        yield item
    for ref in left.values():
        status, elapsed = client.attach(ref).status, loop.time() - began
        yield _item(ref, error=WaitTimeoutError(ref=ref, status=status, elapsed=elapsed))


def _item(
    ref: Ref, *, outcome: Run | Generation | None = None, error: VibeError | None = None
) -> Item:
    feature = outcome.feature_name if outcome else None
    return BatchItem(feature=feature or str(ref), ref=ref, outcome=outcome, error=error)
