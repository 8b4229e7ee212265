"""The pure parts of the doctor: what is declared, what was seen, the differences, and the text."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from testvibe_async._wire import openapi_document
from testvibe_async.cli.doctor.contract import ANY, error_answer, operation
from testvibe_async.cli.doctor.differences import Difference, differences
from testvibe_async.cli.doctor.findings import Finding, differs, holds, is_needed, unchecked
from testvibe_async.cli.doctor.shapes import Shape, shown_name
from testvibe_async.cli.doctor.view import conclusion, result

GUID = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"


def shape_of(*values: object, declared: Any = ANY) -> Shape:
    shape = Shape()
    for value in values:
        shape.add(value, declared)
    return shape


def found(name: str, *rows: Any, excused: frozenset[str] = frozenset()) -> list[Difference]:
    """Return how answers of an operation, or rows of a list, differ from the contract."""
    row = operation(name).row
    return list(differences(row, shape_of(*rows, declared=row), excused=excused))


def documented(name: str) -> Any:
    """Return the answer that the documentation prints for an operation that reads."""
    for path in openapi_document()["paths"].values():
        if path.get("get", {}).get("operationId") == name:
            content = path["get"]["responses"]["200"]["content"]["application/json"]
            return content["examples"]["documented"]["value"]
    raise KeyError(name)


def test_what_is_declared_has_the_marks_of_the_document() -> None:
    """Types, words, needed members and marks are those of the document."""
    run = operation("get_run")
    assert (run.basis, run.status, run.is_list) == ("documented", 200, False)
    assert run.row.required == {"runId", "status"}
    assert run.row.members["runId"].text == "int"
    assert run.row.members["createdUtc"].text == "time(Z) or null"
    assert run.row.members["status"].words == dict.fromkeys(
        ("running", "passed", "failed"), "documented"
    )
    tests = run.row.members["tests"].items
    assert tests is not None
    assert tests.members["durationMs"].text == "number or null"
    assert operation("list_runs").basis == "assumed"
    assert operation("list_runs").row.members["runId"].basis == "assumed"
    assert operation("run_feature").status == 202
    assert error_answer().required == {"error", "message"}


@pytest.mark.parametrize(
    "name",
    ["get_feature", "get_generation_status", "get_generation_log", "get_run", "diagnose_run"],
)
def test_the_documented_answers_differ_in_nothing(name: str) -> None:
    """What the documentation prints is as declared, except for members that it leaves out."""
    assert {each.kind for each in found(name, documented(name))} <= {"missing"}


@pytest.mark.parametrize(
    ("member", "value", "difference"),
    [
        ("id", "12", Difference("type", "id", "documented", "int", "digits")),
        ("id", 1.5, Difference("type", "id", "documented", "int", "number")),
        ("id", True, Difference("type", "id", "documented", "int", "bool")),
        ("id", None, Difference("type", "id", "documented", "int", "null")),
        ("name", {}, Difference("type", "name", "documented", "string", "object")),
        ("name", [1], Difference("type", "name", "documented", "string", "array")),
        ("rationale", 1, Difference("type", "rationale", "documented", "string or null", "int")),
        (
            "updatedUtc",
            "2026-06-10T14:32:07.1234567Z",
            Difference("form", "updatedUtc", "documented", "time(Z) or null", "time(7 digits, Z)"),
        ),
        (
            "updatedUtc",
            "2026-06-10 14:32:07.12+02:00",
            Difference(
                "form", "updatedUtc", "documented", "time(Z) or null", "time(2 digits, offset)"
            ),
        ),
        (
            "updatedUtc",
            1781102531,
            Difference("type", "updatedUtc", "documented", "time(Z) or null", "int(10 digits)"),
        ),
        (
            "updatedUtc",
            "yesterday",
            Difference("type", "updatedUtc", "documented", "time(Z) or null", "string"),
        ),
        (
            "kind",
            "Feature",
            Difference("spelling", "kind", "documented", "feature, suggestion", "Feature"),
        ),
        (
            "kind",
            "epic",
            Difference("word", "kind", "documented", "feature, suggestion", "epic"),
        ),
        (
            "kind",
            "Acme's own kind",
            Difference("word", "kind", "documented", "feature, suggestion", "string(15)"),
        ),
        ("owner", "Ann", Difference("undeclared", "owner", "undeclared", "", "string(3)")),
    ],
)
def test_a_difference_is_named(member: str, value: object, difference: Difference) -> None:
    """Each other type, form, word and member is one difference, with its place."""
    assert found("get_feature", documented("get_feature") | {member: value}) == [difference]


@pytest.mark.parametrize("value", [None, "2026-06-10T14:32:07Z"])
def test_what_may_be_null_is_no_difference(value: object) -> None:
    """Null is as good as a value, where the contract says so."""
    assert found("get_feature", documented("get_feature") | {"updatedUtc": value}) == []


def test_a_member_that_is_not_there_is_a_difference_unless_it_is_excused() -> None:
    """One without which an answer says little counts in each row, another if no row has it."""
    rows: list[dict[str, Any]] = [{"id": 1, "name": "a"}, {"id": 2}]
    missing = [
        Difference("missing", name, "assumed", text, "")
        for name, text in (
            ("kind", "string or null"),
            ("status", "string or null"),
            ("updatedUtc", "time(Z) or null"),
        )
    ]
    needed = Difference("needed", "name", "assumed", "string", "in 1 of 2")
    assert found("list_features", *rows) == [needed, *missing]
    excused = frozenset({"kind", "status", "updatedUtc"})
    assert found("list_features", *rows, excused=excused) == [needed]
    assert found("list_features", rows[0], rows[0] | {"kind": None}, excused=excused) == []


def test_a_place_leads_into_lists_and_objects() -> None:
    """What differs within a list, or an object, is named by its place in the answer."""
    run = deepcopy(documented("get_run"))
    run["tests"][1] |= {"durationMs": "9120ms", "retries": 2}
    run["summary"]["total"] = "3"
    assert [(each.kind, each.place) for each in found("get_run", run)] == [
        ("type", "summary.total"),
        ("type", "tests[].durationMs"),
        ("undeclared", "tests[].retries"),
        ("missing", "log"),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (False, "bool"),
        (10**40, "int"),
        (0.5, "number"),
        ("", "empty"),
        ("Acme", "string(4)"),
        ("214", "string(3, digits)"),
        (GUID, "string(36, guid)"),
        ("https://acme.example/x", "string(22, url)"),
        ("2026-06-10T14:32:07Z", "time(Z)"),
        ("2026-06-10T14:32:07.1234567Z", "time(7 digits, Z)"),
        ("/Date(1781102531000)/", "time(/Date/)"),
        ([], []),
        ([1, None, "ab"], ["int or null or string(2)"]),
        ({"total": 3}, {"total (not declared)": "int"}),
    ],
)
def test_a_shape_has_types_and_lengths(value: object, text: object) -> None:
    """A value is shown by its type, its form and its length."""
    assert shape_of(value).document == text


def test_a_shape_of_many_says_what_not_all_have() -> None:
    """Of many values all types are shown, the shortest and longest text, and who lacks a member."""
    rows = shape_of({"a": "x", "b": 1}, {"a": "xyz", "b": None}, {"a": None})
    assert rows.document == {
        "a (not declared)": "null or string(1 to 3)",
        "b (not declared)?": "int or null",
    }
    assert shape_of({"x": 1}, None).document == {"one of": ["null", {"x (not declared)": "int"}]}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("environmentName", "environmentName"),
        ("created_by", "created_by"),
        ("@odata.nextLink", "@odata.nextLink"),
        ("sha256", "name(6)"),
        ("retries2", "retries2"),
        ("Acme Shop", "name(9)"),
        ("shop.acme.example", "name(17)"),
        ("ann@acme.example", "name(16)"),
        (GUID, "name(36)"),
        ("", ""),
        ("x" * 33, "x" * 32 + "…"),
    ],
)
def test_a_name_is_shown_if_it_looks_like_one(name: str, shown: str) -> None:
    """The name of an unknown member is shown, cut, if it can't be a text, an address or an id."""
    assert shown_name(name) == shown


def test_the_keys_of_a_map_are_not_shown() -> None:
    """Where all members of an unknown object are alike they may be named by data."""
    passed = {"Login": 1, "Checkout": 2, "Returns": 1}
    assert shape_of({"byFeature": passed}).document == {
        "byFeature (not declared)": {"* (not declared)": "int"}
    }
    mixed = {"Login": 1, "Checkout": 2, "note": "x"}
    assert "Login (not declared)" in json.dumps(shape_of({"byFeature": mixed}).document)


def test_a_shape_has_an_end() -> None:
    """However deep and wide a value is, its shape is small."""
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    wide = {f"name{chr(97 + n % 26)}{chr(97 + n // 26)}": [n] if n else n for n in range(600)}
    assert len(json.dumps(shape_of(deep).document)) < 60
    assert len(json.dumps(shape_of(wide).document)) < 2000


FINDINGS = [
    holds("key", "accepted"),
    differs("list_runs", "a limit is refused: 400", means="runs list --limit does not work"),
    differs("clock", "60 s ahead", means="read all the same", is_harmless=True),
    unchecked("get_run", "no run is known"),
    unchecked("diagnose_run", "no run is known"),
    differs("list_files", "404", means="x", setting='list_files = "GET /projects/{project}/…"'),
]


def test_the_result_is_in_groups() -> None:
    """What holds, what differs and what was not checked stand together, and then what to set."""
    assert result(FINDINGS, width=None).plain.splitlines() == [
        "Holds",
        "  key                    accepted",
        "",
        "Differs",
        "  list_runs              a limit is refused: 400; so runs list --limit does not work",
        "  list_files             404; so x",
        "  clock                  60 s ahead; read all the same",
        "",
        "Not checked",
        "  get_run, diagnose_run  no run is known",
        "",
        "If the service has these elsewhere, put their routes into .testvibe-async.toml:",
        "  [endpoints]",
        '  list_files = "GET /projects/{project}/…"',
        "",
        "2 differences with consequences, 1 without; 2 not checked.",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """On a terminal lines are broken between words, and begin beneath their column."""
    findings = [*FINDINGS, differs("get_run", "word " * 40, means="more " * 30, quoted="said " * 9)]
    lines = result(findings, width=width).plain.splitlines()
    assert max(map(len, lines)) <= max(width, 49)  # a route is not broken
    assert "  key                    accepted" in lines
    assert any(line.strip().startswith("so more more") for line in lines)


@pytest.mark.parametrize(
    ("findings", "sentence"),
    [
        (FINDINGS[:1], "All that was checked holds."),
        (FINDINGS[2:4], "1 difference, none with consequences; 1 not checked."),
        (FINDINGS[1:2], "1 difference with consequences."),
    ],
)
def test_the_conclusion_is_a_sentence(findings: list[Finding], sentence: str) -> None:
    """The last line says what it all comes to."""
    assert conclusion(findings) == sentence


def test_what_is_quoted_is_in_no_document() -> None:
    """The service's own words are for the terminal."""
    finding = differs("key", "refused: 401", quoted="Ann's key is revoked")
    assert "Ann" not in json.dumps(finding.to_dict())
    assert "“Ann's key is revoked”" in result([finding], width=None).plain


def test_every_operation_that_reads_has_its_commands() -> None:
    """Of each operation that is checked it is known which commands need it, or that none does."""
    reads = [
        path["get"]["operationId"] for path in openapi_document()["paths"].values() if "get" in path
    ]
    assert [name for name in reads if not is_needed(name)] == ["get_project"]
