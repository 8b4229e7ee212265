"""The doctor's recordings: synthetic values of the same shape, and nothing of what was there."""

from __future__ import annotations

import json
import re
from random import Random
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import pytest

from tests.conftest import client_of
from tests.support.amounts import amount
from tests.support.dialects import DIALECTS
from tests.support.recordings import FOLDER, RECORDINGS, dispatch_in, recording_of
from tests.surfaces.cli.conftest import use
from testvibe_async.testing import Emulator, Fault, Outcome, Recording, Replay, Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call, Give

PLAIN = Scenario(
    failing_runs=0,
    failing_generations=0,
    run_queue=1,
    run_duration=1,
    outcomes={"Checkout": Outcome(run_status="failed")},
)


async def record(call: Call, path: Path, *arguments: str) -> Recording:
    ended = await call("doctor", *arguments, "--record", str(path))
    assert f"The recording is in {path}" in ended.errors, ended
    return Recording.load(path)


async def test_values_keep_their_shape(
    call: Call, signed_in: Emulator, tmp_path: Path, scenario: Scenario
) -> None:
    """Lengths, classes, orders, differences, nulls and words stay; the same stays the same."""
    assert scenario
    run = "Login Functionality"
    recording = await record(call, tmp_path / "r.json", "--run", run)
    answers = {each.operation: json.loads(each.answer) for each in recording.exchanges}
    (real,) = signed_in.runs.values()
    shown = next(
        document
        for each in recording.exchanges
        if each.operation == "get_run" and (document := json.loads(each.answer)).get("finishedUtc")
    )
    assert list(shown)[:5] == ["runId", "status", "featureId", "featureName", "config"]
    assert (shown["status"], shown["config"], shown["summary"]["total"]) == ("passed", "Default", 3)
    assert re.fullmatch(r"[A-Z][a-z]{4} [A-Z][a-z]{12}", shown["featureName"])
    assert len(str(shown["runId"])) == len(str(real.id))
    features = answers["list_features"]
    assert shown["featureName"] in {each["name"] for each in features}
    ids = [each["id"] for each in features]
    assert sorted(ids) == [each["id"] for each in sorted(features, key=lambda each: each["id"])]
    assert {each["status"] for each in features} == {"generated", "draft"}
    dispatch = next(each for each in recording.exchanges if each.method == "POST")
    assert unquote(dispatch.path.split("/")[4]) == shown["featureName"]
    whole = [json.loads(e.answer) for e in recording.exchanges if e.operation == "get_feature"]
    assert any(each["rationale"] is None for each in whole)
    assert {each.status for each in recording.exchanges} == {200, 202, 404}
    ends = [shown[name][17:19] for name in ("createdUtc", "finishedUtc")]
    assert (int(ends[1]) - int(ends[0])) % 60 == round(real.finished_at - real.created_at) % 60


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


async def test_pages_of_a_recording_are_replayed(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of the next page leads to the service that replays it."""
    async with Emulator(middleware=DIALECTS["paged-by-link"]) as emulator:
        use(emulator, monkeypatch)
        recording = await record(call, tmp_path / "r.json")
    assert emulator.url not in (tmp_path / "r.json").read_text("utf-8")
    async with (
        Emulator(middleware=Replay(recording), **recording.options) as emulator,
        client_of(emulator) as client,
    ):
        features = await client.project().list_features()
    assert (len(features), features.is_complete) == (17, True)


async def test_half_a_character_is_recorded_as_it_was_written(
    call: Call, signed_in: Emulator, tmp_path: Path
) -> None:
    """An escape stays an escape, also one that is no character, which no file could hold."""
    body = b'[{"name":"\\ud83d Sekret","path":"x"}]'
    signed_in.fail("list_configs", Fault.body(body))
    recording = await record(call, tmp_path / "r.json")
    (configs,) = [each for each in recording.exchanges if each.operation == "list_configs"]
    assert re.fullmatch(r'\[\{"name":"\\ud83d [A-Z][a-z]{5}","path":"[a-z]"\}\]', configs.answer)


async def test_what_is_rare_does_not_prevent_a_recording(
    call: Call, signed_in: Emulator, tmp_path: Path
) -> None:
    """Lines of underscores, large counts, impossible days and exponents end no recording."""
    fractions = ",".join(f"{number}.25" for number in range(1000, 1100))
    body = (
        '{"items":[{"name":"_____","path":"x","n":123e400,"m":[%s],"at":["2026-02-30T00:00:00",'
        '"9999-12-31T23:59:59Z"]}],"total":1234567}'
    )
    signed_in.fail("list_configs", Fault.body((body % fractions).encode()))
    answer = (await record(call, tmp_path / "r.json")).exchanges[-1].answer
    assert len([*json.loads(answer)["items"][0].values()][-2]) == 100
    for original in ("123e400", "1234567", "1050.25"):
        assert original not in answer


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
    asked = ("--run", "Checkout", "--generate", "Returns", "--yes")
    recording = await record(call, tmp_path / "r.json", *asked)
    assert recording.exchanges


async def test_a_name_that_no_path_can_hold_is_not_tried(call: Call, signed_in: Emulator) -> None:
    """A control character, or half a one, in a feature's name is no mistake of the user."""
    signed_in.fail("list_features", Fault.body(b'[{"id":12,"name":"a\\u0000b\\ud800"}]'))
    ended = await call("doctor")
    assert ended.code == 0
    assert "no result came" not in ended.output


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
    arguments = ["--run", dispatch_in(recording, "run")[0]]
    arguments += ["--generate", dispatch_in(recording, "generate")[0], "--yes", "--quiet"]
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
        arguments[3] = dispatch_in(recording, "generate")[0]
    assert said[0] == said[1]
