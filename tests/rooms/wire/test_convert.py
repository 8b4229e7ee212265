"""What is tolerated in a document, and how a fault and its place are named."""

import json
from datetime import UTC, datetime
from typing import Any, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.wire.documents import DIGEST, encode, json_values, left_out, problems
from testvibe_async import (
    Artifact,
    CaseResult,
    Config,
    Diagnosis,
    Feature,
    FeatureStatus,
    Generation,
    GenerationLog,
    Listing,
    Phase,
    ProjectFile,
    ProjectInfo,
    Run,
    RunStatus,
    RunSummary,
)
from testvibe_async._util.serialization import serialize, wire_name
from testvibe_async._wire.convert import read
from testvibe_async._wire.json import UnreadableError
from testvibe_async.models import DispatchedGeneration, DispatchedRun

SHAPES = [
    Artifact,
    Config,
    Diagnosis,
    DispatchedGeneration,
    DispatchedRun,
    Feature,
    Generation,
    GenerationLog,
    ProjectFile,
    ProjectInfo,
    Run,
    Listing[Run],
    Listing[Artifact],
]


LEAST: dict[Any, dict[str, Any]] = {
    Artifact: {"kind": "trace", "path": "p"},
    Config: {"name": "Default"},
    Diagnosis: {"runId": 1, "status": "failed"},
    DispatchedGeneration: {"requestId": "r", "featureId": 12},
    DispatchedRun: {"runId": 1},
    Feature: {"id": 12},
    Generation: {},
    GenerationLog: {},
    ProjectFile: {"path": "p"},
    ProjectInfo: {"id": "g"},
    Run: {"runId": 1, "status": "passed"},
}


def try_to_read(body: bytes, shape: Any) -> tuple[Any, tuple[str, ...]]:
    """Return what a document holds, or what is wrong with it."""
    try:
        return read(body, shape), ()
    except UnreadableError as error:
        return None, error.problems


def test_the_documented_diagnosis_is_read_in_full() -> None:
    """Every field of a diagnosis arrives in its attribute, those of assumed names too."""
    body = b"""{"runId": 214, "status": "failed", "verdict": "failed", "featureId": 12,
      "featureName": "Login", "config": "Default", "siteUrl": "https://demo.example",
      "finishedUtc": "2026-06-11T09:15:42Z", "summary": {"total": 3, "passed": 2, "failed": 1},
      "failures": [{"name": "locked out", "status": "failed", "durationMs": 12044, "error": "T"}],
      "gherkin": "Feature: Login", "specs": [{"path": "tests/a.spec.ts", "content": "test()"}],
      "artifacts": [{"kind": "trace", "path": "t.zip", "size": 1, "url": "https://b.example/?s"}],
      "log": ["one", "two"]}"""
    assert read(body, Diagnosis) == Diagnosis(
        run_id=214,
        status=RunStatus.FAILED,
        verdict="failed",
        feature_id=12,
        feature_name="Login",
        config="Default",
        site_url="https://demo.example",
        finished_at=datetime(2026, 6, 11, 9, 15, 42, tzinfo=UTC),
        summary=RunSummary(3, 2, 1),
        failures=(CaseResult("locked out", "failed", 12044, "T"),),
        gherkin="Feature: Login",
        specs=(ProjectFile("tests/a.spec.ts", content="test()"),),
        artifacts=(Artifact("trace", "t.zip", 1, "https://b.example/?s"),),
        log="one\ntwo",
    )


@pytest.mark.parametrize("shape", [shape for shape in LEAST if shape is not DispatchedGeneration])
def test_missing_and_null_are_the_same(shape: Any) -> None:
    """A field that the service left out and one that it answered with null read alike."""
    least = LEAST[shape]
    names = [wire_name(field.name) for field in shape.__attrs_attrs__ if field.name != "extra"]
    nulls = {name: None for name in names if name not in least}
    assert nulls
    assert read(encode(least | nulls), shape) == read(encode(least), shape)
    assert read(encode(least | nulls), shape).extra == {}


@pytest.mark.parametrize("member", ["total", "passed", "failed", "other"])
def test_a_null_count_reads_as_a_missing_one(member: str) -> None:
    """A count of a summary that is null, as what does not apply yet may be, makes no fault."""
    body = encode({"runId": 1, "status": "running", "summary": {member: None}})
    assert read(body, Run) == Run(1, RunStatus.RUNNING, summary=RunSummary())


@pytest.mark.parametrize("shape", LEAST)
def test_unknown_fields_are_kept_under_their_own_names(shape: Any) -> None:
    """A field that this release does not know is kept as it is in `extra`, and nothing else is."""
    unknown = {
        "newField": {"a": [1, None]},
        "run_id": 7,
        "extra": "x",
        "_private": 1,
        "": 0,
        "nil": None,
    }
    value = read(encode(LEAST[shape] | unknown), shape)
    assert value.extra == unknown
    assert value == read(encode(LEAST[shape]), shape)


@pytest.mark.parametrize(
    ("log", "text"),
    [("one\ntwo", "one\ntwo"), (["one", "two"], "one\ntwo"), ([], ""), ("", ""), (None, None)],
)
@pytest.mark.parametrize("shape", [Run, Diagnosis])
def test_a_runners_log_is_a_string_or_lines(shape: Any, log: object, text: str | None) -> None:
    """A run's log, whose type is not documented, is read from a string or a list of lines."""
    assert read(encode(LEAST[shape] | {"log": log}), shape).log == text


@pytest.mark.parametrize("log", [7, {"a": 1}, ["one", 2], [None]])
def test_a_log_of_another_kind_is_left_out(log: object) -> None:
    """A log that is neither is named with its place, and kept as it came."""
    run, (problem,) = left_out(encode(LEAST[Run] | {"log": log}), Run)
    assert problem.startswith("Run: expected a string, got ")
    assert problem.endswith(" at $.log")
    assert (run.log, run.extra) == (None, {"log": log})


@pytest.mark.parametrize("word", ["Passed", "PASSED", "pAsSeD"])
def test_a_status_is_found_in_any_case(word: str) -> None:
    """The documented words are the same in capitals: of runs, features and tests."""
    body = {"runId": 1, "status": word, "tests": [{"name": "n", "status": word}]}
    run = read(encode(body), Run)
    assert run.status is RunStatus.PASSED
    assert run.tests[0].status == "passed"
    feature = read(encode({"id": 1, "status": "GENERATED", "kind": "Suggestion"}), Feature)
    assert (feature.status, feature.is_suggestion) == (FeatureStatus.GENERATED, True)
    section = {"section": "s", "status": "Completed", "conclusion": "FAILURE"}
    generation = read(encode({"featureStatus": "Failed", "sections": [section]}), Generation)
    assert generation.is_failure
    assert (generation.sections[0].status, generation.sections[0].conclusion) == (
        "completed",
        "failure",
    )


@pytest.mark.parametrize("word", ["timed_out", "RUN", "", "Passed ", "\U0001f6d2"])
def test_an_undocumented_status_stays_a_string(word: str) -> None:
    """A word that is not documented stays the string that it is."""
    run = read(encode({"runId": 1, "status": word}), Run)
    generation = read(encode({"featureStatus": word}), Generation)
    assert type(run.status) is str
    assert run.status == generation.feature_status == word


@pytest.mark.parametrize("count", [11, 100_000])
def test_of_very_many_faults_the_first_are_named(count: int) -> None:
    """A list in which nothing is right costs little more than one in which ten members are not."""
    assert list(problems(encode([0] * count), Listing[Run])) == [
        f"expected an object, got 0 at $[{place}]" for place in range(10)
    ]
    tests = [0] * count
    run, (fault, *_) = left_out(encode({"runId": 1, "status": "x", "tests": tests}), Run)
    assert fault == "Run: expected an object, got 0 at $.tests[0]"
    assert (run.tests, run.extra) == ((), {"tests": tests} if count == 11 else {})


@pytest.mark.parametrize("number", [10**400, -(10**400), 10**100])
def test_a_number_beyond_arithmetic_is_left_out(number: int) -> None:
    """What would be too large for a report's seconds and sizes stops where it comes in."""
    test = {"name": "n", "status": "passed", "durationMs": number}
    document = {"runId": 1, "status": "x", "tests": [test], "summary": {"total": number}}
    run, faults = left_out(encode(document), Run)
    assert sorted(fault.partition(", got")[0] for fault in faults) == [
        "CaseResult: expected a number",
        "RunSummary: expected an integer of at most 100 digits",
    ]
    assert (run.tests[0].duration_ms, run.summary) == (None, RunSummary())


def test_unknown_fields_may_be_nested() -> None:
    """As deep as any service would, unknown fields are kept, and can be written again."""
    deep: Any = 1
    for _ in range(30):
        deep = {"inner": [deep]}
    run = read(encode({"runId": 1, "status": "x", "new": deep}), Run)
    assert serialize(run)["new"] == deep


def test_every_fault_is_named_with_its_place() -> None:
    """What the value can't do without is named at once, each with its place."""
    document = {"runId": None, "status": 3, "featureId": 1.5, "summary": {"total": 1.5}}
    assert sorted(problems(encode(document), Run)) == [
        "expected a string, got 3 at $.status",
        "missing or null at $.runId",
    ]


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
    assert run == Run(
        1,
        RunStatus.PASSED,
        summary=RunSummary(passed=1),
        tests=(CaseResult("n", "passed"), CaseResult()),
    )
    assert run.to_dict() == document | {"summary": {"passed": 1, "total": 1.5}}


@pytest.mark.parametrize(
    ("shape", "document"),
    [
        (Feature, {"id": 1, "status": 2}),
        (Generation, {"featureStatus": 2}),
        (Generation, {"featureStatus": "generated", "requestId": ["r"]}),
        (Diagnosis, {"runId": 1, "status": 2}),
    ],
)
def test_what_decides_must_be_readable(shape: Any, document: dict[str, Any]) -> None:
    """A status or an id that may be missing is not None where it is there and can't be read."""
    (problem,) = problems(encode(document), shape)
    assert problem.startswith("expected a string, got ")


@pytest.mark.parametrize("run_id", ["214", "0214"])
def test_an_id_may_be_written_as_digits(run_id: object) -> None:
    """Digit strings are integers, and integers are good texts for ids."""
    assert read(encode({"runId": run_id, "status": "passed"}), Run).run_id == 214
    assert read(encode({"runId": run_id}), DispatchedRun).run_id == 214
    generation = read(encode({"requestId": 77, "featureId": "12"}), DispatchedGeneration)
    assert (generation.request_id, generation.feature_id) == ("77", 12)
    assert read(encode({"requestId": 77}), Generation).request_id == "77"


@pytest.mark.parametrize(
    ("document", "run_id"),
    [
        ({"data": {"runId": 214, "featureId": 12}}, 214),
        ({"run": {"id": 214}, "featureId": 12}, 214),
        ({"ok": True, "run": {"runId": "214", "id": 9}}, 214),
        ({"data": {"id": 214}}, None),
        ({"id": 214}, None),
        ({"a": {"runId": 1}, "b": {"runId": 2}}, None),
        ({"run": {"id": None}}, None),
        ({"run": {"run": {"id": 1}}}, None),
    ],
)
def test_the_answer_to_a_dispatch_is_searched_one_level_down(
    document: dict[str, Any], run_id: int | None
) -> None:
    """The id is taken where it can only be the run's; where it can't, it is not guessed."""
    if run_id is None:
        assert problems(encode(document), DispatchedRun)
    else:
        assert read(encode(document), DispatchedRun).run_id == run_id


@pytest.mark.parametrize(
    "document",
    [
        {"data": {"requestId": "r", "featureId": 12}},
        {"generation": {"id": "r"}, "featureId": 12},
        {"request": {"id": "r", "featureId": 12}},
    ],
)
def test_the_answer_to_a_generation_is_searched_too(document: dict[str, Any]) -> None:
    """Its `requestId` may be the `id` of a member that is named for it."""
    assert read(encode(document), DispatchedGeneration) == DispatchedGeneration("r", 12)


def test_a_field_that_is_odd_in_every_row_is_noted_once() -> None:
    """Very many rows are one warning; each keeps its own value."""
    rows = [{"runId": number, "status": "passed", "log": [number]} for number in range(99)]
    listing, faults = left_out(encode(rows), Listing[Run])
    assert faults == ["Run: expected a string, got 0 at $.log"]
    assert [row.extra["log"] for row in listing] == [[number] for number in range(99)]

    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    rows = [{"runId": number, "status": "passed", "new": deep} for number in range(3)]
    listing, faults = left_out(encode(rows), Listing[Run])
    assert faults == ["Run: nested deeper than 64 times"]
    assert [row.extra for row in listing] == [{}] * 3


def test_a_row_that_can_not_be_read_is_missing_and_named() -> None:
    """A row without its id is left out of a list, which says so with the row's number."""
    rows = [LEAST[Run], {"runId": "x", "status": "passed"}, LEAST[Run]]
    listing = read(encode(rows), Listing[Run])
    assert listing == [Run(1, RunStatus.PASSED)] * 2
    assert listing.unreadable == ["expected an integer, got 'x' at $[1].runId"]


def test_a_value_like_a_place_does_not_change_the_place() -> None:
    """A wrong value that holds the separator of messages is shown as it is."""
    (problem,) = problems(encode({"runId": "a @ $.b_at", "status": "x"}), Run)
    assert problem == "expected an integer, got 'a @ $.b_at' at $.runId"


@pytest.mark.parametrize("value", [True, 1.0, "1.5", " 1", "\N{ARABIC-INDIC DIGIT ONE}", [], {}])
def test_an_integer_is_an_integer(value: object) -> None:
    """A required integer is no boolean, no fraction, no text."""
    (problem,) = problems(encode({"runId": value, "status": "x"}), Run)
    assert problem == f"expected an integer, got {value!r} at $.runId"


@pytest.mark.parametrize("value", [1, "true", "", []])
def test_a_truth_value_is_one(value: object) -> None:
    """A boolean field takes true and false alone."""
    _, (problem,) = left_out(encode({"runnerStarted": value}), Generation)
    assert problem == f"Generation: expected true or false, got {value!r} at $.runnerStarted"


def test_a_long_value_is_shown_in_part() -> None:
    """A message never holds more than a glimpse of a wrong value."""
    (problem,) = problems(encode({"runId": "x" * 10_000, "status": "x"}), Run)
    assert len(problem) < 120
    assert "..." in problem


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-06-10T14:32:07Z", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T14:32:07.250Z", datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)),
        ("2026-06-10T14:32:07+00:00", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T16:32:07+02:00", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T14:32:07", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T14:32:07.2500009Z", datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)),
        (1_781_101_927, datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        (1_781_101_927_250, datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)),
        ("/Date(1781101927250)/", datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)),
        ("/Date(1781101927250+0200)/", datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_an_aware_instant_in_utc(text: str | int, instant: datetime) -> None:
    """A time is read with any offset, or none, and as a number, and is in UTC afterwards."""
    updated_at = read(encode({"updatedUtc": text}), Generation).updated_at
    assert updated_at == instant
    assert updated_at is not None
    assert updated_at.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        10**50,
        1e300,
        True,
        "0002-01-01T00:00:00+24:59",
        "/Date(9" + "9" * 30 + ")/",
        [],
        f"2026-06-10T14:32:07.{'0' * 100}Z",
    ],
)
def test_what_is_no_time_is_left_out(value: object) -> None:
    """A time that is none, or that no datetime can hold, is named with its place, and kept."""
    generation, (problem,) = left_out(encode({"updatedUtc": value}), Generation)
    assert problem.endswith(" at $.updatedUtc")
    assert (generation.updated_at, generation.extra) == (None, {"updatedUtc": value})


@pytest.mark.parametrize("depth", [10, 900, 990, 100_000])
@pytest.mark.parametrize(
    "around", [b"%s", b'{"runId": %s, "status": "x"}', b'{"runId": 1, "status": "x", "more": %s}']
)
def test_deep_nesting_never_breaks_out(around: bytes, depth: int) -> None:
    """However deep a document is nested, it is read or is unreadable."""
    body = around % (b"[" * depth + b"]" * depth)
    value, faults = try_to_read(body, Run)
    assert faults or value.run_id == 1


@given(document=json_values, shape=st.sampled_from(SHAPES))
def test_any_document_is_read_or_is_unreadable(document: object, shape: Any) -> None:
    """No JSON makes reading raise anything but UnreadableError, with at least one problem."""
    value, faults = try_to_read(encode(document), shape)
    assert isinstance(value, get_origin(shape) or shape) == (not faults)
    assert all(" at $" in fault for fault in faults)


@given(data=st.data(), shape=st.sampled_from(list(LEAST)))
def test_one_wrong_field_never_breaks_out(data: st.DataObject, shape: Any) -> None:
    """Whatever stands in one field, the document is read or is unreadable."""
    names = [wire_name(field.name) for field in shape.__attrs_attrs__]
    document = LEAST[shape] | {data.draw(st.sampled_from(names)): data.draw(json_values)}
    value, faults = try_to_read(encode(document), shape)
    assert isinstance(value, shape) == (not faults)


def test_equal_names_times_and_summaries_are_held_once() -> None:
    """Ten thousand outcomes that repeat the same names hold each of them once."""
    one, other = read(DIGEST, Run), read(DIGEST, Run)
    assert one.feature_name is other.feature_name
    assert one.tests[0].name is other.tests[0].name
    assert one.finished_at is other.finished_at
    assert one.summary is other.summary


def test_what_is_long_is_not_held_beyond_its_outcome() -> None:
    """Long texts are no names: each outcome has its own, and frees it."""
    body = encode({"runId": 1, "status": "passed", "featureName": "x" * 65})
    one, other = read(body, Run), read(body, Run)
    assert one.feature_name == other.feature_name
    assert one.feature_name is not other.feature_name


def test_a_summary_of_endless_numbers_is_not_held_beyond_its_outcome() -> None:
    """A number may have very many digits; such a one is freed with its outcome."""
    body = encode({"runId": 1, "status": "passed", "summary": {"total": 10**90}})
    one, other = read(body, Run), read(body, Run)
    assert one.summary == other.summary
    assert one.summary is not other.summary


def test_an_equal_summary_has_its_own_unknown_fields() -> None:
    """Unknown fields are no part of whether two summaries are equal, and are not mixed up."""
    counts = {"total": 1, "passed": 1}
    bodies = [
        encode({"runId": 1, "status": "passed", "summary": counts | more})
        for more in ({}, {"flaky": 1}, {"flaky": 2}, {})
    ]
    summaries = [read(body, Run).summary for body in bodies]
    extras = [dict(summary.extra) for summary in summaries if summary is not None]
    assert extras == [{}, {"flaky": 1}, {"flaky": 2}, {}]


@pytest.mark.parametrize(
    ("member", "value"), [("finishedUtc", "soon"), ("finishedUtc", "2026-06-10T14:32:07Z")]
)
def test_a_run_of_an_undocumented_status_is_over_once_it_has_an_end(
    member: str, value: str
) -> None:
    """Also where the time of its end can't be read; it is neither success nor failure."""
    run = read(encode({"runId": 1, "status": "timed_out", member: value}), Run)
    assert run.is_finished
    assert not run.is_success
    assert not run.is_failure


def test_a_run_whose_start_can_not_be_read_is_not_queued() -> None:
    """That it has a start is enough."""
    run = read(encode({"runId": 1, "status": "running", "startedUtc": "just now"}), Run)
    assert run.phase is Phase.ACTIVE


@pytest.mark.parametrize("count", [1, 1000])
def test_of_unknown_fields_an_answer_keeps_64_kib(count: int) -> None:
    """The first that fit are kept, and it is said once for a model that others are not."""
    rows = [{"runId": 1, "status": "x", "new": "x" * 1000, "small": 1}] * count
    runs, faults = left_out(encode(rows), Listing[Run])
    kept = sum(len(json.dumps(run.extra)) for run in runs if run.extra)
    if count == 1:
        assert runs[0].extra == {"new": "x" * 1000, "small": 1}
        assert faults == []
    else:
        assert 60_000 < kept < 65_536
        assert faults == ["Run: only 64 KiB of an answer's other fields are kept"]


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
