"""`testvibe-async wait`: wait for operations that were dispatched before, by any client.

It decides which operations are meant, and that those which are not over at the timeout are in
flight. How they are shown is decided in `watch`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from testvibe_async import BatchItem, Generation, Run, VibeError
from testvibe_async.cli.batches import stored_batches
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.completers import OperationName  # noqa: TC001 - cyclopts reads it
from testvibe_async.cli.ending import resume_command
from testvibe_async.cli.exits import ExitCode
from testvibe_async.cli.input import TextFile, name_of, read_text
from testvibe_async.cli.names import operations_of
from testvibe_async.cli.options import NO_FILES, Files, Seconds
from testvibe_async.cli.refs import read_refs
from testvibe_async.cli.watch import watching
from testvibe_async.runner.batches import Place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from testvibe_async import Client, Ref
    from testvibe_async.cli.common import Connection
    from testvibe_async.cli.jobs import Item
    from testvibe_async.cli.watch import Watch

__all__ = ["completions_of", "wait", "wait_for"]


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

    async def refs_in(connection: Connection) -> list[Ref]:
        server = connection.client.server
        found = [await operations_of(connection, word, server=server) for word in words]
        return [*{ref.key: ref for ref in [*named, *(r for each in found for r in each)]}.values()]

    return await wait_for(refs_in, timeout=timeout, files=files, common=common)


async def wait_for(
    refs_in: Callable[[Connection], Awaitable[Sequence[Ref]]],
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
    async with watching(
        common, files=files, timeout=timeout, has_events=common.json_lines
    ) as watch:
        client = watch.connection.client
        named = await watch.limit.ask("what is in flight", lambda: refs_in(watch.connection))
        # One of another server is refused before any is waited for.
        refs = [client.attach(ref).ref for ref in named]
        completions = completions_of(client, refs, timeout=watch.limit.left)
        for ref in refs:
            watch.board.follow(ref)
        items = await watch.collect(aclosing(completions))
        places: dict[Ref, int] = {ref: place for place, ref in enumerate(refs)}
        items.sort(key=lambda item: places[item.latest_ref] if item.latest_ref else 0)
        code = await watch.conclude([watch.board.named(item) for item in items])
        await _note_batches(refs, watch)
        return code
    return ExitCode.INTERRUPTED


async def _note_batches(refs: Sequence[Ref], watch: Watch) -> None:
    """Say which batches have operations in flight, as `wait` records nothing in their journals."""
    keys = {ref.key for ref in refs}
    places = {Place(ref.server, ref.project) for ref in refs}
    for place in places:
        async for batch in stored_batches().each(place):
            if not batch.is_over and any(
                item.latest_ref and item.latest_ref.key in keys for item in batch.items
            ):
                them = "it" if len(refs) == 1 else "some of them"
                watch.connection.output.note(
                    f"{batch.label} still lists {them} as in flight: "
                    f"{resume_command(batch.path)} records the results."
                )


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
