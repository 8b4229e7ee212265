"""What the doctor writes: synthetic values of the same shape, and nothing of what was there.

Of the service's data nothing is in it, wherever it stands in an answer: a mark is planted in each
text, name, header and error. Its vowels are in no synthetic value.
"""

from __future__ import annotations

import json
import re
from random import Random
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import pytest
from attrs import evolve

from tests.support.amounts import amount, some
from tests.support.recordings import FOLDER, RECORDINGS, dispatch_in, recording_of
from tests.surfaces.cli.conftest import text_of, use
from testvibe_async.cli.doctor import findings
from testvibe_async.cli.doctor.exchanges import DEFAULT_FILE
from testvibe_async.testing import (
    Answer,
    Emulator,
    Fault,
    Middleware,
    Outcome,
    RecordedRequest,
    Recording,
    Replay,
    Scenario,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Give


async def record(call: Call, path: Path, *arguments: str) -> Recording:
    ended = await call("doctor", *arguments, "--record", str(path))
    assert f"The recording is in {path}" in ended.errors, ended
    return Recording.load(path)


async def test_a_recording_is_shown_before_it_is_written(
    call: Call, signed_in: Emulator, tmp_path: Path, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal a question follows the preview, and without a yes nothing is written."""
    assert signed_in
    monkeypatch.delenv("CI", raising=False)
    path = tmp_path / "r.json"
    give(b"no\n", on_terminal=True)
    ended = await call("doctor --record", str(path))
    assert "exchanges of 11 operations; two of the answers:" in ended.errors
    assert f"Write this to {path}?" in ended.errors
    assert not path.exists()


VALUES: list[Any] = [
    *(None, True, 0, -5, 2**70, 1.5, "", "x", "12", "\ud800", "FAILED", [], {}, [[]], {"": {}}),
    *("2026-02-30T00:00:00Z", "/Date(99999999999999999)/", "http://[::1", "/a/b?c=%zz&d", ["x"]),
]
"""Values that a member may have in place of its own."""


def changed(rng: Random, value: Any) -> Any:
    """Return a document in which members are renamed, left out or replaced."""
    if rng.random() < 0.03:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        kept = [(name, changed(rng, each)) for name, each in members if rng.random() > 0.04]
        return {
            name if rng.random() > 0.04 else rng.choice(["", "ünï"]): each for name, each in kept
        }
    if isinstance(value, list):
        return [changed(rng, each) for each in cast("list[object]", value) if rng.random() > 0.05]
    return value


@pytest.mark.parametrize("seed", range(amount(100, few=3)))
async def test_whatever_a_service_answers_is_judged_and_recorded(
    seed: int, call: Call, signed_in: Emulator, tmp_path: Path
) -> None:
    """No document is a defect of the doctor, and each recording can be read."""
    rng = Random(seed)  # noqa: S311 - no secret
    signed_in.fail("*", Fault.edit(lambda document: changed(rng, document) or {}))
    recording = await record(call, tmp_path / "r.json", "--run", "Checkout")
    assert recording.exchanges


async def test_what_would_remain_is_not_written(
    call: Call, signed_in: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the whole is independent of the replacing: what slips through stops it."""
    assert signed_in

    def text(_: object, text: str) -> str:
        return text

    monkeypatch.setattr("testvibe_async.cli.doctor.recording.Disguise.text", text)
    path = tmp_path / "r.json"
    ended = await call("doctor --record", str(path))
    assert "of the original texts would remain in the file" in ended.errors
    assert not path.exists()


@pytest.mark.parametrize("name", list(RECORDINGS)[:: amount(1, few=4)])
async def test_a_replay_is_as_in_the_recording(
    name: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor says the same of a recording, and of a recording of that recording."""
    recording = recording_of(name)
    arguments = ["--run", dispatch_in(recording, "run")[0], "--quiet"]
    said: list[str] = []
    for path in (FOLDER / f"{name}.json", tmp_path / "again.json"):
        recording = Recording.load(path)
        async with Emulator(middleware=Replay(recording), **recording.options) as emulator:
            use(emulator, monkeypatch)
            again = ["--record", str(tmp_path / "again.json")]
            ended = await call("doctor", *arguments, *again)
        said.append(re.sub(r"\"[^\"]*\"|\d+( polls?)?", "", ended.output))
        recording = Recording.load(tmp_path / "again.json")
        arguments[1] = dispatch_in(recording, "run")[0]
    assert said[0] == said[1]


KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"
PROJECT = "0f9e8d7c-6b5a-4f3e-8d2c-1b0a9f8e7d6c"
MARK = "sekret"
SECRET = "SekretÄpfel"
NUMBER = 918273645546
EPOCH = 1_781_102_531
"""What may be data, and looks like an instant."""

WORDS = r"(featureS|overallS|s)tatus|state|verdict|overallConclusion|conclusion|kind|source"
DECIDING = r"(featureS|s)tatus|.*Id|id|.*Utc"
"""The members that decide how the story goes on."""

UNKNOWN: dict[str, Any] = {
    "Sekret Shop": SECRET,
    "sekret.acme.example": ["Sekret line", {"sekret key": None}],
    "extra": {"sekretLogin": 1, "sekretCheckout": 2},
    SECRET: {f"x-{SECRET}": [NUMBER, f"{NUMBER}", [{"total": 1}, NUMBER]]},
    "sekret-4c6f-9e8a": NUMBER,
    "owner": {"state": "Sekret", "code": "sekret", "status": ["passed", "Sekret"], "total": NUMBER},
    "times": {"aUtc": "2026-02-30T00:00:00Z", "bUtc": "2026-06-10T14:32:07 sekret", "c": EPOCH},
    "text": [f"{EPOCH}", f"/sekret?next=https%3A%2F%2Fsekret.example%2F{EPOCH}", "\ue000\u200b"],
}
"""Members that the contract does not have, whose names and forms are data."""


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
        if isinstance(value, str) and value != DEFAULT_FILE and not re.fullmatch(kept, name):
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
            "Retry-After": f"{EPOCH}",
            "Content-Range": quote(SECRET),
            "Location": url,
        }
        kind = f"{answer.content_type}; boundary={quote(SECRET)}"
        return evolve(answer, headers={**answer.headers, **headers}, content_type=kind)


@pytest.fixture
async def telling(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Emulator]:
    """The service, with a key, an id and a feature whose parts occur in no other text."""
    # The number of seconds could hold any other one.
    monkeypatch.setattr(findings, "MAX_SKEW", 1e6)
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
    "values and words": {"*": Fault.edit(planting(""))},
    "a refused key": {"*": Fault.body(refusal(SECRET, f"{SECRET}: {KEY} is revoked"), status=401)},
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


@pytest.mark.parametrize("harm", some(HARMS, few=3))
async def test_nothing_of_the_data_is_written(
    harm: str, call: Call, telling: Emulator, tmp_path: Path
) -> None:
    """Neither reports nor documents nor recordings hold a value, a name, an address or a key."""
    for operation, fault in HARMS[harm].items():
        telling.fail(operation, fault, skip=3 if harm == "an outage" else 0)
    path = tmp_path / "recording.json"
    arguments = ["--run", SECRET, "--record", str(path)]
    printed = (await call("doctor --json", *arguments)).output
    port = telling.url.rpartition(":")[2]
    secrets = [MARK, KEY[4:12], KEY[-8:], PROJECT, PROJECT[:8], str(NUMBER), f":{port}", str(EPOCH)]
    secrets += ["2026-02-30", "ue000", "u200b"]
    shop = ("acme", "checkout", "wishlist", "scenario", "given ", "chromium", "127.0.0.1")
    for text in (printed, unquote(text_of(path))):
        for secret in (*secrets, *shop):
            assert secret.casefold() not in text.casefold(), secret
    assert "://" not in printed
    operations = {each.operation for each in Recording.load(path).exchanges}
    assert len(operations) == 14 or harm != "none"
    if [*HARMS].index(harm) > 1:  # On the terminal alone is what the service says of itself.
        assert MARK in (await call("doctor")).output.casefold()
