"""Values in a dialect: words, ids, times, and fields of another type."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from testvibe_async.testing import ODD_FIELDS, Dialect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .conftest import Caller

WORDS = {
    "status",
    "featureStatus",
    "overallStatus",
    "overallConclusion",
    "conclusion",
    "state",
    "verdict",
    "kind",
    "source",
}


async def documents(call: Caller, feature: str = "Checkout") -> dict[str, Any]:
    """Run and generate a feature to failures, and return every document that shows it."""
    run_id = (await call("POST", f"/features/{feature}/run", {})).document["runId"]
    await call("POST", f"/features/{feature}/generate", {})
    await asyncio.sleep(1000)
    paths = {
        "feature": f"/features/{feature}",
        "features": "/features",
        "generation": f"/features/{feature}/generation",
        "generation_log": f"/features/{feature}/generation/log",
        "run": f"/runs/{run_id}",
        "runs": "/runs",
        "diagnosis": f"/runs/{run_id}/diagnosis",
        "artifacts": f"/runs/{run_id}/artifacts",
        "files": "/files",
    }
    found = {name: await call.get(path) for name, path in paths.items()}
    for file in (*found["artifacts"], *found["diagnosis"]["artifacts"]):
        del file["url"]  # signed anew each time
    return found


def members(document: Any) -> Iterator[tuple[str, Any]]:
    """Return every member of a document, at any depth."""
    if isinstance(document, dict):
        for name, value in cast("dict[str, object]", document).items():
            yield name, value
            yield from members(value)
    elif isinstance(document, list):
        for row in cast("list[object]", document):
            yield from members(row)


def changed(document: Any, change: Callable[[str, Any], Any]) -> Any:
    """Return a document with each member changed that the function does not return as it is."""
    if isinstance(document, list):
        return [changed(row, change) for row in cast("list[object]", document)]
    if not isinstance(document, dict):
        return document
    found: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", document).items():
        other = change(name, value)
        found[name] = changed(value, change) if other is value else other
    return found


@pytest.fixture
def shown(
    emulate: Callable[..., Awaitable[Caller]],
) -> Callable[[Dialect], Awaitable[dict[str, Any]]]:
    """Return a function that shows one failed run and generation in a dialect."""

    async def show(dialect: Dialect) -> dict[str, Any]:
        scenario = {"dialect": dialect, "failing_runs": 1, "failing_generations": 1}
        return await documents(await emulate(scenario=scenario, link_lifetime=1e9))

    return show


@pytest.mark.parametrize(
    ("case", "spelled"),
    [
        ("upper", {"failed": "FAILED", "in_progress": "IN_PROGRESS", "trace": "TRACE"}),
        ("title", {"failed": "Failed", "in_progress": "InProgress", "trace": "Trace"}),
    ],
)
async def test_words_have_another_case(
    emulate: Callable[..., Awaitable[Caller]], case: Any, spelled: dict[str, str]
) -> None:
    """Statuses are spelled otherwise in every document, also the many-worded and the kinds."""
    call = await emulate(scenario={"dialect": Dialect(case=case), "failing_runs": 1})
    run_id = await call.run()
    await call.generate()
    await asyncio.sleep(40)
    run, progress = await call.get(f"/runs/{run_id}"), await call.get("/features/14/generation")
    assert run["status"] == spelled["failed"]
    assert spelled["failed"] in {test["status"] for test in run["tests"]}
    assert run["artifacts"][0]["kind"] == spelled["trace"]
    assert progress["overallStatus"] == spelled["in_progress"]
    assert run["config"] == "Default"


@pytest.mark.parametrize("case", ["upper", "title"])
async def test_only_words_have_another_case(
    shown: Callable[[Dialect], Awaitable[dict[str, Any]]], case: Any
) -> None:
    """In every document, each status, conclusion, kind and source is changed, and nothing else."""
    documented, differing = await shown(Dialect()), await shown(Dialect(case=case))
    found = {name for name, value in members(documented) if name in WORDS and value is not None}
    assert found == WORDS

    def spell(name: str, value: Any) -> Any:
        if name not in WORDS or value is None:
            return value
        return value.upper() if case == "upper" else value.title().replace("_", "")

    assert differing == changed(documented, spell)


async def test_finished_operations_have_other_words(
    shown: Callable[[Dialect], Awaitable[dict[str, Any]]],
) -> None:
    """A word takes the place of another wherever it stands, but not for a single test."""
    words = {"failed": "timed_out", "failure": "broken"}
    seen = await shown(Dialect(words=words, case="upper"))
    assert seen["run"]["status"] == seen["runs"][0]["status"] == "TIMED_OUT"
    assert seen["diagnosis"]["verdict"] == seen["feature"]["status"] == "TIMED_OUT"
    assert seen["generation"]["featureStatus"] == "TIMED_OUT"
    assert seen["generation"]["overallConclusion"] == "BROKEN"
    assert seen["run"]["finishedUtc"] is not None
    tests = [*seen["run"]["tests"], *seen["diagnosis"]["failures"]]
    assert {test["status"] for test in tests} <= {"FAILED", "PASSED", "SKIPPED"}
    assert "FAILED" in {test["status"] for test in tests}


async def test_the_end_of_an_operation_may_not_be_shown(
    shown: Callable[[Dialect], Awaitable[dict[str, Any]]],
) -> None:
    """`finishedUtc` and `overallConclusion` stay null, everywhere; nothing else changes."""
    seen = await shown(Dialect(shows_end=False))
    marks = {"finishedUtc", "overallConclusion"}
    assert marks <= {name for name, _ in members(seen)}
    expected = changed(await shown(Dialect()), lambda name, value: None if name in marks else value)
    assert seen == expected


async def test_ids_may_be_strings_of_digits(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Features and runs have ids as text in every document, also in answers to dispatches."""
    call = await emulate(scenario={"dialect": Dialect(ids_as_text=True)})
    dispatched = (await call("POST", "/features/Checkout/run", {})).document
    assert dispatched == {"runId": "214", "featureId": "14"}
    seen = await documents(call)
    ids = [(name, value) for name, value in members(seen) if name in {"id", "runId", "featureId"}]
    assert {name for name, _ in ids} == {"id", "runId", "featureId"}
    assert all(isinstance(value, str) and value.isdigit() for _, value in ids)
    assert (await call.get(""))["id"] == call.emulator.project_id


async def test_a_request_id_may_be_a_number(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """It is the same whole number at the dispatch, in the status and in the log."""
    call = await emulate(scenario={"dialect": Dialect(request_id_as_number=True)})
    assert (await call.get("/features/Checkout%20with%20gift%20card/generation/log"))[
        "requestId"
    ] is None
    number = (await call("POST", "/features/Checkout/generate", {})).document["requestId"]
    assert isinstance(number, int)
    assert 0 < number < 2**48
    for path in ("/features/Checkout/generation", "/features/Checkout/generation/log"):
        assert (await call.get(path))["requestId"] == number
    (request_id,) = call.emulator.generations
    assert f"{number:012x}" == request_id.replace("-", "")[:12]


@pytest.mark.parametrize(
    ("times", "written"),
    [
        ("seconds", "2026-06-10T14:42:11Z"),
        ("seven_digits", "2026-06-10T14:42:11.1234567Z"),
        ("offset", "2026-06-10T16:42:11+02:00"),
        ("no_zone", "2026-06-10T14:42:11"),
        ("epoch_seconds", 1781102531),
        ("epoch_milliseconds", 1781102531000),
        ("date_call", "/Date(1781102531000)/"),
        ("empty", ""),
    ],
)
async def test_times_are_written_otherwise(
    emulate: Callable[..., Awaitable[Caller]], times: Any, written: object
) -> None:
    """Every time has the other form; one that is not yet known is null, or empty."""
    call = await emulate(scenario={"dialect": Dialect(times=times)})
    run = await call.get(f"/runs/{await call.run()}")
    assert run["createdUtc"] == written
    assert run["finishedUtc"] == ("" if times == "empty" else None)
    assert {row["updatedUtc"] for row in await call.get("/features")} == {written}


@pytest.mark.parametrize("field", sorted(ODD_FIELDS))
async def test_an_optional_field_may_be_of_another_type(
    shown: Callable[[Dialect], Awaitable[dict[str, Any]]], field: str
) -> None:
    """The named field alone has the other type, in every document."""
    odd: dict[str, Callable[[Any], Any]] = {
        "durationMs": lambda value: f"{value}ms",
        "error": lambda value: {"message": value, "stack": value.splitlines()},
        "log": lambda value: [
            {"level": "info", "text": line}
            for line in (value.splitlines() if isinstance(value, str) else value)
        ],
        "runnerStarted": lambda value: "true" if value else "false",
        "size": str,
        "summary": lambda value: {name: str(count) for name, count in value.items()},
    }

    def change(name: str, value: Any) -> Any:
        return odd[name](value) if name == field and value is not None else value

    seen = await shown(Dialect(odd_fields={field}))
    documented = await shown(Dialect())
    assert seen == changed(documented, change) != documented


async def test_odd_fields_are_null_where_they_were(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """What does not apply yet stays null, and a list of objects is empty before its first line."""
    call = await emulate(scenario={"dialect": Dialect(odd_fields=ODD_FIELDS)})
    run = await call.get(f"/runs/{await call.run()}")
    assert (run["summary"], run["tests"], run["artifacts"]) == (None, None, None)
    await call.generate()
    progress = await call.get("/features/Checkout/generation")
    assert progress["runnerStarted"] == "false"
    log = await call.get("/features/Checkout/generation/log")
    assert [section["log"] for section in log["sections"]] == [[]] * len(log["sections"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paging": "pages"}, "paging must be one of None, 'link', .* not 'pages'"),
        ({"page_size": 0}, "page_size"),
        ({"case": "Title"}, "case must be one of 'lower', 'title', 'upper', not 'Title'"),
        ({"times": "iso"}, "times must be one of"),
        ({"errors": "xml"}, "errors must be one of"),
        ({"dispatch_status": 204}, "dispatch_status must be one of 200, 201, 202, not 204"),
        ({"dispatch_lag": -1}, "dispatch_lag"),
        ({"rate_limit": 0}, "rate_limit"),
        ({"odd_fields": {"size", "tests"}}, r"odd_fields can't name \['tests'\]: choose from"),
        ({"path_prefix": "testvibe"}, "path_prefix begins with a slash .* not 'testvibe'"),
        ({"path_prefix": "/testvibe/"}, "path_prefix begins with a slash"),
        ({"path_prefix": "/"}, "path_prefix begins with a slash"),
    ],
)
def test_an_unknown_value_is_refused(options: dict[str, Any], message: str) -> None:
    """A wrong field is named, with what it could be."""
    with pytest.raises(ValueError, match=message):
        Dialect(**options)
