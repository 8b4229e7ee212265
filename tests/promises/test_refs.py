"""Refs: what they hold, and how they are stored and read."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import asdict, evolve

from testvibe_async import Client, ConfigError, GenerationRef, Ref, RunRef

SERVER = "https://testvibe.example"
AT = datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)
RUN = RunRef(server=SERVER, project="7f3c", run_id=214, feature_id=12, dispatched_at=AT)
GENERATION = GenerationRef(server=SERVER, project="7f3c", request_id="a1b2", feature_id=12)
RUN_JSON = (
    '{"testvibe": "run", "version": 2, "server": "https://testvibe.example", "project": "7f3c", '
    '"dispatchedUtc": "2026-06-10T14:32:07.250000Z", "runId": 214, "featureId": 12}'
)
GENERATION_JSON = (
    '{"testvibe": "generation", "version": 2, "server": "https://testvibe.example", '
    '"project": "7f3c", "requestId": "a1b2", "featureId": 12}'
)


def document(**changes: Any) -> str:
    """Return the JSON of a ref with some members changed."""
    return json.dumps(json.loads(RUN_JSON) | changes)


def test_a_ref_is_its_server_project_kind_and_id() -> None:
    """Refs of one operation are equal and have its key and name, wherever each was found."""
    same = evolve(RUN, feature_id=None, dispatched_at=None)
    assert (same, hash(same), same.key, str(same)) == (RUN, hash(RUN), RUN.key, "run 214")
    assert RUN.key == ("run", "7f3c", 214)
    same_generation = evolve(GENERATION, feature_id=99, dispatched_at=AT)
    assert (same_generation, hash(same_generation)) == (GENERATION, hash(GENERATION))
    assert GENERATION.key == ("generation", "7f3c", 12, "a1b2")
    assert str(GENERATION) == "generation a1b2 of feature 12"
    elsewhere = evolve(RUN, server="https://other.example"), evolve(RUN, project="7f3d")
    assert RUN not in {*elsewhere, evolve(RUN, run_id=215), GENERATION}


ODD = 'a "b" \\ / \n\x00\x7f\u2028 é 日本 \U0001f6d2'


@pytest.mark.parametrize(
    "ref",
    [
        *(RUN, GENERATION),
        RunRef(server=ODD, project=ODD, run_id=-(2**70), feature_id=0, dispatched_at=None),
        evolve(RUN, run_id=0, feature_id=2**70, dispatched_at=datetime.max.replace(tzinfo=UTC)),
        evolve(RUN, dispatched_at=datetime(1, 1, 1, microsecond=1, tzinfo=UTC)),
        evolve(GENERATION, server=ODD, request_id=ODD, feature_id=-1, dispatched_at=AT),
    ],
)
def test_a_ref_comes_back_as_it_was(ref: Ref) -> None:
    """A ref is one line of ASCII that reads back as the same ref, as text and as bytes."""
    text = ref.to_json()
    assert text.isascii()
    assert text.isprintable()
    assert ref.to_dict() == json.loads(text)
    for back in (Ref.from_json(text), type(ref).from_json(text.encode())):
        assert asdict(back) == asdict(ref)
        assert type(back) is type(ref)


def test_a_ref_is_read_as_the_kind_that_was_asked_for() -> None:
    """What an earlier release stored is read as either kind, or as its own alone, and stays."""
    for ref, text in ((RUN, RUN_JSON), (GENERATION, GENERATION_JSON)):
        assert Ref.from_json(text) == type(ref).from_json(text) == ref
        assert json.loads(ref.to_json()) == json.loads(text)
    assert Ref.from_json(document(new={"a": 1}, kind="x", key=[1])) == RUN  # of a later release
    with pytest.raises(ConfigError, match=r"ref of a generation; a run's"):
        RunRef.from_json(GENERATION_JSON)
    with pytest.raises(ConfigError, match=r"ref of a run; a generation's"):
        GenerationRef.from_json(RUN_JSON)


NO_REFS: dict[str, list[str | bytes]] = {
    "newer": [document(version=version) for version in (0, 1, 99, "2", None, [2])],
    "not a ref": [
        *("", "x", "{", "null", "214", "[]", "{}", '"run"', b"\xff\xfe\xfd", "[" * 100_000),
        *(document(testvibe=kind) for kind in ("x", None, 1, ["run"], {"run": 1})),
        '{"version": 2, "server": "s", "project": "p", "runId": 1}',
    ],
    "damaged": [
        *(document(server=value) for value in ("", None, 1)),
        *(document(project=value) for value in ("", ["7f3c"])),
        *(document(runId=value) for value in ("214", None, True, 2.0)),
        *(document(featureId=value) for value in ("12", False)),
        *(document(dispatchedUtc=value) for value in ("yesterday", 1_780_000_000, "", {"$": 1})),
        document(dispatchedUtc="2026-06-10T14:32:07"),
    ],
    "damaged: it lacks server, project, runId$": ['{"testvibe": "run", "version": 2}'],
}


@pytest.mark.parametrize("problem", NO_REFS)
def test_what_is_no_ref_is_refused(problem: str) -> None:
    """Of another version, of something else, or damaged: one sentence says which."""
    for text in NO_REFS[problem]:
        with pytest.raises(ConfigError, match=problem):
            Ref.from_json(text)


WRONG: tuple[dict[str, Any], ...] = (
    *({"server": ""}, {"project": ""}, {"run_id": "214"}, {"run_id": True}, {"feature_id": 1.5}),
    {"dispatched_at": "2026-06-10T14:32:07Z"},
    {"dispatched_at": datetime(2026, 6, 10, 14, 32, 7)},  # noqa: DTZ001 - what is refused
)


def test_a_ref_of_wrong_parts_can_not_be_made() -> None:
    """No empty name, no text for a number, no naive instant; and `Ref` names no operation."""
    for changes in WRONG:
        with pytest.raises((TypeError, ValueError)):
            evolve(RUN, **changes)
    with pytest.raises(TypeError):
        Ref(server=SERVER, project="p")  # type: ignore[abstract]


async def test_the_time_of_a_ref_may_be_of_any_zone() -> None:
    """A ref whose instant has another offset is attached like any other."""
    zoned = evolve(RUN, dispatched_at=datetime.now(timezone(timedelta(hours=2))))
    async with Client(SERVER, api_key="tvb_" + "k" * 43) as client:
        assert client.attach(zoned).ref == zoned
        assert client.attach(Ref.from_json(zoned.to_json())).ref == zoned


@pytest.mark.parametrize(("ref", "text"), [(RUN, RUN_JSON), (GENERATION, GENERATION_JSON)])
def test_the_stored_form_stays(ref: Ref, text: str) -> None:
    """What an earlier release stored is read, and this one still writes the same."""
    assert Ref.from_json(text) == ref
    assert json.loads(ref.to_json()) == json.loads(text)
