"""`testvibe-async wait`: wait for operations that were dispatched before, by any client.

It decides which operations are meant, and that those which are not over at the timeout are in
flight. How they are shown is decided in `watch`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from testvibe_async import BatchItem, Generation, Run, VibeError
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.input import TextFile, name_of, read_text
from testvibe_async.cli.options import NO_FILES, Files, Seconds
from testvibe_async.cli.refs import read_refs
from testvibe_async.cli.watch import watching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from testvibe_async import Client, Ref
    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.jobs import Item

__all__ = ["completions_of", "wait", "wait_for"]


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
    refs_in: Callable[[Connection], Sequence[Ref]],
    *,
    timeout: float | None,
    files: Files,
    common: Common,
) -> ExitCode:
    """Wait for operations, print their results, and return the exit code.

    Args:
        refs_in: Returns the operations, given the connection.
        timeout: Seconds to wait; None for as long as it takes.
        files: The files to write.
        common: The options of the command.
    """
    async with watching(common, files=files, has_events=common.json_lines) as watch:
        client = watch.connection.client
        # One of another server is refused before any is waited for.
        refs = [client.attach(ref).ref for ref in refs_in(watch.connection)]
        completions = completions_of(client, refs, timeout=timeout)
        for ref in refs:
            watch.board.follow(ref)
        items = await watch.collect(aclosing(completions))
        places: dict[Ref, int] = {ref: place for place, ref in enumerate(refs)}
        items.sort(key=lambda item: places[item.ref] if item.ref else 0)
        return await watch.conclude([watch.board.named(item) for item in items])
    return ExitCode.INTERRUPTED


async def completions_of(
    client: Client, refs: Sequence[Ref], *, timeout: float | None
) -> AsyncGenerator[Item]:
    """Yield operations' items as they complete; at the timeout, those of all others.

    Args:
        client: A client of the operations' server.
        refs: The operations.
        timeout: Seconds to wait; None for as long as it takes.
    """
    by_key = {ref.key: ref for ref in refs}
    finished = client.finished([client.attach(ref) for ref in refs], timeout=timeout)
    for _ in refs:
        try:
            operation = await anext(finished)
            item = _item(operation.ref, outcome=operation.outcome)
        except VibeError as error:
            if error.ref is None:
                raise
            item = _item(by_key[error.ref.key], error=error)
        yield item


def _item(
    ref: Ref, *, outcome: Run | Generation | None = None, error: VibeError | None = None
) -> Item:
    feature = outcome.feature_name if outcome else None
    return BatchItem(feature=feature or str(ref), ref=ref, outcome=outcome, error=error)
