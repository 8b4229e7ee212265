"""`wait`: waiting for operations that were dispatched before."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
from typing import TYPE_CHECKING, cast

import pytest

from testvibe_async import ConfigError, RunRef
from testvibe_async.runner.waits import completions_of
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call
    from testvibe_async import Client

SCENARIO = Scenario(
    run_queue=1,
    run_duration=(10, 20),
    failing_runs=0,
    failing_generations=0,
    outcomes={
        "Returns": Outcome(run_status="failed", error="Error: no button"),
        "Wishlist": Outcome(run_duration=400),
    },
)


async def dispatched(call: Call, *features: str) -> list[str]:
    """Dispatch runs, and return their refs as JSON."""
    ended = await call("run", *features, "--json")
    return [json.dumps(item["ref"]) for item in json.loads(ended.output)["items"]]


async def test_refs_as_arguments(call: Call) -> None:
    """Runs that are named by their refs are waited for, in the order named, under their names."""
    refs = await dispatched(call, "Checkout", "Returns")
    ended = await call("wait", *refs)
    assert (ended.code, ended.errors) == (1, "Batch 1 has the results.\n")
    assert "\nReturns, run 215: " in ended.output
    assert ended.output.endswith("s: 1 passed, 1 failed\n")


async def test_refs_in_a_file(call: Call, tmp_path: Path) -> None:
    """The document that `run --json` printed is read as it is."""
    ended = await call("run", "Checkout", "Returns", "--json")
    (tmp_path / "runs.json").write_text(ended.output, encoding="utf-8")
    ended = await call("wait", "--file", str(tmp_path / "runs.json"), "--json")
    assert ended.code == 1
    document = json.loads(ended.output)
    assert [item["feature"] for item in document["items"]] == ["Checkout", "Returns"]
    assert [item["verdict"] for item in document["items"]] == ["succeeded", "failed"]


async def test_refs_on_standard_input(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash stands for standard input; a ref that is given twice is waited for once."""
    refs = await dispatched(call, "Checkout")
    text = "\n".join(refs * 2).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    ended = await call("wait", refs[0], "--file", "-")
    assert ended.code == 0
    assert ended.output.endswith("s: 1 passed\n")


async def test_runs_and_generations_together(call: Call) -> None:
    """One wait takes both kinds."""
    run = (await dispatched(call, "Checkout"))[0]
    ended = await call("generate", "Checkout with gift card", "--json")
    generation = json.dumps(json.loads(ended.output)["items"][0]["ref"])
    ended = await call("wait", run, generation)
    assert ended.code == 0
    assert ended.output.endswith(": 1 passed, 1 generated\n")


async def test_operation_that_is_over_already(call: Call) -> None:
    """An operation that ended long ago has the same result as at its end."""
    refs = await dispatched(call, "Returns")
    await asyncio.sleep(100)
    ended = await call("wait", *refs)
    assert ended.code == 1
    assert re.search(r"1/1  run 214 +failed +Returns: 1 of", ended.output)


async def test_time_that_is_over(call: Call) -> None:
    """After --timeout the exit code is 4, and what goes on is named again."""
    refs = await dispatched(call, "Checkout", "Wishlist")
    ended = await call("wait", *refs, "--timeout", "30")
    assert ended.code == 4
    assert ended.output.endswith("\n2 in 30.0 s: 1 passed, 1 in flight\n")
    assert "\n  run 215  Wishlist\n" in ended.errors


async def test_unknown_run(emulator: Emulator, call: Call) -> None:
    """A run that the service does not know is an error beside the others; the exit code is 3."""
    refs = await dispatched(call, "Checkout")
    unknown = RunRef(server=emulator.url, project=emulator.project_id, run_id=999).to_json()
    ended = await call("wait", unknown, *refs)
    assert ended.code == 3
    assert ended.output.endswith("s: 1 passed, 1 error\n")
    assert "run 999: the service knows it no more" in ended.output


@pytest.mark.parametrize("status", [401, 403])
async def test_key_without_access(status: int, emulator: Emulator, call: Call) -> None:
    """A key that may not see the runs is a refusal for each of them."""
    refs = await dispatched(call, "Checkout", "Returns")
    for operation in ("get_run", "list_runs"):
        emulator.fail(operation, Fault.status(status))
    ended = await call("wait", *refs)
    assert ended.code == 3
    assert "2 errors: " in ended.output
    assert ended.output.endswith(": 2 in flight\n")


async def test_error_of_no_operation_ends_the_wait() -> None:
    """An error of the client itself is no operation's error, and is raised."""

    class Broken:
        def attach(self, _ref: object) -> None:
            """Give nothing."""

        async def finished(self, _operations: object, **_: object) -> AsyncGenerator[None]:
            raise ConfigError("broken")
            yield

    ref = RunRef(server="http://s", project="p", run_id=1)
    with pytest.raises(ConfigError, match="broken"):
        await anext(completions_of(cast("Client", Broken()), [ref], timeout=None))


async def test_operation_of_another_server(call: Call) -> None:
    """The key is never sent to the server that a ref names, but to the one that is configured."""
    refs = await dispatched(call, "Checkout")
    ref = RunRef(server="http://127.0.0.1:1", project="p", run_id=1).to_json()
    ended = await call("wait", *refs, ref)
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.startswith("testvibe-async: run 1 is an operation of http://127.0.0.1:1")
    assert ended.errors.count("\n") == 1


@pytest.mark.parametrize("name", ["login.feature", "-"])
async def test_file_that_is_not_json(
    name: str, call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file, and has no advice on quoting for the shell."""
    text = b"Feature: Login\n"
    (machine / "repository" / name).write_bytes(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    ended = await call("wait", "--file", name)
    shown = "standard input" if name == "-" else name
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == (
        f"testvibe-async: {shown} is not JSON from 'Feature: Login' on: "
        "give what 'run --json' printed\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which operations? Give ids of runs, names of features, refs"),
        (["{nosuch"], "'{nosuch' is no ref: it is not JSON"),
        (["[214]"], "which operations?"),
        (["{}"], "which operations?"),
        (["{}", "--file", "nosuch.json"], "nosuch.json"),
        (["{}", "--timeout", "-1"], "--timeout"),
        (["{}", "--report", "r.pdf"], "let it end in .xml"),
    ],
)
async def test_wrong_call_is_one_sentence(
    arguments: list[str], said: str, emulator: Emulator, call: Call
) -> None:
    """A wrong call says what is wrong in one line, and requests nothing."""
    ended = await call("wait", *arguments)
    assert (ended.code, ended.output) == (2, "")
    assert said in ended.errors
    assert ended.errors.count("\n") == 1
    assert emulator.requests == []


async def test_stopped_wait_can_be_picked_up_again(call: Call) -> None:
    """Stopped by Ctrl-C it prints a command that is equivalent to the one typed."""
    refs = await dispatched(call, "Wishlist")
    asyncio.get_running_loop().call_later(5, signal.raise_signal, signal.SIGINT)
    ended = await call("wait", *refs)
    assert ended.code == 130
    assert f"  testvibe-async wait {json.loads(refs[0])['runId']} --project " in ended.errors
