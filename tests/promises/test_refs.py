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


@pytest.mark.parametrize(
    ("ref", "same"),
    [
        (RUN, evolve(RUN, feature_id=None, dispatched_at=None)),
        (GENERATION, evolve(GENERATION, feature_id=99, dispatched_at=AT)),
    ],
)
def test_a_ref_is_its_server_project_kind_and_id(ref: Ref, same: Ref) -> None:
    """Refs of one operation are equal and hash alike, wherever each was found."""
    assert ref == same
    assert hash(ref) == hash(same)


@pytest.mark.parametrize(
    "other",
    [
        evolve(RUN, server="https://other.example"),
        evolve(RUN, project="7f3d"),
        evolve(RUN, run_id=215),
        GENERATION,
    ],
)
def test_another_operations_ref_differs(other: Ref) -> None:
    """A ref of another server, project, id or kind is another."""
    assert other != RUN


@pytest.mark.parametrize(("ref", "text"), [(RUN, RUN_JSON), (GENERATION, GENERATION_JSON)])
def test_the_stored_form_stays(ref: Ref, text: str) -> None:
    """What an earlier release stored is read, and this one still writes the same."""
    assert Ref.from_json(text) == ref
    assert json.loads(ref.to_json()) == json.loads(text)


ODD = 'a "b" \\ / \n\x00\x7f\u2028 é 日本 \U0001f6d2'


@pytest.mark.parametrize(
    "ref",
    [
        RUN,
        GENERATION,
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
        assert back.key == ref.key
        assert hash(back) == hash(ref)


def test_a_ref_is_read_as_the_kind_that_was_asked_for() -> None:
    """`Ref.from_json` takes either kind, and each kind its own alone."""
    assert RunRef.from_json(RUN_JSON) == RUN
    assert GenerationRef.from_json(GENERATION_JSON) == GENERATION
    assert RunRef.from_dict(RUN.to_dict()) == RUN
    with pytest.raises(ConfigError, match=r"ref of a generation; a run's"):
        RunRef.from_json(GENERATION_JSON)
    with pytest.raises(ConfigError, match=r"ref of a run; a generation's"):
        GenerationRef.from_json(RUN_JSON)


def test_what_a_later_release_adds_is_ignored() -> None:
    """Unknown members are ignored."""
    assert Ref.from_json(document(new={"a": 1}, kind="x", key=[1])) == RUN


@pytest.mark.parametrize("version", [0, 1, 99, "2", None, [2]])
def test_another_version_is_refused(version: object) -> None:
    """A ref of a version that this release does not read says so, and with which to read it."""
    with pytest.raises(ConfigError, match="newer"):
        Ref.from_json(document(version=version))


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "{", "null", "214", "[]", "{}", '"run"', b"\xff\xfe\xfd", "[" * 100_000),
        *(
            f'{{"testvibe": {kind}, "version": 2}}'
            for kind in ('"x"', "null", "1", '["run"]', '{"run": 1}')
        ),
        '{"version": 2, "server": "s", "project": "p", "runId": 1}',
    ],
    ids=lambda text: repr(text[:30]),
)
def test_what_is_no_ref_is_refused(text: str | bytes) -> None:
    """Anything but a ref is a ConfigError that says so."""
    with pytest.raises(ConfigError, match="not a ref"):
        Ref.from_json(text)


DAMAGES: dict[str, list[Any]] = {
    "server": ["", None, 1],
    "project": ["", ["7f3c"]],
    "runId": ["214", None, True, 2.0],
    "featureId": ["12", False],
    "dispatchedUtc": ["yesterday", 1_780_000_000, "", {"$date": 1}, "2026-06-10T14:32:07"],
}


@pytest.mark.parametrize(
    "changes", [{name: value} for name, values in DAMAGES.items() for value in values], ids=str
)
def test_a_damaged_ref_is_refused(changes: dict[str, Any]) -> None:
    """A ref whose members are of another kind is a ConfigError, and no handle is made of it."""
    with pytest.raises(ConfigError, match="damaged"):
        Ref.from_json(document(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"server": ""},
        {"project": ""},
        {"run_id": "214"},
        {"run_id": True},
        {"feature_id": 1.5},
        {"dispatched_at": "2026-06-10T14:32:07Z"},
        {"dispatched_at": datetime(2026, 6, 10, 14, 32, 7)},  # noqa: DTZ001 - what is refused
    ],
    ids=str,
)
def test_a_ref_of_wrong_parts_can_not_be_made(changes: dict[str, Any]) -> None:
    """A ref is checked when it is made: no empty name, no text for a number, no naive instant."""
    with pytest.raises((TypeError, ValueError)):
        evolve(RUN, **changes)


async def test_the_time_of_a_ref_may_be_of_any_zone() -> None:
    """A ref whose instant has another offset is attached like any other."""
    zoned = evolve(RUN, dispatched_at=datetime.now(timezone(timedelta(hours=2))))
    async with Client(SERVER, api_key="tvb_" + "k" * 43) as client:
        assert client.attach(zoned).ref == zoned
        assert client.attach(Ref.from_json(zoned.to_json())).ref == zoned


@pytest.mark.parametrize(
    ("ref", "key", "text"),
    [
        (RUN, ("run", "7f3c", 214), "run 214"),
        (evolve(RUN, dispatched_at=None, feature_id=None), ("run", "7f3c", 214), "run 214"),
        (GENERATION, ("generation", "7f3c", 12, "a1b2"), "generation a1b2 of feature 12"),
    ],
)
def test_a_ref_has_a_key_and_a_name(ref: Ref, key: tuple[object, ...], text: str) -> None:
    """The key identifies an operation of its server; the text is what messages use."""
    assert ref.key == key
    assert str(ref) == text


def test_the_two_kinds_are_all_there_are() -> None:
    """Ref itself names no operation."""
    kinds: set[type[Ref]] = {*Ref.__subclasses__()}
    assert {kind.kind for kind in kinds} == {"run", "generation"}
    with pytest.raises(TypeError):
        Ref(server=SERVER, project="p")  # type: ignore[abstract]


def test_a_ref_that_lacks_fields_names_them() -> None:
    """What a cut ref lacks is said in the ref's own words."""
    with pytest.raises(ConfigError) as caught:
        Ref.from_json('{"testvibe": "run", "version": 2}')
    assert str(caught.value) == "this ref of a run is damaged: it lacks server, project, runId"
