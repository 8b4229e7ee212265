"""What went wrong and what is known of it, as a person reads it: at the end, and run by run."""

from typing import Any

import pytest

from tests.surfaces.cli.conftest import Call, answer_with
from testvibe_async import SqliteLedger
from testvibe_async.ledger import Row
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=1,
    run_duration=5,
    failing_runs=0,
    failing_generations=0,
    outcomes={
        "Checkout": Outcome(run_status="failed"),
        "Wishlist": Outcome(run_duration=400),
        "Checkout with gift card": Outcome(generation_status="failed"),
    },
)


def case(name: str, error: str | None = None, status: str = "failed", **more: Any) -> Any:
    return {"name": name, "status": status, "error": error, **more}


PASSES = case("Passes", None, "passed", durationMs=4210)
LONG = case("Long", "Error: a\n\nLocator: b\n\tc\nd\n", durationMs=9120)
WAITED = "Error: no button\n\nCall log:\n  - waited {0} ms\n    at pay.ts:{0}"


async def failures_of(call: Call, emulator: Emulator, *tests: Any, **members: Any) -> list[str]:
    """Return the lines that are printed of a run that failed so, without empty ones."""
    answer_with(emulator, "get_run", tests=tests, **members)
    ended = await call("run Checkout --wait --quiet")
    assert ended.code == 1
    return [line for line in ended.lines if line]


async def test_failed_tests(call: Call, emulator: Emulator) -> None:
    """Each failed test is a line above its whole error; equal errors are shown once, and first."""
    pays = [case(f"Pays {number}", WAITED.format(number)) for number in "012"]
    short = case("Short", "\x1b[31mError:\x1b[39m short")
    lines = await failures_of(call, emulator, PASSES, LONG, short, case("Silent"), *pays)
    assert [line.removeprefix("Checkout, run 214: ") for line in lines] == [
        *("Pays 0", "    Error: no button", "    Call log:"),
        *("      - waited 0 ms", "        at pay.ts:0", "  The same error in 2 more:"),
        *("    Checkout, run 214: Pays 1", "    Checkout, run 214: Pays 2"),
        *("Long", "    Error: a", "    Locator: b", "            c", "    d"),
        *("Short", "    Error: short", "Silent", "    no error given"),
    ]
    assert await failures_of(call, emulator, PASSES, log="one\ntwo\n\nthree\n") == [
        "Checkout, run 215",
        "    it did not pass, and none of its tests says why",
        *("    one", "    two", "    three"),
    ]


@pytest.mark.parametrize(
    ("finished", "faults", "code", "counts"),
    [
        ("flaky\x1b[2J", {}, 5, "1 passed, 1 flaky\\x1b[2J"),
        ("", {"run_feature": Fault.status(403)}, 3, "1 passed, 1 error"),
        ("", {"run_feature": Fault.status(503)}, 5, "1 passed, 1 unknown"),
        ("failed", {"get_run": Fault.status(401)}, 3, "1 failed, 1 in flight"),
    ],
)
async def test_exit_code_is_of_what_is_known_least(  # noqa: PLR0913, PLR0917 - a table
    finished: str, faults: dict[str, Fault], code: int, counts: str, call: Call, emulator: Emulator
) -> None:
    """Unreachable takes precedence over refused, and that over failed; the line counts them all."""
    if finished:
        edit = Fault.edit(lambda run: {**run, "status": finished})
        emulator.fail("get_run", edit, when=lambda request: request.path.endswith("/214"))
        emulator.fail("list_runs", Fault.status(404))
    for operation, fault in faults.items():
        emulator.fail(
            operation, fault, when=lambda r: "214" not in r.path, skip=operation[0] == "r"
        )
    ended = await call("run --wait Returns Newsletter --max-in-flight 1")
    assert (ended.code, ended.output.rpartition(": ")[2]) == (code, f"{counts}\n")


async def test_ledger_that_takes_nothing_is_no_silent_service(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a dispatch could not be recorded, this machine is to blame, and `resume` is named."""
    insert = SqliteLedger.insert

    async def fail(ledger: SqliteLedger, row: Row) -> Row:
        if row.state == "intended":
            raise OSError(28, "No space left on device")
        return await insert(ledger, row)

    monkeypatch.setattr(SqliteLedger, "insert", fail)
    ended = await call("run Returns --wait")
    said = ended.output + ended.errors
    assert ended.code == 2
    assert "Returns\n    not sent: its row could not be stored: [Errno 28] " in said
    assert "reachable" not in said
    assert "testvibe-async resume 1\n" in ended.errors


FEATURE: dict[str, Any] = {"featureId": 12, "featureName": "Checkout"}
FAILED: dict[str, Any] = FEATURE | {"runId": 214, "status": "failed"}
RUN: dict[str, Any] = FAILED | {
    "config": "Mobile",
    "siteUrl": "https://shop.example",
    "createdUtc": "2026-06-10T16:02:11Z",
    "startedUtc": "2026-06-10T16:02:19Z",
    "finishedUtc": "2026-06-10T16:02:54Z",
    "summary": {"total": 2, "passed": 1, "failed": 1},
    "tests": [PASSES, LONG],
    "artifacts": [
        {"kind": "trace", "path": "trace/long.zip", "size": 482133},
        {"kind": "video", "path": "v.webm"},
    ],
    "log": "Running 2 tests\n  1 failed\n",
}
DIAGNOSIS: dict[str, Any] = FAILED | {
    "config": "Default",
    "log": "1 failed",
    "summary": {"total": 1, "failed": 1},
    "failures": [LONG],
    "gherkin": "Feature: Checkout\n\n  Scenario: Long\n",
    "specs": [{"path": "tests/checkout.spec.ts", "content": "test('Long', () => {\n\tx();\n})"}],
}
GUEST: dict[str, Any] = {"section": "guest", "title": "A guest", "conclusion": "failure"}
LOG: dict[str, Any] = FEATURE | {
    "sections": [
        GUEST | {"statusReason": "No", "log": ["one", "two", "three"]},
        {"section": "voucher", "state": "in_progress", "log": ["four"]},
        {"section": "kit"},
    ]
}
IN_FLIGHT: dict[str, Any] = {"runId": 214, "status": "running", "featureId": 12, "summary": {}}
LONG_LOG = "\n".join(f"line {number}" for number in range(100))

AT_LENGTH = [
    pytest.param(
        "runs show 214",
        RUN,
        "Run 214 of Checkout: failed, 1 of 2 tests failed\n  config    Mobile\n|"
        "\n  created   2026-06-10 16:02:11 UTC\n  took      35 s\n\n  passed       4.2 s|"
        "\n  failed       9.1 s  Long\n    Error: a\n    Locator: b\n            c …\n\n|"
        "trace        482.1 kB  trace/long.zip\n  video                  v.webm\n\nLog\n|"
        "\n    Running 2 tests\n      1 failed\n",
    ),
    pytest.param(
        "runs show 214",
        IN_FLIGHT | {"tests": [{"name": "Pays"}], "log": LONG_LOG},
        "Run 214 of feature 12: running\n\n  no result           Pays\n\nLog\n    line 80\n|"
        "\n    line 99\n",
    ),
    pytest.param(
        "runs diagnose 214",
        DIAGNOSIS,
        "Run 214 of Checkout: failed, 1 of 1 test failed\n  config    Default\n\n  Long\n|"
        "\n    Error: a\n    Locator: b\n            c\n    d\n\nLog\n    1 failed\n",
    ),
    pytest.param(
        "generation show Checkout", {"featureId": 12}, "feature 12 was never generated.\n"
    ),
    pytest.param(
        "generation show Checkout",
        LOG | {"requestId": "r-1"},
        "Generation of Checkout: unknown\n|"
        "A guest: failure\n    No\n    one\n    two\n    three\n\n|"
        "voucher: in_progress\n    four\n\nkit: queued\n",
    ),
]


@pytest.mark.parametrize(("typed", "document", "text"), AT_LENGTH)
async def test_one_operation_at_length(
    typed: str, document: dict[str, Any], text: str, call: Call, emulator: Emulator
) -> None:
    """All that is known of a run or a generation is printed, and what is not known is left out."""
    parts = text.split("|")
    await call("run Checkout")
    for operation in ("get_run", "diagnose_run", "get_generation_status", "get_generation_log"):
        emulator.fail(operation, Fault.edit(lambda _: document))
    ended = await call(typed)
    assert (ended.code, ended.output.startswith(parts[0])) == (0, True)
    assert ended.output.endswith(parts[-1])
    assert all(part in ended.output for part in parts), ended.output
