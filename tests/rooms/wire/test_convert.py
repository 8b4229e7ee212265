"""What is tolerated in a document, and how a fault and its place are named."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.wire.documents import encode, json_values, left_out, problems
from testvibe_async import Generation, Listing, Run, RunStatus, RunSummary, models
from testvibe_async._core.util.serialization import wire_name
from testvibe_async._core.wire.convert import read
from testvibe_async._core.wire.values import UnreadableError

LEAST: dict[Any, dict[str, Any]] = {
    models.Artifact: {"kind": "trace", "path": "p"},
    models.Config: {"name": "Default"},
    models.Diagnosis: {"runId": 1, "status": "failed"},
    models.DispatchedGeneration: {"requestId": "r", "featureId": 12},
    models.DispatchedRun: {"runId": 1},
    models.Feature: {"id": 12},
    Generation: {},
    models.GenerationLog: {},
    models.ProjectFile: {"path": "p"},
    models.ProjectInfo: {"id": "g"},
    Run: {"runId": 1, "status": "passed"},
}


@pytest.mark.parametrize(
    "shape", [shape for shape in LEAST if shape is not models.DispatchedGeneration]
)
def test_missing_and_null_are_the_same(shape: Any) -> None:
    """A field that the service left out and one that it answered with null read alike."""
    least = LEAST[shape]
    names = [wire_name(field.name) for field in shape.__attrs_attrs__ if field.name != "extra"]
    nulls = {name: None for name in names if name not in least}
    assert nulls
    assert read(encode(least | nulls), shape) == read(encode(least), shape)
    assert read(encode(least | nulls), shape).extra == {}


@pytest.mark.parametrize("shape", LEAST)
def test_unknown_fields_are_kept_under_their_own_names(shape: Any) -> None:
    """A field that this release does not know is kept as it is in `extra`, and nothing else is."""
    unknown = {"newField": {"a": [1, None]}, "run_id": 7, "extra": "x", "_private": 1, "": 0}
    unknown |= {"nil": None}
    value = read(encode(LEAST[shape] | unknown), shape)
    assert value.extra == unknown
    assert value == read(encode(LEAST[shape]), shape)


def test_every_fault_is_named_with_its_place() -> None:
    """What the value can't do without is named at once, each with its place."""
    document = {"runId": None, "status": 3, "featureId": 1.5, "summary": {"total": 1.5}}
    assert sorted(problems(encode(document), Run)) == [
        "expected a string, got 3 at $.status",
        "missing or null at $.runId",
    ]
    assert problems(b'{"path": "p"}', models.Config) == ("missing or null at $.name",)
    for shape, decisive in (
        (models.Feature, {"id": 1, "status": 2}),
        (Generation, {"featureStatus": 2}),
    ):
        assert problems(encode(decisive), shape)[0].startswith("expected a string, got 2")


def test_a_field_that_can_not_be_read_is_none_and_kept() -> None:
    """Ids and status decide; each other field may be wrong, and says so with its place."""
    document = {
        "runId": 1,
        "status": "passed",
        "featureId": "twelve",
        "createdUtc": "yesterday",
        "summary": {"total": 1.5, "passed": 1},
        "tests": [
            {"name": "n", "status": "passed"},
            {"status": 5, "durationMs": "4210ms", "error": {"message": "no"}, "new": 1},
        ],
        "artifacts": {"kind": "trace"},
        "new": 2,
    }
    run, faults = left_out(encode(document), Run)
    assert sorted(faults) == [
        "CaseResult: expected a number, got '4210ms' at $.durationMs",
        "CaseResult: expected a string, got 5 at $.status",
        "CaseResult: expected a string, got {'message': 'no'} at $.error",
        "Run: expected a list, got {'kind': 'trace'} at $.artifacts",
        "Run: expected a time such as 2026-06-10T14:32:07Z, got 'yesterday' at $.createdUtc",
        "Run: expected an integer, got 'twelve' at $.featureId",
        "RunSummary: expected an integer, got 1.5 at $.total",
    ]
    tests = (models.CaseResult("n", "passed"), models.CaseResult())
    assert run == Run(1, RunStatus.PASSED, summary=RunSummary(passed=1), tests=tests)
    assert run.to_dict() == document | {"summary": {"passed": 1, "total": 1.5}}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"data": {"runId": 214, "featureId": 12}}, 214),
        ({"run": {"id": 214}, "featureId": 12}, 214),
        ({"ok": True, "run": {"runId": "214", "id": 9}}, 214),
        ({"data": {"requestId": "r", "featureId": 12}}, "r"),
        ({"generation": {"id": "r"}, "featureId": 12}, "r"),
        ({"request": {"id": "r", "featureId": 12}}, "r"),
        ({"data": {"id": 214}}, None),
        ({"id": 214}, None),
        ({"a": {"runId": 1}, "b": {"runId": 2}}, None),
        ({"run": {"id": None}}, None),
        ({"run": {"run": {"id": 1}}}, None),
    ],
)
def test_the_id_of_a_dispatch_is_found(document: dict[str, Any], found: int | str | None) -> None:
    """The id is taken where it can only be the operation's; where it can't, it is not guessed."""
    if found is None:
        assert problems(encode(document), models.DispatchedRun)
    elif found == "r":
        assert read(encode(document), models.DispatchedGeneration) == models.DispatchedGeneration(
            "r", 12
        )
    else:
        assert read(encode(document), models.DispatchedRun).run_id == found


def test_an_id_may_be_written_as_digits() -> None:
    """Digit strings are integers, and integers are good texts for ids."""
    assert read(encode({"runId": "0214", "status": "passed"}), Run).run_id == 214
    generation = read(encode({"requestId": 77, "featureId": "12"}), models.DispatchedGeneration)
    assert (generation.request_id, generation.feature_id) == ("77", 12)


@pytest.mark.parametrize("value", [True, 1.0, "1.5", " 1", "\N{ARABIC-INDIC DIGIT ONE}", [], {}])
def test_an_integer_is_an_integer(value: object) -> None:
    """A required integer is no boolean, no fraction, no text."""
    (problem,) = problems(encode({"runId": value, "status": "x"}), Run)
    assert problem == f"expected an integer, got {value!r} at $.runId"


INSTANT = datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)
LATER = datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-06-10T14:32:07Z", INSTANT),
        ("2026-06-10T14:32:07+00:00", INSTANT),
        ("2026-06-10T16:32:07+02:00", INSTANT),
        ("2026-06-10T14:32:07", INSTANT),
        (1_781_101_927, INSTANT),
        ("2026-06-10T14:32:07.250Z", LATER),
        ("2026-06-10T14:32:07.2500009Z", LATER),
        (1_781_101_927_250, LATER),
        ("/Date(1781101927250)/", LATER),
        ("/Date(1781101927250+0200)/", LATER),
    ],
)
def test_a_time_is_an_aware_instant_in_utc(text: str | int, instant: datetime) -> None:
    """A time is read with any offset, or none, and as a number, and is in UTC afterwards."""
    updated_at = read(encode({"updatedUtc": text}), Generation).updated_at
    assert updated_at == instant
    assert updated_at is not None
    assert updated_at.utcoffset() == timedelta()


NO_TIMES: list[Any] = [
    *("", "soon", 10**50, 1e300, True, [], "0002-01-01T00:00:00+24:59"),
    *("/Date(9" + "9" * 30 + ")/", f"2026-06-10T14:32:07.{'0' * 100}Z"),
]
OTHER_KINDS: dict[tuple[Any, str, str], list[Any]] = {
    (Run, "log", "expected a string"): [7, {"a": 1}, ["one", 2], [None]],
    (Generation, "runner_started", "expected true or false"): [1, "true", "", []],
    (Generation, "updated_at", "expected a time"): NO_TIMES,
}


@pytest.mark.parametrize(
    ("shape", "field", "what", "value"),
    [(*key, value) for key, values in OTHER_KINDS.items() for value in values],
)
def test_values_of_other_kinds_are_kept(shape: Any, field: str, what: str, value: object) -> None:
    """A log, a truth value or a time that is none is named with its place, and kept as it came."""
    name = wire_name(field)
    found, (problem,) = left_out(encode(LEAST[shape] | {name: value}), shape)
    assert problem.startswith(f"{shape.__name__}: {what}")
    assert problem.endswith(f" at $.{name}")
    assert (getattr(found, field), found.extra) == (None, {name: value})


@given(data=st.data(), shape=st.sampled_from([*LEAST, Listing[Run], Listing[models.Artifact]]))
def test_any_document_is_read_or_is_unreadable(data: st.DataObject, shape: Any) -> None:
    """Whatever it is, or stands in one field, there is a value or at least one problem."""
    document = data.draw(json_values)
    if shape in LEAST and data.draw(st.booleans()):
        names = [wire_name(field.name) for field in shape.__attrs_attrs__]
        document = LEAST[shape] | {data.draw(st.sampled_from(names)): document}
    value, faults = None, tuple[str, ...]()
    try:
        value = read(encode(document), shape)
    except UnreadableError as error:
        faults = error.problems
    assert isinstance(value, get_origin(shape) or shape) == (not faults)
    assert all(" at $" in fault for fault in faults)


LARGE_VALUES: dict[str, Any] = {
    "text": "x" * 65_536,
    "wide text": "\U0001f600" * 16_384,
    "digits": [10**4000] * 45,
    "list": [{}] * 5000,
    "object": {str(number): 1 for number in range(5000)},
    "nested": [[["x" * 10] * 100] * 100],
    "name": {"x" * 65_536: 1},
    "numbers": [1.5] * 4097,
}


@pytest.mark.parametrize("value", LARGE_VALUES.values(), ids=LARGE_VALUES)
def test_a_large_unknown_value_is_left_out(value: Any) -> None:
    """Whatever it is made of; what is small beside it is kept."""
    document = {"runId": 1, "status": "x", "new": value, "other": "y"}
    run, faults = left_out(encode(document), Run)
    assert run.extra == {"other": "y"}
    assert faults == ["Run: only 64 KiB of an answer's other fields are kept"]


@pytest.mark.parametrize(
    ("log", "text"),
    [("one\ntwo", "one\ntwo"), (["one", "two"], "one\ntwo"), ([], ""), ("", ""), (None, None)],
)
@pytest.mark.parametrize("shape", [Run, models.Diagnosis])
def test_a_runners_log_is_a_string_or_lines(shape: Any, log: object, text: str | None) -> None:
    """A run's log, whose type is not documented, is read from a string or a list of lines."""
    assert read(encode(LEAST[shape] | {"log": log}), shape).log == text


@pytest.mark.parametrize("count", [11, 20_000])
def test_of_very_many_faults_the_first_are_named(count: int) -> None:
    """A list in which nothing is right costs little more than one in which ten members are not."""
    assert list(problems(encode([0] * count), Listing[Run])) == [
        f"expected an object, got 0 at $[{place}]" for place in range(10)
    ]
    tests = [0] * count
    run, (fault, *_) = left_out(encode({"runId": 1, "status": "x", "tests": tests}), Run)
    assert fault == "Run: expected an object, got 0 at $.tests[0]"
    assert (run.tests, run.extra) == ((), {"tests": tests} if count == 11 else {})
