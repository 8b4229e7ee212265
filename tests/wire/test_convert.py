"""What is tolerated in a document, and how a fault and its place are named."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testvibe_async import (
    Artifact,
    CaseResult,
    Config,
    Diagnosis,
    Feature,
    FeatureStatus,
    Generation,
    GenerationLog,
    Phase,
    ProjectFile,
    ProjectInfo,
    Run,
    RunStatus,
    RunSummary,
    Section,
    SectionLog,
)
from testvibe_async._wire import json as _json
from testvibe_async._wire.convert import read, wire_name
from testvibe_async._wire.documents import serialize
from testvibe_async._wire.json import UnreadableError, read_rows
from testvibe_async.models import DispatchedGeneration, DispatchedRun

DIGEST = b"""
{"runId": 214, "status": "failed", "featureId": 12, "featureName": "Login Functionality",
 "config": "Default", "siteUrl": "https://shop.acme.example",
 "createdUtc": "2026-06-10T16:02:11Z", "startedUtc": "2026-06-10T16:02:19Z",
 "finishedUtc": "2026-06-10T16:02:54Z",
 "summary": {"total": 3, "passed": 2, "failed": 1, "other": 0},
 "tests": [{"name": "Valid user signs in", "status": "passed", "durationMs": 4210, "error": null},
           {"name": "Locked-out user", "status": "failed", "durationMs": 9120.5, "error": "no"}],
 "artifacts": [{"kind": "trace", "path": "trace/locked-out-user.zip", "size": 482133}],
 "log": "tail"}
"""

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)

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
    list[Run],
    list[Artifact],
]

LEAST: dict[Any, dict[str, Any]] = {
    Artifact: {"kind": "trace", "path": "p"},
    Config: {"name": "Default"},
    Diagnosis: {"runId": 1, "status": "failed"},
    DispatchedGeneration: {"requestId": "r", "featureId": 12},
    DispatchedRun: {"runId": 1},
    Feature: {"id": 12, "name": "n"},
    Generation: {},
    GenerationLog: {},
    ProjectFile: {"path": "p"},
    ProjectInfo: {"id": "g"},
    Run: {"runId": 1, "status": "passed"},
}


def encode(document: object) -> bytes:
    """Return a document as it travels."""
    return json.dumps(document).encode()


def problems(body: bytes, shape: Any) -> tuple[str, ...]:
    """Return what is wrong with a document."""
    with pytest.raises(UnreadableError) as caught:
        read(body, shape)
    return caught.value.problems


def try_to_read(body: bytes, shape: Any) -> tuple[Any, tuple[str, ...]]:
    """Return what a document holds, or what is wrong with it."""
    try:
        return read(body, shape), ()
    except UnreadableError as error:
        return None, error.problems


def test_the_documented_digest_is_read_in_full() -> None:
    """Every field of the documented run digest arrives in its attribute."""
    assert read(DIGEST, Run) == Run(
        run_id=214,
        status=RunStatus.FAILED,
        feature_id=12,
        feature_name="Login Functionality",
        config="Default",
        site_url="https://shop.acme.example",
        created_at=datetime(2026, 6, 10, 16, 2, 11, tzinfo=UTC),
        started_at=datetime(2026, 6, 10, 16, 2, 19, tzinfo=UTC),
        finished_at=datetime(2026, 6, 10, 16, 2, 54, tzinfo=UTC),
        summary=RunSummary(total=3, passed=2, failed=1, other=0),
        tests=(
            CaseResult("Valid user signs in", "passed", 4210),
            CaseResult("Locked-out user", "failed", 9120.5, "no"),
        ),
        artifacts=(Artifact("trace", "trace/locked-out-user.zip", 482133),),
        log="tail",
    )


def test_the_documented_generation_is_read_in_full() -> None:
    """Every field of the documented generation status arrives in its attribute."""
    body = b"""{"featureId": 12, "featureName": "Login", "featureStatus": "generating",
      "requestId": "a1b2", "runnerStarted": true, "overallStatus": "in_progress",
      "overallConclusion": null, "updatedUtc": "2026-06-10T14:30:12Z",
      "sections": [{"section": "login", "status": "in_progress", "conclusion": null,
                    "updatedUtc": "2026-06-10T14:30:12Z"}]}"""
    at = datetime(2026, 6, 10, 14, 30, 12, tzinfo=UTC)
    assert read(body, Generation) == Generation(
        feature_id=12,
        feature_name="Login",
        feature_status=FeatureStatus.GENERATING,
        request_id="a1b2",
        runner_started=True,
        overall_status="in_progress",
        overall_conclusion=None,
        updated_at=at,
        sections=(Section("login", "in_progress", None, at),),
    )


def test_the_documented_log_is_read_in_full() -> None:
    """Every field of the documented generation log arrives in its attribute."""
    body = b"""{"featureId": 12, "featureName": "Login", "requestId": "a1b2",
      "sections": [{"section": "login", "title": "Login", "state": "completed",
                    "conclusion": "failure", "statusReason": "did not pass",
                    "log": ["Exploring\\u2026", "2/3 passed"]}]}"""
    lines = ("Exploring…", "2/3 passed")
    section = SectionLog("login", "Login", "completed", "failure", "did not pass", lines)
    assert read(body, GenerationLog) == GenerationLog(12, "Login", "a1b2", (section,))


def test_the_documented_feature_and_file_are_read_in_full() -> None:
    """Every field of the documented feature and file arrives in its attribute."""
    feature = b"""{"id": 12, "name": "Login", "kind": "suggestion", "status": "cancelled",
      "gherkin": "Feature: Login", "rationale": "why", "updatedUtc": "2026-06-10T14:32:07Z"}"""
    at = datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)
    assert read(feature, Feature) == Feature(
        12, "Login", "suggestion", FeatureStatus.CANCELLED, "Feature: Login", "why", at
    )
    file = b'{"path": "Features/a", "kind": "feature", "source": "template", "content": "x"}'
    assert read(file, ProjectFile) == ProjectFile("Features/a", "feature", "template", "x")


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


def test_a_bare_digest_is_enough() -> None:
    """A digest of an id and a status is a run, with None or nothing for all the rest."""
    assert read(b'{"runId": 214, "status": "running"}', Run) == Run(214, RunStatus.RUNNING)


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


def test_unknown_fields_are_kept_at_every_depth() -> None:
    """Unknown fields of a part of a document are kept with that part."""
    body = encode({"runId": 1, "status": "x", "tests": [{"name": "n", "status": "s", "retry": 2}]})
    assert read(body, Run).tests[0].extra == {"retry": 2}


@pytest.mark.parametrize(
    ("log", "text"),
    [("one\ntwo", "one\ntwo"), (["one", "two"], "one\ntwo"), ([], ""), ("", ""), (None, None)],
)
@pytest.mark.parametrize("shape", [Run, Diagnosis])
def test_a_runners_log_is_a_string_or_lines(shape: Any, log: object, text: str | None) -> None:
    """A run's log, whose type is not documented, is read from a string or a list of lines."""
    assert read(encode(LEAST[shape] | {"log": log}), shape).log == text


@pytest.mark.parametrize("log", [7, {"a": 1}, ["one", 2], [None]])
def test_a_log_of_another_kind_is_a_fault(log: object) -> None:
    """A log that is neither is named with its place."""
    (problem,) = problems(encode(LEAST[Run] | {"log": log}), Run)
    assert problem.startswith("expected a string, got ")
    assert problem.endswith(" at $.log")


@pytest.mark.parametrize("member", RunStatus)
def test_a_documented_status_is_the_enum(member: RunStatus) -> None:
    """A documented word becomes its member of the enum, and is still equal to the word."""
    status = read(encode({"runId": 1, "status": member.value}), Run).status
    assert status is member
    assert status == member.value


@pytest.mark.parametrize("word", ["timed_out", "RUNNING", "", "Passed ", "\U0001f6d2"])
def test_an_undocumented_status_stays_a_string(word: str) -> None:
    """A word that is not documented stays the string that it is, and never matches by case."""
    run = read(encode({"runId": 1, "status": word}), Run)
    generation = read(encode({"featureStatus": word}), Generation)
    assert type(run.status) is str
    assert run.status == generation.feature_status == word


@pytest.mark.parametrize(
    "document",
    [
        [{"runId": 1, "status": "passed"}],
        {"runs": [{"runId": 1, "status": "passed"}]},
        {"items": [{"runId": 1, "status": "passed"}], "total": 1, "next": None, "page": {}},
    ],
)
def test_a_list_comes_bare_or_in_an_envelope(document: object) -> None:
    """A list answer is read bare, and as the one list of an object around it."""
    assert read(encode(document), list[Run]) == [Run(1, RunStatus.PASSED)]


@pytest.mark.parametrize("document", [{}, {"a": [], "b": []}, {"items": None}, None, "x", 1, True])
def test_what_holds_no_one_list_is_a_fault(document: object) -> None:
    """An answer in which no single list can be found is named as what it is."""
    (problem,) = problems(encode(document), list[Run])
    assert problem.startswith("expected a list, got ")
    assert problem.endswith(" at $")


@pytest.mark.parametrize("count", [11, 100_000])
def test_of_very_many_faults_the_first_are_told(count: int) -> None:
    """A list in which nothing is right costs little more than one in which ten members are not."""
    assert list(problems(encode([0] * count), list[Run])) == [
        f"expected an object, got 0 at $[{place}]" for place in range(10)
    ]
    tests: list[dict[str, Any]] = [{}] * count
    of_tests = problems(encode({"runId": 1, "status": "x", "tests": tests}), Run)
    assert list(of_tests) == [f"missing or null at $.tests[{place}].name" for place in range(10)]


@pytest.mark.parametrize("number", [10**400, -(10**400), 10**100])
def test_a_number_beyond_arithmetic_is_a_fault(number: int) -> None:
    """What would be too large for a report's seconds and sizes is refused where it comes in."""
    test = {"name": "n", "status": "passed", "durationMs": number}
    document = {"runId": 1, "status": "x", "tests": [test], "summary": {"total": number}}
    found = problems(encode(document), Run)
    assert [problem.partition(", got")[0] for problem in found] == [
        "expected an integer of at most 100 digits"
    ] * 2


@pytest.mark.parametrize("depth", [100, 400, 900, 950, 975, 979, 980, 985, 990, 999, 5000, 9998])
@pytest.mark.parametrize("shape", [Run, list[Run]])
def test_deep_json_is_a_fault_whatever_the_depth(depth: int, shape: Any) -> None:
    """Where an unknown field or a wrong value is nested deep, that is told in a sentence."""
    deep = b"[" * depth + b"]" * depth
    for body in (b'{"runId": 1, "status": "x", "new": ' + deep + b"}", b'{"runId": ' + deep + b"}"):
        with pytest.raises(UnreadableError):
            read(body, shape)


def test_unknown_fields_may_be_nested() -> None:
    """As deep as any service would, unknown fields are kept, and can be written again."""
    deep: Any = 1
    for _ in range(30):
        deep = {"inner": [deep]}
    run = read(encode({"runId": 1, "status": "x", "new": deep}), Run)
    assert serialize(run)["new"] == deep


def test_an_empty_list_is_a_list() -> None:
    """No rows are no fault."""
    assert read(b"[]", list[Run]) == read(b'{"runs": []}', list[Run]) == []


def test_every_fault_is_named_with_its_place() -> None:
    """All that is wrong is told at once, each in words, with its place in the wire's spelling."""
    document = {
        "status": 3,
        "featureId": "12",
        "createdUtc": "yesterday",
        "summary": {"total": 1.5},
        "tests": [{"name": "n", "status": "passed"}, {"status": 5, "durationMs": "1"}],
        "artifacts": {"kind": "trace"},
    }
    assert sorted(problems(encode(document), Run)) == [
        "expected a list, got {'kind': 'trace'} at $.artifacts",
        "expected a number, got '1' at $.tests[1].durationMs",
        "expected a string, got 3 at $.status",
        "expected a string, got 5 at $.tests[1].status",
        "expected a time such as 2026-06-10T14:32:07Z, got 'yesterday' at $.createdUtc",
        "expected an integer, got '12' at $.featureId",
        "expected an integer, got 1.5 at $.summary.total",
        "missing or null at $.runId",
        "missing or null at $.tests[1].name",
    ]


def test_a_row_that_can_not_be_read_is_named_by_its_number() -> None:
    """A fault in a list answer tells which row it is in."""
    rows = [LEAST[Artifact], {"kind": "trace", "path": "p", "size": "big"}]
    assert problems(encode(rows), list[Artifact]) == (
        "expected an integer, got 'big' at $[1].size",
    )


def test_a_value_that_looks_like_a_place_does_not_blur_the_place() -> None:
    """A wrong value that holds the separator of messages is shown as it is."""
    (problem,) = problems(encode({"runId": "a @ $.b_at", "status": "x"}), Run)
    assert problem == "expected an integer, got 'a @ $.b_at' at $.runId"


@pytest.mark.parametrize("value", [True, 1.0, "1", [], {}])
def test_an_integer_is_an_integer(value: object) -> None:
    """A required integer is no boolean, no fraction, no text."""
    (problem,) = problems(encode({"runId": value, "status": "x"}), Run)
    assert problem == f"expected an integer, got {value!r} at $.runId"


def test_what_is_required_is_not_null() -> None:
    """Null is the same as missing, and a run without a number is none."""
    (problem,) = problems(encode({"runId": None, "status": "x"}), Run)
    assert problem == "missing or null at $.runId"


@pytest.mark.parametrize("value", [1, "true", "", []])
def test_a_truth_value_is_one(value: object) -> None:
    """true and false are not told from anything else."""
    (problem,) = problems(encode({"runnerStarted": value}), Generation)
    assert problem == f"expected true or false, got {value!r} at $.runnerStarted"


def test_a_long_value_is_shown_in_part() -> None:
    """A message never holds more than a glimpse of a wrong value."""
    (problem,) = problems(encode({"runId": "x" * 10_000, "status": "x"}), Run)
    assert len(problem) < 120
    assert "..." in problem


@given(
    rows=st.lists(json_values, max_size=5),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    around=st.sampled_from([b"", b" \r\n\t"]),
)
def test_rows_one_by_one_are_the_rows_of_the_whole(
    rows: list[object], indent: int | str | None, around: bytes
) -> None:
    """However a list is spaced out, its rows are the same read one by one as all at once."""
    body = around + json.dumps(rows, indent=indent).encode() + around
    assert list(read_rows(body)) == rows == json.loads(body)
    assert list(read_rows(b"\xef\xbb\xbf" + body)) == rows


def test_rows_in_an_envelope_are_rows() -> None:
    """The one list of an object is taken for the answer here too."""
    assert list(read_rows(b'{"total": 2, "runs": [{"runId": 1}, null]}')) == [{"runId": 1}, None]


def test_rows_before_a_break_are_given() -> None:
    """What came whole of a list that breaks off is told before the fault is."""
    rows = read_rows(b'[{"runId": 1}, 7, {"runId')
    assert [next(rows), next(rows)] == [{"runId": 1}, 7]
    with pytest.raises(UnreadableError):
        next(rows)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1}",
        b"7",
        b"null",
        b'"[1]"',
        b"{}",
        b'{"a": [], "b": []}',
        b'{"a": 1}',
        b"[NaN]",
        b"[1e999]",
        b"[\xff]",
        b"<html>",
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_has_no_rows(body: bytes) -> None:
    """Anything else than one list is a fault, whatever it is, and never breaks out."""
    with pytest.raises(UnreadableError) as caught:
        list(read_rows(body))
    assert caught.value.problems
    assert all(problem.isprintable() for problem in caught.value.problems)


@given(body=st.binary(max_size=30) | st.text('[]{},:1 "ae\\', max_size=12).map(str.encode))
def test_any_bytes_are_rows_or_are_unreadable(body: bytes) -> None:
    """Reading row by row ends, with all rows or with a fault; what is JSON throughout agrees."""
    try:
        rows = list(read_rows(body))
    except UnreadableError:
        return
    with suppress(ValueError):
        whole = json.loads(body)
        assert not isinstance(whole, list) or whole == rows


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-06-10T14:32:07Z", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T14:32:07.250Z", datetime(2026, 6, 10, 14, 32, 7, 250_000, tzinfo=UTC)),
        ("2026-06-10T14:32:07+00:00", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T16:32:07+02:00", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
        ("2026-06-10T14:32:07", datetime(2026, 6, 10, 14, 32, 7, tzinfo=UTC)),
    ],
)
def test_a_time_is_an_aware_instant_in_utc(text: str, instant: datetime) -> None:
    """A time is read with any offset, or none, and is in UTC afterwards."""
    updated_at = read(encode({"updatedUtc": text}), Generation).updated_at
    assert updated_at == instant
    assert updated_at is not None
    assert updated_at.tzinfo is UTC


@pytest.mark.parametrize("value", ["", "soon", 1_780_000_000, "0001-01-01T00:00:00+23:59", []])
def test_what_is_no_time_is_a_fault(value: object) -> None:
    """A time that is none, or that no datetime can hold, is named with its place."""
    (problem,) = problems(encode({"updatedUtc": value}), Generation)
    assert problem.endswith(" at $.updatedUtc")


@pytest.mark.parametrize("body", [b"", b"  \r\n "])
def test_an_empty_body_is_named_so(body: bytes) -> None:
    """No body at all is told in these words."""
    assert problems(body, Run) == ("expected JSON, got an empty body",)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>502 Bad Gateway</h1>",
        b'{"runId": 1, "status": "x"',
        b'{"runId": 1, "status": "x"} x',
        b'{"runId": NaN, "status": "x"}',
        b'{"runId": 1, "status": "x", "other": Infinity}',
        b'{"runId": 1, "status": "x", "other": [-Infinity]}',
        b'{"runId": 1, "status": "\xff\xfe"}',
        b'{"runId": ' + b"9" * 5000 + b', "status": "x"}',
        b"{'runId': 1}",
        b"\x00",
        b"\xff",
    ],
)
def test_what_is_not_json_is_told_with_its_beginning(body: bytes) -> None:
    """HTML, cut JSON, NaN, numbers beyond reason and invalid UTF-8 are not JSON, and are shown."""
    (problem,) = problems(body, Run)
    assert problem.startswith("expected JSON, got ")
    assert problem.isprintable()
    assert len(problem) < 300


@pytest.mark.parametrize("number", [b"1e999", b"-1e400"])
def test_a_number_beyond_a_float_is_a_fault(number: bytes) -> None:
    """A number that would become infinity, which JSON can't hold, is refused as Infinity is."""
    body = b'{"name": "n", "status": "s", "durationMs": ' + number + b"}"
    with pytest.raises(UnreadableError):
        read(body, CaseResult)


def test_a_byte_order_mark_is_skipped() -> None:
    """A UTF-8 BOM before the document harms nothing."""
    assert read(b"\xef\xbb\xbf" + DIGEST.strip(), Run) == read(DIGEST, Run)


def test_a_large_integer_is_kept_exactly() -> None:
    """An id beyond 64 bits is read to the last digit."""
    assert read(b'{"runId": 123456789012345678901, "status": "x"}', Run).run_id == (
        123456789012345678901
    )


@pytest.mark.parametrize("depth", [10, 900, 990, 100_000])
@pytest.mark.parametrize(
    "around", [b"%s", b'{"runId": %s, "status": "x"}', b'{"runId": 1, "status": "x", "more": %s}']
)
def test_deep_nesting_never_breaks_out(around: bytes, depth: int) -> None:
    """However deep a document is nested, it is read or is unreadable."""
    body = around % (b"[" * depth + b"]" * depth)
    value, faults = try_to_read(body, Run)
    assert faults or value.run_id == 1


def test_nesting_without_end_is_named_so() -> None:
    """JSON that is nested too deep to be read is told in these words."""
    assert problems(b"[" * 1_000_000, Run) == ("the JSON is nested too deep",)


def test_json_as_it_is_can_be_asked_for() -> None:
    """The shape `object` gives the decoded document itself."""
    assert read(b'{"a": [1, null, "x"]}', object) == {"a": [1, None, "x"]}


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("run_id", "runId"),
        ("created_at", "createdUtc"),
        ("size_bytes", "size"),
        ("duration_ms", "durationMs"),
        ("base_url", "baseUrl"),
        ("id", "id"),
        ("status_reason", "statusReason"),
    ],
)
def test_names_follow_the_wires_pattern(name: str, wire: str) -> None:
    """A model's field is camelCase on the wire, `Utc` for an instant, and no unit for a size."""
    assert wire_name(name) == wire


@given(document=json_values, shape=st.sampled_from(SHAPES))
def test_any_document_is_read_or_is_unreadable(document: object, shape: Any) -> None:
    """No JSON makes reading raise anything but UnreadableError, with at least one problem."""
    value, faults = try_to_read(encode(document), shape)
    assert isinstance(value, get_origin(shape) or shape) == (not faults)
    assert all(" at $" in fault for fault in faults)


@given(body=st.binary())
def test_any_bytes_are_read_or_are_unreadable(body: bytes) -> None:
    """No bytes make reading raise anything but UnreadableError."""
    value, faults = try_to_read(body, Run)
    assert isinstance(value, Run) == (not faults)


@given(data=st.data(), shape=st.sampled_from(list(LEAST)))
def test_one_wrong_field_never_breaks_out(data: st.DataObject, shape: Any) -> None:
    """Whatever stands in one field, the document is read or is unreadable."""
    names = [wire_name(field.name) for field in shape.__attrs_attrs__]
    document = LEAST[shape] | {data.draw(st.sampled_from(names)): data.draw(json_values)}
    value, faults = try_to_read(encode(document), shape)
    assert isinstance(value, shape) == (not faults)


@given(
    run_id=st.integers(min_value=0, max_value=2**63),
    status=st.text(),
    name=st.none() | st.text(),
    error=st.none() | st.text(),
    more=st.dictionaries(st.text(min_size=1).map("x{}".format), json_values, max_size=3),
)
def test_what_is_on_the_wire_is_what_is_read(
    run_id: int, status: str, name: str | None, error: str | None, more: dict[str, Any]
) -> None:
    """Ids, words and texts of any kind arrive unchanged, and unknown fields beside them."""
    tests = [{"name": "n", "status": status, "error": error}]
    body = encode(more | {"runId": run_id, "status": status, "featureName": name, "tests": tests})
    run = read(body, Run)
    assert (run.run_id, run.status, run.feature_name) == (run_id, status, name)
    assert run.tests == (CaseResult("n", status, None, error),)
    assert run.extra == more


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


def test_a_time_of_endless_digits_is_refused() -> None:
    """A time is short; one that is not is not kept to be told from others."""
    text = f"2026-06-10T14:32:07.{'0' * 100}Z"
    with pytest.raises(UnreadableError, match=r"expected a time such as .* at \$\.createdUtc"):
        read(encode({"runId": 1, "status": "passed", "createdUtc": text}), Run)


@given(
    rows=st.lists(json_values, max_size=8),
    indent=st.sampled_from([None, 1]),
    piece=st.integers(1, 7),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_list_is_the_same_in_whatever_pieces_it_is_decoded(
    rows: list[Any], indent: int | None, piece: int, mark: bytes
) -> None:
    """Rows, letters and the mark at the start may be cut anywhere."""
    text = json.dumps(rows, indent=indent, ensure_ascii=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "PIECE_BYTES", piece)
        assert list(read_rows(mark + text.encode())) == rows


@pytest.mark.parametrize("piece", range(1, 12))
def test_a_number_may_be_cut_anywhere(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exponent belongs to its number, though what is before it is a number as well."""
    monkeypatch.setattr(_json, "PIECE_BYTES", piece)
    assert list(read_rows(b"[1e+5,2E-3,-1.5e+7]")) == [1e5, 2e-3, -1.5e7]


@given(cut=st.integers(1, 60), piece=st.integers(1, 7))
def test_a_list_that_breaks_off_gives_the_rows_before(cut: int, piece: int) -> None:
    """However it is decoded, what is whole is given, and then the fault is told."""
    text = json.dumps([{"runId": number, "name": "Login"} for number in range(4)])
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "PIECE_BYTES", piece)
        with pytest.raises(UnreadableError, match="JSON"):
            found.extend(read_rows(text.encode()[:-cut]))
    assert found == json.loads(text)[: len(found)]
    assert len(found) == text.encode()[:-cut].count(b"}")


@pytest.mark.parametrize("status", ["running", "queued", "stuck"])
def test_an_unfinished_run_never_reads_as_finished(status: str) -> None:
    """A run without `finishedUtc` whose status is not a documented end is in flight."""
    run = read(encode({"runId": 1, "status": status, "finishedUtc": None}), Run)
    assert run.phase is not Phase.FINISHED
