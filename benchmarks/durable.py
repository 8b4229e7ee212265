"""What surviving a crash costs: `python -m benchmarks.durable [--quick]`.

2,000 runs of 0.6 to 2 s as one batch, 100 in flight, polled every 0.3 s: as it is, kept in a
journal on the disk that this folder is on, and in a database with one worker or three in one
process. Processes, seeds, medians and figures are those of `peers`; the ways alternate. Ratios are
to the plain batch of the same run.

Besides, a journal of many features that are over: how long it takes to open and resume it; and how
many statements the database gets for each feature.

Not measured: the CPU and memory of the PostgreSQL server; other disks. A journal waits for the disk
at each group of dispatches, so it costs as much as the disk takes for a few hundred commits, of
which many dispatches share one.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zlib import crc32

from attrs import evolve
from sqlalchemy import Engine, event

from benchmarks.figures import Figures, medians
from benchmarks.results import is_quick_asked, progress, table, write
from benchmarks.spec import Load, Spec
from benchmarks.trial import attempt
from testvibe_async import Client, Journal
from testvibe_async.adapters.durable import DurableBatch
from testvibe_async.testing import Emulator

if TYPE_CHECKING:
    from benchmarks.results import Document

__all__ = ["durable_tables"]

WAYS = {
    "plain": "testvibe_batch",
    "journal": "testvibe_journal",
    "SQLite": "testvibe_durable",
    "PostgreSQL": "testvibe_durable_postgresql",
    "PostgreSQL, 3 workers": "testvibe_durable_workers",
}
LOAD = Load(operations=2000, interval=0.3, durations=(0.6, 2.0))
REPEATS = 3
ROWS = 100_000
SPEED = 200.0
FEATURES = 500


async def _run(*, is_quick: bool) -> Document:
    load = evolve(LOAD, operations=100) if is_quick else LOAD
    trials: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for repeat in range(1 if is_quick else REPEATS):
        for way, module in WAYS.items():
            progress(f"{way}, {repeat + 1}")
            figures = await attempt(Spec(contender=module, load=evolve(load, seed=repeat + 1)))
            assert figures is not None
            trials[way].append(figures)
    rows = ROWS // 100 if is_quick else ROWS
    return {
        "ways": {way: medians(each) for way, each in trials.items()},
        "rows": rows,
        "resumed_seconds": await _resume(rows),
        "statements": await _statements(),
    }


async def _statements() -> float:
    """Return how many statements a database gets for each feature, with three workers."""
    statements = 0

    def note(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with TemporaryDirectory() as folder:
            async with Emulator(record=False, speed=SPEED) as emulator, AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(
                        Client(
                            emulator.url,
                            api_key=emulator.api_key,
                            project=emulator.project_id,
                            poll_interval=3 / SPEED,
                        )
                    )
                    for _ in range(3)
                ]
                names = [f"Feature {number}" for number in range(FEATURES)]
                for name in names:
                    emulator.add_feature(name)
                batch = DurableBatch(f"{folder}/batches.sqlite", id="counted")
                await batch.submit(clients[0], names, max_in_flight=33)
                await asyncio.gather(*(batch.work(client) for client in clients))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return statements / FEATURES


async def _resume(count: int) -> float:
    """Return how long it takes to go on with a journal of so many features that are over."""
    progress(f"a journal of {count:,}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.journal"
        async with (
            Emulator(record=False, speed=SPEED) as emulator,
            Client(
                emulator.url,
                api_key=emulator.api_key,
                project=emulator.project_id,
                poll_interval=3 / SPEED,
            ) as client,
        ):
            async with Journal(path) as journal:
                await client.project().run_features(["Checkout"], journal=journal)
            _fill(path, count)
            began = time.perf_counter()
            async with Journal(path) as journal:
                items = await client.project().run_features(journal=journal, timeout=1000)
            assert len(items) == count
            return time.perf_counter() - began


def _fill(path: Path, count: int) -> None:
    """Make the file of one feature that is over one of many."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT id, document FROM rows ORDER BY id")
    (plan_id, plan), (_, over) = ((row, json.loads(text)) for row, text in rows)
    documents = {plan_id: {**plan, "count": count}}
    for place in range(count):
        documents[place] = {**over, "feature": f"Feature {place}", "name": f"Feature {place}"}
    texts = ((row, json.dumps(document)) for row, document in documents.items())
    connection.executemany(
        "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)",
        ((row, text, crc32(f"{row} {text}".encode())) for row, text in texts),
    )
    connection.commit()
    connection.close()


HEAD = ("the batch", "took, s", "CPU, ms a feature", "memory, KiB a feature", "lost")


def durable_tables(document: Document) -> str:
    """Return a result of this benchmark as a table, and what is in no column."""
    ways: dict[str, Figures] = document["ways"]
    plain = ways["plain"]
    rows = [
        [
            way,
            f"{each['seconds']:.2f} ({each['seconds'] / plain['seconds']:.2f}x)",
            _ratio(each, plain, "cpu_ms_per_operation"),
            _ratio(each, plain, "peak_kib_per_operation"),
            f"{each['lost']:.0f}",
        ]
        for way, each in ways.items()
    ]
    seconds = document["resumed_seconds"]
    notes = [f"{document['rows']:,} features that are over: resumed in {seconds:.1f} s."]
    if "statements" in document:
        notes.append(f"A database gets {document['statements']:.1f} statements a feature.")
    return "\n\n".join([table(HEAD, rows), *notes])


def _ratio(figures: Figures, plain: Figures, name: str) -> str:
    return f"{figures[name]:.2f} ({figures[name] / plain[name]:.2f}x)"


def main() -> None:
    """Run the benchmark."""
    is_quick = is_quick_asked(__doc__)
    content = asyncio.run(_run(is_quick=is_quick))
    sys.stdout.write(f"{durable_tables(content)}\n")
    write("durable", content, is_quick=is_quick)


if __name__ == "__main__":
    main()
