"""Lists that differ from what was requested: no lost run is taken for another's, or sent twice."""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.amounts import by_turns, some
from tests.support.timing import STEADY
from testvibe_async.testing import Emulator, Fault

SITE = "https://shop.example/Start"

NAMES = [f"Caf\u00e9 no {number}" for number in range(5)]

Change = Callable[[dict[str, Any]], dict[str, Any]]


def ahead(**time: float) -> Change:
    """Return a change of a row's time, to one ahead of the service's clock."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        at = datetime.fromisoformat(row["createdUtc"]) + timedelta(**time)
        return {"createdUtc": at.isoformat()}

    return change


ROWS: dict[str, tuple[dict[str, Any], Change]] = {
    "no featureName": ({}, lambda _: {"featureName": None}),
    "no featureId": ({"by": "id"}, lambda _: {"featureId": None}),
    "neither": ({}, lambda _: {"featureName": None, "featureId": None}),
    "another Unicode form": (
        {},
        lambda row: {"featureName": unicodedata.normalize("NFD", row["featureName"])},
    ),
    "other spaces": ({}, lambda row: {"featureName": f" {row['featureName']} ".replace(" ", "  ")}),
    "another case": ({}, lambda row: {"featureName": row["featureName"].upper()}),
    "90 s ahead": ({}, ahead(seconds=90)),
    "2 h ahead": ({}, ahead(hours=2)),
    "no time": ({}, lambda _: {"createdUtc": None}),
    "an empty configuration": ({"config": "Mobile"}, lambda _: {"config": ""}),
    "the default's name": ({}, lambda _: {"config": "default"}),
    "a final slash": ({"site_url": SITE}, lambda _: {"siteUrl": f"{SITE}/"}),
    "a site in another case": ({"site_url": SITE}, lambda _: {"siteUrl": SITE.upper()}),
    "no site": ({"site_url": SITE}, lambda _: {"siteUrl": None}),
}
"""How the rows of a list differ, with what is requested."""


@pytest.mark.service(scenario=STEADY, shop=False, strict=False)
@pytest.mark.parametrize(
    ("change", "keyed"), some(by_turns([*ROWS, "missing"], [True, False]), few=2)
)
async def test_no_lost_run_is_sent_twice(
    emulator: Emulator, tmp_path: Path, *, change: str, keyed: bool
) -> None:
    """Of five lost answers none is dispatched again, also by the next process with the key."""
    options: dict[str, Any] = dict(ROWS[change][0]) if change in ROWS else {}
    edit = ROWS[change][1] if change in ROWS else None
    for name in NAMES:
        emulator.add_feature(name)
    emulator.add_feature("Later")
    named: list[Any] = NAMES
    if options.pop("by", "name") == "id":
        named = [emulator.features[name].id for name in NAMES]

    def edited(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if edit is None:
            return [row for row in rows if row["featureName"] == "Later"]
        return [row | edit(row) for row in rows]

    emulator.fail("list_runs", Fault.edit(edited))
    async with client_of(emulator, ledger=tmp_path / "ledger") as client:
        await client.project().run_feature("Later")
        lost = emulator.fail("run_feature", Fault.lost(), times=5)
        key = "nightly" if keyed else None
        async with client.project().run_features(named, key=key, **options) as batch:
            await asyncio.sleep(1)
            await client.project().run_feature("Later")
            _ = [item async for item in batch]
    assert lost.hits == 5
    if keyed:
        async with client_of(emulator, ledger=tmp_path / "ledger") as client:
            await client.project().run_features(key=key)
    dispatched = Counter(run.feature_name for run in emulator.runs.values())
    assert {name: dispatched[name] for name in NAMES} == dict.fromkeys(NAMES, 1)
    assert emulator.count("run_feature") == 7
