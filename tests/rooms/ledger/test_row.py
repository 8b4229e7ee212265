"""The parts of a row that no request needs: its clock, and its request in words."""

from pathlib import Path
from typing import Any

import pytest

from testvibe_async import MemoryLedger, errors, ledger
from testvibe_async.ledger import Row, RowState, age_of, describe, machine_time

PLACE: dict[str, Any] = {"server": "https://testvibe.example", "kind": "run", "key": "k"}


def test_a_system_that_cannot_tell_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the id of the boot there is no clock, and no row is certainly old."""
    boot, seconds = machine_time()
    row = Row(**PLACE, project="p", boot=boot, boot_seconds=seconds - 30)
    assert age_of(row) >= 30.0

    def none(_path: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", none)
    assert ledger._boot() is None
    monkeypatch.setattr(ledger, "_BOOT", None)
    assert machine_time() == (None, 0.0)
    assert age_of(row) == 0.0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"kind": "run"}, "a run"),
        (
            {"kind": "run", "feature": 14, "config": "Mobile", "site_url": "https://x.example"},
            "a run of feature 14 with configuration 'Mobile' on https://x.example",
        ),
        ({"kind": "generation", "feature": "Gift"}, "a generation of feature 'Gift'"),
    ],
)
def test_a_request_in_words(asked: dict[str, Any], words: str) -> None:
    """An error that compares two requests names what they differ in."""
    assert describe(**asked) == words


async def test_a_decision_on_several_projects() -> None:
    """A key of several projects needs the project, and what was accepted is not sent again."""
    kept = MemoryLedger()
    for project in ("p", "q"):
        await kept.insert(Row(**PLACE, project=project, state=RowState.ACCEPTED))
    with pytest.raises(errors.ConfigError, match="name the project"):
        await kept.decide("k", "drop")
    with pytest.raises(errors.ConfigError, match="the service accepted it"):
        await kept.decide("k", "resend", project="p")
    (dropped,) = await kept.decide("k", "drop", project="p")
    assert (dropped.project, dropped.state) == ("p", RowState.DROPPED)
