"""Nothing of the service's data is in what the doctor writes, wherever it stands in an answer.

A mark is planted in each text, name, header and error. Its vowels are in no synthetic value.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import pytest
from attrs import evolve

from tests.surfaces.cli.conftest import text_of, use
from testvibe_async.cli.doctor import judging
from testvibe_async.testing import (
    Answer,
    Emulator,
    Fault,
    Middleware,
    Outcome,
    RecordedRequest,
    Recording,
    Scenario,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"
PROJECT = "0f9e8d7c-6b5a-4f3e-8d2c-1b0a9f8e7d6c"
MARK = "sekret"
SECRET = "SekretÄpfel"
NUMBER = 918273645546
WORDS = r"(featureS|overallS|s)tatus|state|verdict|overallConclusion|conclusion|kind|source"
DECIDING = r"(featureS|s)tatus|.*Id|id|.*Utc"
"""The members that decide how the story goes on."""

FILE = "Configurations/Default.config.js"
"""The path that the documentation names."""

UNKNOWN: dict[str, Any] = {
    "Sekret Shop": SECRET,
    "sekret.acme.example": ["Sekret line", {"sekret key": None}],
    "extra": {"sekretLogin": 1, "sekretCheckout": 2},
    SECRET: {f"x-{SECRET}": [NUMBER, f"{NUMBER}"]},
    "sekret-4c6f-9e8a": NUMBER,
}
"""Members that the contract does not have, with names that are data."""


def planting(kept: str) -> Callable[[Any], Any]:
    """Return a function that puts the mark into each text and number, and beside all members.

    Args:
        kept: The names of the members that stay, as a pattern.
    """

    def planted(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            return UNKNOWN | {key: planted(each, key) for key, each in members.items()}
        if isinstance(value, list):
            return [planted(each, name) for each in cast("list[object]", value)]
        if isinstance(value, str) and value != FILE and not re.fullmatch(kept, name):
            return f"https://{SECRET}.example/{SECRET}?sig={SECRET}" if name == "url" else SECRET
        return NUMBER if name in {"size", "durationMs"} else value

    return planted


class Telltale(Middleware):
    """Has the secret in every header that a recording may keep, and in a few more."""

    def after(self, request: RecordedRequest, answer: Answer) -> Answer:
        answer = super().after(request, answer)
        url = f"https://{quote(SECRET)}.example/{quote(SECRET)}?{quote(SECRET)}={quote(SECRET)}"
        headers = {
            "ETag": f'"{quote(SECRET)}"',
            "Link": f'<{url}>; rel="prev"; title="{quote(SECRET)}"',
            "X-Request-Id": quote(SECRET),
            "X-Total-Count": quote(SECRET),
            "Content-Range": quote(SECRET),
            "Location": url,
        }
        kind = f"{answer.content_type}; boundary={quote(SECRET)}"
        return evolve(answer, headers={**answer.headers, **headers}, content_type=kind)


@pytest.fixture
async def emulator(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Emulator]:
    """The service, with a key, an id and a feature whose parts occur in no other text."""
    # The number of seconds could hold any other one.
    monkeypatch.setattr(judging, "MAX_SKEW", 1e6)
    scenario = Scenario(
        failing_generations=0,
        outcomes={SECRET: Outcome(run_status="failed", run_queue=1, run_duration=1)},
    )
    async with Emulator(
        api_key=KEY, project_id=PROJECT, scenario=scenario, middleware=Telltale()
    ) as emulator:
        emulator.add_feature(SECRET)
        use(emulator, monkeypatch)
        yield emulator


def refusal(code: str, message: str) -> bytes:
    return json.dumps({"error": code, "message": message, "Sekret trace": SECRET}).encode()


PAGE = f"<!DOCTYPE html><title>{SECRET} sign in</title><body>{SECRET}</body>".encode()


ROWS = f'{{"{MARK} total": 1, "nextLink": "https://{MARK}.example/", "r": []}}'.encode()
ELSEWHERE = Answer(302, PAGE, headers={"Location": f"https://{MARK}.example/elsewhere"})
HARMS: dict[str, dict[str, Fault]] = {
    "none": {},
    "values": {"*": Fault.edit(planting(DECIDING))},
    "values and words": {"*": Fault.edit(planting(""))},
    "texts": {"*": Fault.edit(planting(WORDS))},
    "a refused key": {
        "*": Fault.body(refusal(SECRET, f"{SECRET}: {KEY} is revoked"), status=401),
    },
    "a redirect": {"*": Fault(kind="answer", answer=ELSEWHERE)},
    "pages": {"*": Fault.body(PAGE, content_type=f"text/{MARK}")},
    "an outage": {"*": Fault.body(refusal(SECRET, f"{SECRET} {KEY}"), status=500)},
    "some answers": {
        "list_features": Fault.body(refusal(SECRET, f"{SECRET}: {KEY}"), status=403),
        "list_runs": Fault.body(PAGE),
        "get_run": Fault.body(refusal(SECRET, f"{SECRET}: no such run"), status=404),
        "list_files": Fault.body(f'{{"a": [], "{MARK} rows": []}}'.encode()),
        "read_file": Fault.body(SECRET.encode(), status=404),
        "list_configs": Fault.body(ROWS, content_type=f"text/{MARK}"),
        "get_project": Fault.body(f'"{SECRET}"'.encode()),
    },
}


@pytest.mark.parametrize("harm", HARMS)
async def test_nothing_of_the_data_is_written(
    harm: str, call: Call, emulator: Emulator, tmp_path: Path
) -> None:
    """Neither reports nor documents nor recordings hold a value, a name, an address or a key."""
    for operation, fault in HARMS[harm].items():
        emulator.fail(operation, fault, skip=3 if harm == "an outage" else 0)
    report, path = tmp_path / "report.md", tmp_path / "recording.json"
    arguments = ["--run", SECRET, "--generate", "Checkout", "--yes"]
    written = ["--report", str(report), "--record", str(path), "--json"]
    printed = (await call("doctor", *arguments, *written)).output
    port = emulator.url.rpartition(":")[2]
    secrets = (MARK, KEY[4:12], KEY[-8:], PROJECT, PROJECT[:8], str(NUMBER), f":{port}")
    shop = ("acme", "checkout", "wishlist", "scenario", "given ", "chromium", "127.0.0.1")
    for text in (printed, text_of(report), unquote(text_of(path))):
        for secret in (*secrets, *shop):
            assert secret.casefold() not in text.casefold(), secret
    assert "://" not in printed + text_of(report)
    operations = {each.operation for each in Recording.load(path).exchanges}
    assert len(operations) == 15 or harm not in {"none", "values"}
    if [*HARMS].index(harm) > 3:  # On the terminal alone is what the service says of itself.
        assert MARK in (await call("doctor")).output.casefold()


async def test_what_the_user_named_is_not_written(
    call: Call, emulator: Emulator, tmp_path: Path
) -> None:
    """A feature that is not there, and an address where nothing answers, are on the terminal."""
    address = emulator.url.rpartition(":")[0] + ":9"
    for arguments in (["--run", f"{MARK} feature"], ["--server", address]):
        path = tmp_path / "report.json"
        ended = await call("doctor", *arguments, "--report", str(path))
        for secret in (MARK, address, "127.0.0.1"):
            assert secret not in path.read_text("utf-8")
        assert arguments[1] in ended.output or "could not connect" in ended.output
