"""CTRF documents; the schema of the npm package `ctrf` is the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from jsonschema import Draft7Validator

from tests.surfaces.reports.items import (
    ERROR,
    FAILED,
    LOG,
    PASSED,
    Item,
    at,
    every_kind,
    flaky_item,
    generation_item,
    in_flight_item,
    refused_item,
    run_item,
    run_ref,
    skipped_item,
    unseen_item,
    waiting_item,
)
from testvibe_async import CaseResult, __version__
from testvibe_async.reports import to_ctrf

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
        "message": "TimeoutError: locator.click: Timeout 5000ms exceeded.",
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


@pytest.mark.parametrize(
    ("item", "status", "raw"),
    [
        (run_item(PASSED), "passed", "passed"),
        (run_item(CaseResult("x", "skipped"), PASSED), "skipped", "skipped"),
        (run_item(CaseResult("x", "flaky")), "other", "flaky"),
        (generation_item(), "failed", "failed"),
        (refused_item(), "failed", "error"),
        (unseen_item(), "failed", "error"),
        (in_flight_item(), "failed", "in flight"),
        (skipped_item(), "failed", "skipped"),
        (waiting_item(), "failed", "waiting"),
    ],
)
def test_statuses(item: Item, status: str, raw: str) -> None:
    """Each status is one of the format's five, beside the raw status."""
    test, *_ = cases_in(item)

    assert (test["status"], test["rawStatus"]) == (status, raw)


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
    first = ctrf_of([run_item(PASSED, FAILED), run_item(PASSED, FAILED, config="Mobile")])
    second = ctrf_of([run_item(PASSED, feature="Cart"), flaky_item(feature="LOGIN")])

    passed, failed, *_, cart = joined(first, second).values()
    assert passed == ["passed", "passed", "passed"]
    assert failed == ["failed", "failed", "passed"]
    assert cart == ["passed"]
    assert len(joined(first, second)) == 5


def test_an_execution_is_known_by_its_run() -> None:
    """A test in one run has one id in each report on it; what was not dispatched has none."""
    once, again, other = (
        cases_in(run_item(PASSED, run_id=run_id))[0]["executionId"] for run_id in (1, 1, 2)
    )
    (refused,) = cases_in(refused_item())

    assert once == again != other
    assert "executionId" not in refused


def test_projects_do_not_share_tests() -> None:
    """Another project's test of the same names is another test."""
    tests = [
        cases_in(evolve(run_item(PASSED), ref=evolve(run_ref(), project=project)))[0]["testId"]
        for project in ("p-1", "p-2")
    ]
    assert len(set(tests)) == 2


def test_an_operation_has_its_times() -> None:
    """A test that stands for an operation has the operation's known times."""
    (generation,) = cases_in(generation_item())
    (waiting,) = cases_in(in_flight_item())

    assert (generation["start"], generation["stop"]) == (milliseconds(0), milliseconds(170))
    assert generation["duration"] == 170_000
    assert waiting["start"] == milliseconds(0)
    assert "stop" not in waiting


def test_the_summary() -> None:
    """The summary counts the tests by status, over the whole time."""
    document = ctrf_of(every_kind(), started_at=at(-1), finished_at=at(200))

    assert document["results"]["summary"] == {
        "tests": 8,
        "passed": 2,
        "failed": 5,
        "skipped": 1,
        "pending": 0,
        "other": 0,
        "flaky": 0,
        "suites": 7,
        "start": milliseconds(-1),
        "stop": milliseconds(200),
        "duration": 201_000,
    }
    assert document["timestamp"] == "2026-06-10T16:05:31+00:00"


def test_the_environment() -> None:
    """The environment holds the title, and the place where that is the same for all items."""
    site = {"site_url": "https://shop.example"}
    document = ctrf_of([run_item(PASSED, **site), refused_item()], title="Nightly")

    assert document["results"]["tool"] == {"name": "testvibe-async", "version": __version__}
    assert document["results"]["environment"] == {
        "reportName": "Nightly",
        "testEnvironment": "https://shop.example",
        "healthy": False,
        "extra": {"server": "https://testvibe.example", "project": "p-1"},
    }


def test_attachments() -> None:
    """Downloaded files are attached to the failed tests, or else to the first test."""
    files = {214: [Path("out/a.zip"), Path("out/b.png"), Path("out/c.unknown")]}

    passed, failed = cases_in(run_item(PASSED, FAILED), artifacts=files)
    first, second = cases_in(run_item(PASSED, PASSED), artifacts=files)

    assert failed["attachments"] == [
        {"name": "a.zip", "contentType": "application/zip", "path": "out/a.zip"},
        {"name": "b.png", "contentType": "image/png", "path": "out/b.png"},
        {"name": "c.unknown", "contentType": "application/octet-stream", "path": "out/c.unknown"},
    ]
    assert "attachments" not in passed
    assert first["attachments"] == failed["attachments"]
    assert "attachments" not in second


def test_a_log_is_shown_once() -> None:
    """The log is with the first failure alone."""
    tests = cases_in(run_item(PASSED, FAILED, FAILED, log="line"))
    (generation,) = cases_in(generation_item(), generation_logs={"a1b2": LOG})

    assert [test.get("stdout") for test in tests] == [None, ["line"], None]
    assert generation["stdout"][0] == "Expired card:"


def test_an_empty_batch() -> None:
    """An empty batch is a valid document, and healthy."""
    document = ctrf_of([])

    assert document["results"]["tests"] == []
    assert document["results"]["environment"]["healthy"] is True
    assert "timestamp" not in document


def test_two_failures_that_look_the_same_are_two_tests() -> None:
    """Two tests that are equal have names of their own."""
    first, second = cases_in(run_item(FAILED, FAILED))

    assert second["name"] == f"{first['name']} (2)"
