"""The checker finds what breaks the contract, and names its place."""

import json
from typing import Any

import pytest

from tests.support.checker import Checker, closed
from tests.support.shop import P
from testvibe_async._core.wire import openapi_document

CHECKER = Checker()
CLOSED = Checker(closed(openapi_document()))


def asked(name: str, path: str, body: object, query: dict[str, str]) -> list[str]:
    """Return what is wrong with a request."""
    content = b"" if body is None else json.dumps(body).encode()
    return list(CHECKER.request(name, P + path, query, content))


def answered(name: str, document: object, status: int = 200) -> list[str]:
    """Return what is wrong with an answer."""
    return list(CHECKER.answer(name, status, json.dumps(document).encode()))


@pytest.mark.parametrize(
    ("name", "path", "body", "query", "fault"),
    [
        ("list_runs", "/runs", None, {"feature": "Log/in", "limit": "5"}, ""),
        ("run_feature", "/features/Log%2Fin/run", {"config": "Mobile"}, {}, ""),
        ("run_feature", "/features/12/run", {}, {}, ""),
        ("read_file", "/files/content", None, {"path": "Features/a.feature"}, ""),
        ("write_file", "/files/content", {"path": "Features/a/..b/.c", "content": ""}, {}, ""),
        ("update_feature", "/features/12", {"name": "b"}, {}, ""),
        ("get_run", "/runs/last", None, {}, "path: run can't be 'last'"),
        ("get_run", "/runs/0", None, {}, "path: run can't be '0'"),
        ("get_run", "/runs/1/log", None, {}, "is not a path of /projects/{project}/runs/{run}"),
        ("list_runs", "/runs", None, {"page": "2"}, "query: 'page' is not a parameter"),
        ("list_runs", "/runs", None, {"limit": "all"}, "query: limit can't be 'all'"),
        ("read_file", "/files/content", None, {}, "query: path is required"),
        ("get_feature", "/features/12", {}, {}, "body: none is taken"),
        ("run_feature", "/features/12/run", None, {}, "body: one is required"),
        ("run_feature", "/features/12/run", {"x": 1}, {}, "are not allowed ('x' was unexpected)"),
        ("run_feature", "/features/12/run", {"config": None}, {}, "null is not of type"),
        ("create_feature", "/features", {"name": "a"}, {}, '"gherkin" is a required property'),
        ("update_feature", "/features/12", {}, {}, "less than 1 property"),
        ("write_file", "/files/content", {"path": "a", "content": ""}, {}, "body: "),
        ("write_file", "/files/content", {"path": "Features/../a", "content": ""}, {}, "$.path"),
        ("write_file", "/files/content", {"path": "Features/", "content": ""}, {}, "$.path"),
    ],
)
def test_a_wrong_request_is_a_violation(
    name: str, path: str, body: Any, query: dict[str, str], fault: str
) -> None:
    """A wrong path, parameter or body, and a member that the document does not have, is one."""
    found = asked(name, path, body, query)
    assert len(found) == bool(fault)
    assert fault in "".join(found)


@pytest.mark.parametrize(
    ("name", "document", "status", "fault"),
    [
        ("get_run", {"status": "passed"}, 200, '200: "runId" is a required property at $'),
        ("get_run", {"runId": "1", "status": "passed"}, 200, "at $.runId"),
        ("get_run", {"runId": 1, "status": "x", "tests": [{"name": 5}]}, 200, "$.tests[0].name"),
        ("get_run", {"runId": 1, "status": "x", "startedUtc": "now"}, 200, "at $.startedUtc"),
        ("list_runs", {"runs": []}, 200, 'is not of type "array" at $'),
        ("delete_feature", {"ok": False}, 200, "at $.ok"),
        ("get_run", {"runId": 1, "status": "passed"}, 203, '203: "error" is a required'),
        ("get_run", {"error": "not_found"}, 404, '404: "message" is a required'),
        ("get_run", {"error": {}, "message": "m"}, 503, "503: {} is not of type"),
    ],
)
def test_a_wrong_answer_has_a_fault(name: str, document: Any, status: int, fault: str) -> None:
    """A missing or wrong field, and a success or an error of another shape, is one."""
    assert any(fault in found for found in answered(name, document, status))


def test_what_is_no_json_is_a_fault() -> None:
    """An answer that is empty or no JSON fits no schema."""
    assert list(CHECKER.answer("get_run", 204, b"")) == ["204: b'' is not JSON"]
    faults = [*CHECKER.request("write_file", f"{P}/files/content", {}, b"{")]
    assert faults == ["body: b'{' is not JSON"]


def test_only_the_closed_document_refuses_what_is_new() -> None:
    """The service may answer more members and other words than are known; the emulator may not."""
    new: dict[str, Any] = {"runId": 1, "status": "timed_out", "retries": 2}
    assert answered("get_run", new) == []
    found = list(CLOSED.answer("get_run", 200, json.dumps(new).encode()))
    places = [("retries" in each, "timed_out" in each) for each in sorted(found)]
    assert places == [(False, True), (True, False)]
    known = {"runId": 1, "status": "passed", "summary": None}
    assert list(CLOSED.answer("get_run", 200, json.dumps(known).encode())) == []
