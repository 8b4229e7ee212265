"""`runs` and `wait`: runs one by one, their files, and what was dispatched before."""

import io
import json
from pathlib import Path

import pytest

from tests.surfaces.cli.conftest import Call, Ended, write
from testvibe_async import RunRef
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

SCENARIO = Scenario(
    run_queue=1,
    run_duration=(10, 20),
    failing_runs=0,
    failing_generations=0,
    outcomes={
        "Returns": Outcome(run_status="failed", error="Error: no button\n  at one\n  at two"),
        "Wishlist": Outcome(run_duration=400),
    },
)
GIFT_CARD = "'Checkout with gift card'"


@pytest.fixture
async def failed(call: Call) -> str:
    """The id of a run of Returns that failed."""
    await call("run Returns --wait --quiet")
    return "214"


async def refs_of(call: Call, typed: str) -> list[str]:
    """Dispatch operations, and return their refs as JSON."""
    return [json.dumps(item["ref"]) for item in (await call(f"{typed} --json")).json["items"]]


@pytest.mark.usefixtures("failed")
async def test_files_are_downloaded(call: Call) -> None:
    """Each file that is fetched is a line."""
    ended = await call("runs download 214 files")
    assert ended.code == 0
    assert len(ended.lines) == sum(path.is_file() for path in Path("files").rglob("*")) > 1  # noqa: ASYNC240
    assert all(path.startswith("files/") for path in ended.lines)
    for kinds, number in (("trace", 1), ("trace screenshot", 2), ("trace video", 1)):
        options = [f"--kind={kind}" for kind in kinds.split()]
        ended = await call("runs download 214 others --json", *options)
        assert (ended.code, ended.errors, len(ended.json)) == (0, "", number)
    write("file", "")
    (await call("runs download 214 file")).refuses("testvibe-async: file: ")


@pytest.mark.parametrize("kind", ["", "--kind trace"])
async def test_download_of_what_is_not_there(
    kind: str, failed: str, emulator: Emulator, call: Call
) -> None:
    """No folder is left: of an unknown kind, a run in flight, a refusal, or a run without files."""
    ended = await call(f"runs download {failed} files --kind video")
    ended.refuses("report, screenshot, trace")
    await call("run Wishlist")
    ended = await call(f"runs download 215 files {kind}")
    ended.refuses("wait for the end of run 215")
    rule = emulator.fail("download", Fault.status(403))
    (await call(f"runs download {failed} denied {kind}")).refuses("403", 3)
    rule.remove()
    nothing: list[object] = []
    emulator.fail("get_run_artifacts", Fault.edit(lambda _: nothing))
    ended = await call(f"runs download {failed} files {kind}")
    assert (ended.code, ended.output) == (0, "")
    assert ended.errors == f"Run {failed} has left no files, or none yet.\n"
    assert not Path("files").exists()  # noqa: ASYNC240


async def test_wait_counts_what_was_not_dispatched(
    emulator: Emulator, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the document of `run`, what was refused or is unknown is named, and decides the code."""

    async def piped(typed: str) -> Ended:
        document = (await call(typed)).output.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(document)))
        return await call("wait")

    for form in ("", "--wait"):
        ended = await piped(f"run Checkout {GIFT_CARD} {form} --json")
        assert (ended.code, ended.output.endswith(": 1 passed, 1 error\n")) == (3, True)
        assert "\nCheckout with gift card\n" in ended.output
    ended = await piped(f"run {GIFT_CARD} --json")
    assert (ended.code, ended.output.endswith("1: 1 error\n")) == (3, True)
    assert (await piped(f"generate {GIFT_CARD} --max-generations 0 --json")).code == 4
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    ended = await piped("run Checkout Newsletter --json")
    assert (ended.code, ended.output.endswith(": 1 passed, 1 unknown\n")) == (5, True)
    assert "testvibe-async runs list --feature=" in ended.errors


LATER = {"type": "LaterError", "message": "x"}
UNREAD = {"feature": "A", "verdict": "error", "ref": None, "error": LATER}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "nothing to wait for: "),
        ("Feature: Login\n", 2, "standard input has neither refs, one a line, nor a batch that "),
        # An error of a class that is not known here can't be understood, and is no defect.
        (
            json.dumps({"kind": "run", "items": [UNREAD]}),
            5,
            "",
        ),
    ],
)
async def test_input_that_names_nothing(
    text: str, code: int, said: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no ref and no batch is refused, without advice on quoting for the shell."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    ended = await call("wait")
    assert (ended.code, said in ended.errors, "quote" in ended.errors) == (code, True, False)


async def test_wait_claims_no_state_that_it_has_not_seen(call: Call) -> None:
    """A run that has finished is never said to be queued."""
    await call("run Checkout --wait")
    *changes, _ = (await call("wait 214 --json=lines")).events
    assert [change["status"] for change in changes] == ["passed"]


async def test_unknown_run(emulator: Emulator, call: Call) -> None:
    """A run that the service does not know is an error; one of another server is refused."""
    refs = await refs_of(call, "run Checkout")
    unknown = RunRef(server=emulator.url, project=emulator.project_id, run_id=999).to_json()
    ended = await call("wait", unknown, *refs)
    assert (ended.code, ended.output[-21:]) == (3, "s: 1 passed, 1 error\n")
    assert "run 999: the service does not know it" in ended.output
    ref = RunRef(server="http://127.0.0.1:1", project="p", run_id=1).to_json()
    ended = await call("wait", *refs, ref)
    ended.refuses("testvibe-async: run 1 is an operation of http://127.0.0.1:1")
    emulator.fail("list_runs", Fault.status(404))
    ended = await call("wait Checkout")
    ended.refuses("(this service lists no runs: give the id of one)\n")
