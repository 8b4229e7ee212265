"""`testvibe-async wait`: wait for operations that were dispatched before, by any client.

It decides which operations are meant, and that those which are not over at the timeout are in
flight. How they are shown is decided in `watch`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from attrs import evolve

from testvibe_async import BatchItem, VibeError
from testvibe_async.cli.batches import stored_batches
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.completers import OperationName  # noqa: TC001 - cyclopts reads it
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.input import TextFile, name_of, read_text
from testvibe_async.cli.names import operations_of, read_refs
from testvibe_async.cli.options import NO_FILES, Files, Seconds
from testvibe_async.cli.watch import watching

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from testvibe_async import Client, Ref
    from testvibe_async.cli.words import Item

__all__ = ["completions_of", "wait"]


async def wait(
    *operations: OperationName,
    file: TextFile | None = None,
    timeout: Seconds | None = None,
    files: Files = NO_FILES,
    common: Common = COMMON,
) -> ExitCode:
    """Wait for runs and generations that were dispatched before, by any client.

    An operation is the id of a run, the name of a feature for what it has in flight, or a ref: what
    the other commands print of an operation with --json. A file may hold any number of refs, within
    any other JSON.

    For example:

        testvibe-async wait 214 215 --timeout 120 --report junit.xml
        testvibe-async wait Checkout
        testvibe-async wait --file runs.json
        testvibe-async run Checkout --json | testvibe-async wait --file -

    The exit codes are those of run --wait.

    Args:
        operations: Ids of runs, names of features, or refs as JSON.
        file: A file with refs; - for standard input.
        timeout: Seconds, or such as 20m, for all of it, lists too. What is in flight then goes on
            at the service. Answers and files are waited for up to 30 s longer.
        files: What to leave.
        common: The options of every command.
    """
    files.check()
    refs = [each for each in operations if each.lstrip().startswith(("{", "["))]
    words = [each for each in operations if each not in refs]
    named: list[Ref] = []
    if refs or file is not None or not words:
        named = read_refs(refs, {} if file is None else {name_of(file): read_text(file)})

    async with watching(
        common, files=files, timeout=timeout, has_events=common.json_lines
    ) as watch:
        client = watch.client
        found = await watch.limit.ask(
            "what is in flight",
            lambda: asyncio.gather(*(operations_of(watch.connection, word) for word in words)),
        )
        all_named = {ref.key: ref for each in (named, *found) for ref in each}
        # One of another server is refused before any is waited for.
        awaited = [client.attach(ref).ref for ref in all_named.values()]
        watch.progress.expect(client, [_item(ref) for ref in awaited], "operation")
        completions = completions_of(client, awaited, timeout=watch.limit.left)
        await watch.collect(aclosing(completions))
        code = await watch.conclude()
        for record in await stored_batches().record(watch.progress.items):
            watch.connection.output.note(f"{record} has the results.")
        return code
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
            item = evolve(_item(operation.ref), outcome=operation.outcome)
        except VibeError as error:
            if error.ref is None:
                raise
            item = evolve(_item(by_key[error.ref.key]), error=error)
        yield item


def _item(ref: Ref) -> Item:
    """Return the item of an operation that was dispatched before."""
    feature = getattr(ref, "feature_id", None)
    name = str(ref) if feature is None else f"feature {feature}"
    return BatchItem(feature=ref.to_json(), name=name, ref=ref)
