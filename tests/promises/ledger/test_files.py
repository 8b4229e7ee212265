"""Ledger files: what is none is refused, damage is noticed, and what was committed is kept."""

# ruff: noqa: ASYNC240 - the files are small
import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from tests.promises.ledger.conftest import KEY, execute, leave_unknown, opened, ran, ref_of
from tests.support.raising import raised
from tests.support.timing import STEADY
from testvibe_async import Client, SqliteLedger, errors
from testvibe_async.testing import Emulator, Fault

SCENARIO = STEADY

FEATURES = ["Checkout", "Returns", "Wishlist"]

OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_bytes(b"not a database" * 100), "is not a ledger"),
    "zeros": (lambda path: path.write_bytes(bytes(40_960)), "is not a ledger"),
    "damaged": (lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 4080), ""),
    "of another program": (
        lambda path: execute(path, "CREATE TABLE songs (title TEXT)"),
        "is another program's database",
    ),
    "of version 9": (lambda path: execute(path, "PRAGMA user_version = 9"), "is of version 9"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
async def test_what_is_no_ledger(path: Path, kind: str) -> None:
    """Another file is refused in a sentence, and is left as it is."""
    write, problem = OTHER_FILES[kind]
    if kind == "of version 9":
        await opened(path)
    write(path)
    content = path.read_bytes()
    await raised(errors.ConfigError, opened(path), match=f"{path}.*{problem}")
    assert path.read_bytes() == content
    no_folder = path.parent / "no" / "ledger"
    await raised(errors.ConfigError, opened(no_folder), match="can't be opened")


async def _rows(path: Path) -> list[str]:
    """Return the rows of the batch in a file."""
    async with SqliteLedger(path) as ledger:
        return [row.to_json() for row in await ledger.rows(KEY)]


def damages(whole: bytes) -> list[bytes]:
    """Return copies of a file that are truncated, or have changed bytes or pages of zeros."""
    chance = random.Random(7)  # noqa: S311 - it damages files
    damaged = [whole[: len(whole) * number // 40] for number in range(40)]
    for number in range(70):
        copy = bytearray(whole)
        for _ in range(1 if number % 2 else 4):
            copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(copy))
    pages = len(whole) // 4096
    for number in range(20):
        start = 4096 * (number % pages)
        size = 4096 if number < pages else 512
        damaged.append(whole[:start] + bytes(size) + whole[start + size :])
    return damaged


async def test_a_damaged_file_is_exact_or_refused(path: Path, emulator: Emulator) -> None:
    """Of 130 damaged files none passes for a new one: its rows are exact, or it is refused."""
    await leave_unknown(path, emulator, FEATURES)
    expected = await _rows(path)
    copies = damages(path.read_bytes())
    assert len(copies) == 130
    refused = 0
    for number, content in enumerate(copies):
        copy = path.with_name(f"copy {number}")
        copy.write_bytes(content)
        found = (await asyncio.gather(_rows(copy), return_exceptions=True))[0]
        if isinstance(found, errors.ConfigError):
            assert str(found).startswith(f"the ledger {copy} ")
            assert "\n" not in str(found)
            refused += 1
        else:
            assert found == expected
    assert refused > 60


async def test_the_rest_of_a_transaction_is_no_damage(path: Path, emulator: Emulator) -> None:
    """A journal of SQLite's that is garbled or of no transaction changes nothing."""
    await leave_unknown(path, emulator, FEATURES)
    expected = await _rows(path)
    for rest in (b"", bytes(512), b"x" * 5000):
        path.with_name(f"{path.name}-journal").write_bytes(rest)
        assert await _rows(path) == expected


ONE = "(SELECT id FROM rows WHERE id LIKE '%Checkout%')"
OTHER = "(SELECT document, checksum FROM rows WHERE id LIKE '%Returns%')"


@pytest.mark.parametrize(
    "damage",
    [
        f"UPDATE rows SET (document, checksum) = {OTHER} WHERE id = {ONE}",  # noqa: S608 - ours
        f"UPDATE rows SET document = replace(document, 'lost', 'planned') WHERE id = {ONE}",  # noqa: S608
    ],
)
async def test_an_exchanged_row_is_noticed(path: Path, emulator: Emulator, damage: str) -> None:
    """A file whose row is another's, or was changed, says so in a sentence."""
    await leave_unknown(path, emulator, FEATURES)
    execute(path, damage)
    await raised(errors.ConfigError, ran(path, emulator), match="is damaged")


@pytest.mark.parametrize("is_lost", [False, True])
async def test_an_old_row_of_a_call_without_a_key(
    path: Path, emulator: Emulator, *, is_lost: bool
) -> None:
    """It is deleted after 90 days, though nobody saw its end, unless it may still have started."""
    if is_lost:
        emulator.fail("run_feature", Fault.lost(), times=1)
        emulator.fail("list_runs", Fault.status(404))
    async with client_of(emulator, ledger=path) as client:
        with suppress(errors.DispatchUnknownError):
            await client.project().run_feature("Checkout")
    execute(path, "UPDATE rows SET changed_at = '2026-01-01T00:00:00+00:00'")
    await ran(path, emulator, ["Returns"], timeout=1)
    async with SqliteLedger(path) as ledger:
        place = emulator.url, emulator.project_id
        kept = await ledger.related(*place, [ref_of(emulator, "Checkout")])
    assert ("Checkout" in {row.feature for row in kept}) == is_lost


async def test_a_read_only_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    """A file that can't be written is refused before anything is dispatched."""
    await ran(path, emulator, FEATURES, timeout=1)
    connect = sqlite3.connect

    def read_only(name: Path, **options: Any) -> Any:
        return connect(f"file:{name}?mode=ro", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    await raised(errors.ConfigError, opened(path), match=r"(can't|could not) be written")
    assert emulator.count("run_feature") == 3


async def test_a_commit_is_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with an SQLite that was built to leave it to the operating system."""
    modes: list[int] = []

    class Lax(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.execute("PRAGMA synchronous = OFF")

        def close(self) -> None:
            modes.extend(self.execute("PRAGMA synchronous").fetchone())
            super().close()

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Lax))
    await opened(path)
    assert {*modes} == {2}  # FULL


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_is_gone(path: Path, emulator: Emulator, how: str) -> None:
    """Nothing more is dispatched once the file is not the one that was opened."""
    client = await client_of(emulator, ledger=path).__aenter__()
    project = client.project()
    async with project.run_features(FEATURES, key=KEY, max_in_flight=1) as batch:
        await anext(batch)
        path.unlink()
        if how == "replaced":
            path.write_bytes(b"")
        item = await anext(batch)
    assert isinstance(item.error, errors.LedgerError)
    assert "deleted or replaced" in item.error.what
    assert emulator.count("run_feature") == 1
    with suppress(errors.ConfigError):  # If anything was still to be noted.
        await client.aclose()


async def test_many_rows_are_one_commit(path: Path, emulator: Emulator) -> None:
    """What is stored at once goes to the disk at once."""
    configs = [None, *map(str, range(20))]
    async with SqliteLedger(path) as ledger, client_of(emulator, ledger=ledger) as client:
        batch = client.project().run_features(FEATURES, config=configs, key=KEY, timeout=5)
        await batch
        assert ledger.commits < 2 * 63  # as many were dispatched, each with two records or more


async def test_no_key_of_the_service_is_in_it(path: Path, emulator: Emulator) -> None:
    """A ledger file has no API key."""
    await ran(path, emulator, FEATURES)
    assert emulator.api_key.encode() not in path.read_bytes()


@pytest.mark.parametrize("ledger", ["", 7, sqlite3])
def test_what_is_no_ledger_or_path(ledger: Any) -> None:
    """A client says what it takes."""
    with pytest.raises(errors.ConfigError, match="ledger must be a path or a"):
        Client("https://testvibe.example", api_key="tvb_" + "k" * 43, ledger=ledger)
