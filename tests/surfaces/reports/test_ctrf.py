"""CTRF documents; the schema of the npm package `ctrf` is the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import evolve
from jsonschema import Draft7Validator

from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    ITEMS,
    LOG,
    PASSED,
    Item,
    at,
    every_kind,
    flaky_item,
    generation_item,
    run_item,
    run_ref,
)
from testvibe_async import CaseResult, __version__
from testvibe_async.reports import to_ctrf

MESSAGE = "TimeoutError: locator.click: Timeout 5000ms exceeded."
SCHEMA = json.loads((Path(__file__).parent / "ctrf-schema-0.0.json").read_text())
VALIDATOR: Any = Draft7Validator(SCHEMA, format_checker=Draft7Validator.FORMAT_CHECKER)


def ctrf_of(items: list[Item], **options: Any) -> Any:
    document = json.loads(to_ctrf(items, **options))
    VALIDATOR.validate(document)
    return document


def cases_in(*items: Item, **options: Any) -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = ctrf_of(list(items), **options)["results"]["tests"]
    return tests


def milliseconds(seconds: float) -> int:
    return round(1000 * at(seconds).timestamp())


def test_a_failed_test() -> None:
    """A test has its suite, duration, message, trace and the log's lines, and no times."""
    (_, test) = cases_in(run_item(PASSED, FAILED, config="Mobile", log="one\ntwo"))

    assert test.pop("testId") != test.pop("executionId")
    assert test == {
        "name": "Locked-out user sees an error",
        "status": "failed",
        "duration": 9120,
        "suite": ["Login [Mobile]"],
        "message": MESSAGE,
        "trace": ERROR,
        "rawStatus": "failed",
        "type": "e2e",
        "stdout": ["one", "two"],
        "extra": {
            "verdict": "failed",
            "runId": "214",
            "featureId": "12",
            "config": "Mobile",
            "project": "p-1",
            "server": "https://testvibe.example",
        },
    }


def test_another_status_is_kept() -> None:
    """A status that is not documented is none of the format's five."""
    (test,) = cases_in(run_item(CaseResult("x", "flaky"), status="passed"))
    assert (test["status"], test["rawStatus"]) == ("other", "flaky")


def joined(*documents: Any) -> dict[str, list[str]]:
    """Return the statuses of each test over several reports, as a tool outside would join them."""
    history: dict[str, list[str]] = {}
    for document in documents:
        for test in document["results"]["tests"]:
            attempts = [*test.get("retryAttempts", ()), test]
            history.setdefault(test["testId"], []).extend(each["status"] for each in attempts)
    return history


def test_two_batches_are_joined_by_the_ids_of_tests() -> None:
    """A test has one id in all batches and attempts, in whatever order and letters its feature."""
    first = ctrf_of([ITEMS["failed"], run_item(PASSED, FAILED, config="Mobile")])
    second = ctrf_of([run_item(PASSED, feature="Cart"), flaky_item(feature="LOGIN")])
    other = ctrf_of([evolve(ITEMS["passed"], ref=evolve(run_ref(), project="p-2"))])

    passed, failed, *_, cart = joined(first, second).values()
    assert passed == ["passed", "passed", "passed"]
    assert failed == ["failed", "failed", "passed"]
    assert cart == ["passed"]
    assert len(joined(first, second)) == 5
    assert not joined(first, second).keys() & joined(other).keys()


def test_an_execution_is_known_by_its_run() -> None:
    """A test in one run has one id in each report on it; what was not dispatched has none."""
    once, again, other = (
        cases_in(run_item(PASSED, run_id=run_id))[0]["executionId"] for run_id in (1, 1, 2)
    )

    assert once == again != other
    assert "executionId" not in cases_in(ITEMS["refused"])[0]


def test_ctrf_marks_what_is_flaky() -> None:
    """A test that passed after a failure is flaky, with its retries and the attempts before."""
    first, second = cases_in(ITEMS["flaky"])
    (alone,) = cases_in(run_item(PASSED))
    summary = ctrf_of([ITEMS["flaky"], run_item(FAILED)])["results"]["summary"]

    assert ("flaky" in first, first["retries"]) == (False, 1)
    assert (second["status"], second["flaky"], second["retries"]) == ("passed", True, 1)
    (attempt,) = second["retryAttempts"]
    assert attempt.pop("attemptId") not in {second["executionId"], first["executionId"]}
    failure = {
        "status": "failed",
        "duration": 9120,
        "message": ERROR.partition("\n")[0],
        "trace": ERROR,
    }
    assert attempt == {"attempt": 1, "extra": {"runId": "215"}, **failure}
    assert not {"flaky", "retries", "retryAttempts"} & alone.keys()
    assert (summary["passed"], summary["failed"], summary["flaky"]) == (2, 1, 1)


def test_an_operation_has_its_times() -> None:
    """A test that stands for an operation has the operation's known times."""
    generation, waiting = cases_in(generation_item(), ITEMS["in flight"])

    assert (generation["start"], generation["stop"]) == (milliseconds(0), milliseconds(170))
    assert generation["duration"] == 170_000
    assert (waiting["start"], "stop" in waiting) == (milliseconds(0), False)


def test_the_summary() -> None:
    """The summary counts the tests by status, over the whole time."""
    document = ctrf_of(every_kind(), started_at=at(-1), finished_at=at(200))

    summary = document["results"]["summary"]
    counts = {"tests": 8, "passed": 2, "failed": 5, "skipped": 1, "pending": 0, "other": 0}
    assert {name: summary[name] for name in counts} == counts
    assert (summary["flaky"], summary["suites"]) == (0, 7)
    assert (summary["start"], summary["stop"]) == (milliseconds(-1), milliseconds(200))
    assert summary["duration"] == 201_000
    assert document["timestamp"] == "2026-06-10T16:05:31+00:00"


def test_the_environment() -> None:
    """The environment holds the title, and the place where that is the same for all items."""
    site = {"site_url": "https://shop.example"}
    document = ctrf_of([run_item(PASSED, **site), ITEMS["refused"]], title="Nightly")

    assert document["results"]["tool"] == {"name": "testvibe-async", "version": __version__}
    assert document["results"]["environment"] == {
        "reportName": "Nightly",
        "testEnvironment": "https://shop.example",
        "healthy": False,
        "extra": {"server": "https://testvibe.example", "project": "p-1"},
    }


def test_attachments_and_the_log() -> None:
    """Files are attached to the failed tests, or else to the first; the log is shown once."""
    names = {"a.zip": "application/zip", "b.png": "image/png"}
    names["c.unknown"] = "application/octet-stream"
    files = {214: [Path("out") / name for name in names]}
    attached = [
        {"name": name, "contentType": kind, "path": f"out/{name}"} for name, kind in names.items()
    ]

    failed = cases_in(run_item(PASSED, FAILED, FAILED, log="line"), artifacts=files)
    passed = cases_in(run_item(PASSED, PASSED), artifacts=files)
    (generation,) = cases_in(generation_item(), generation_logs={"a1b2": LOG})

    assert [each.get("attachments") for each in failed] == [None, attached, attached]
    assert [each.get("attachments") for each in passed] == [attached, None]
    assert [each.get("stdout") for each in failed] == [None, ["line"], None]
    assert generation["stdout"][0] == "Expired card:"


def test_an_empty_batch() -> None:
    """An empty batch is a valid document, and healthy."""
    document = ctrf_of([])

    assert document["results"]["tests"] == []
    assert document["results"]["environment"]["healthy"] is True
    assert "timestamp" not in document
