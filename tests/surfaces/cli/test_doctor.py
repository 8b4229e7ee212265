"""The doctor: what it asks, what it says of a service, how it ends, and what it writes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dialects import DIALECTS, Dialect
from tests.support.processes import ROOT
from tests.support.timing import STEADY
from tests.surfaces.cli.conftest import text_of, use
from testvibe_async.cli import app
from testvibe_async.cli.doctor import examination, findings
from testvibe_async.cli.doctor.findings import CHECKS
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call

PAGE = ROOT / "testvibe_async/cli/README.md"
COLOURS = re.compile("\x1b\\[[0-9;]*m")


@pytest.fixture
def scenario() -> Scenario:
    return STEADY


@pytest.fixture(autouse=True)
def _patient_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clocks differ as the emulator's does, whose time is virtual."""
    monkeypatch.setattr(findings, "MAX_SKEW", 600.0)


def lines_of(output: str, verdict: str) -> list[str]:
    """Return the subjects and sentences of one verdict, as they are printed in a pipe."""
    return re.findall(rf"^{verdict}\t(.*)$", output, re.MULTILINE)


def subjects_of(lines: list[str]) -> set[str]:
    """Return what the lines of a verdict are about."""
    return {line.partition("\t")[0] for line in lines}


async def test_all_holds(call: Call, signed_in: Emulator) -> None:
    """Of a service that does what the contract says each line says so; --run dispatches one run."""
    ended = await call("doctor --run Checkout")
    assert (ended.code, ended.errors.count("\n")) == (0, 1)
    head = f"{signed_in.url}, project Acme Shop\n\nholds\tserver\tanswers, and accepts the key\n"
    assert ended.output.startswith(head)
    assert ended.output.endswith("\n\nAll that was checked holds.\n")
    held = lines_of(ended.output, "holds")
    assert len(held) == len(ended.lines) - 4
    assert subjects_of(held) == {*CHECKS, "server", "clock", "run_feature", "run", "errors"}
    assert {"clock\tthe service's and ours agree", "run\tseen to its end; run 214: passed"} < {
        *held
    }
    assert "list_projects\tdocumented route, and all of it is read: 1 row" in held
    posts = [request for request in signed_in.requests if request.method != "GET"]
    assert [(request.operation, request.body) for request in posts] == [("run_feature", b"{}")]
    assert signed_in.count("get_run_artifacts", run_id=214) == len(signed_in.runs) == 1
    # Without options it sends few requests, each a GET, and each route that reads.
    before = len(signed_in.requests)
    assert (await call("doctor")).code == 0
    sent = signed_in.requests[before:]
    assert {request.method for request in sent} == {"GET"}
    assert {request.operation for request in sent} == CHECKS.keys()
    assert len(sent) <= 20
    assert signed_in.count("list_projects") == 2
    assert not signed_in.artifact_requests
    limits = [request.query.get("limit") for request in sent if request.operation == "list_runs"]
    assert limits == [None, "1"]


def scene(typed: str, code: int, *said: str, **more: Any) -> tuple[str, int, Any, Any]:
    """Return the options of a call, its exit code, parts of what it says, and what it meets.

    That are the `faults` of operations, the `counts` of requests, and the emulator's options.
    """
    return typed, code, said, more


def differing(code: int, said: str) -> tuple[str, int, Any, Any]:
    """Return the scene of a dialect: a run, and a part of what is said of the difference."""
    return scene("--run Checkout --quiet", code, said)


LAST = "list_configs\tassumed route, and all of it is read: 3 rows"
"""The last check, where one failure does not end the others."""

NO_PROJECT = ("list_configs\tthere is no such project", "; so commands that need it are refused: ")
CUT = "; so these are incomplete, or refused: features list, run --all, generate --all"
UNREAD = "; so it is shown empty, and what needs it does not work"
ABSENT = 'put list_runs = "GET /…" under [endpoints] in .testvibe-async.toml; so these do not work'
NO_CODE = "errors\t404 comes without a code; the status decides"
NOT_FOUND = b'{"error": "not_found", "message": "No log."}'
SCENES = {
    "no run": scene(
        *("", 0, "get_run\tno run is known: --run FEATURE makes one"),
        *("get_run_artifacts\tno run is known: ", "\nAll that was checked holds; 3 not checked.\n"),
    ),
    "a feature that is not there": scene(
        *("--run Nosuch", 3, LAST),
        "run_feature\tthe service has nothing of that name or id; ",
        counts={"get_run": 1},
    ),
    "no features": scene(
        *("", 0, "list_features\tdocumented route, and all of it is read: 0 rows"),
        "get_generation_log\tno feature is known: --run FEATURE names one",
        shop=False,
    ),
    "another clock": scene(
        *("", 0, "clock\tthe service's is ", "times that are shown are the service's"),
        epoch=1_781_102_531,
    ),
    "a run without an end": scene(
        *("--run Checkout", 4, "run\tno result came; still running after 10:00 of waiting"),
        scenario=Scenario(outcomes={"Checkout": Outcome(run_duration=10_000)}),
    ),
    "a status that says nothing": scene(
        *("--run Checkout", 5, "so such a run or generation ends in exit code 5"),
        "its status is 'ready', which is not documented, and nothing says",
        middleware=Dialect(words={"passed": "ready"}, shows_end=False),
    ),
    "a key that is refused": scene(
        *("", 3, 'key\trefused: 401; the service says "', "get_run\tthe key has to be right first"),
        "so no command works: testvibe-async login stores another",
        faults={"*": Fault.status(401)},
        counts={"list_projects": 1, "list_features": 0},
    ),
    "a log that nobody has": scene(
        *("", 0, "get_generation_log\tthere is no such log", LAST),
        faults={"get_generation_log": Fault.body(NOT_FOUND, status=404)},
    ),
    "several failures": scene(
        *("", 5, "get_project\tno result came; ", 'list_runs\tno result came; the service says "'),
        *("list_files\tGET /projects/{project}/files: 403 forbidden", LAST),
        faults={
            "get_project": Fault.reset(),
            "list_runs": Fault.status(500),
            "list_files": Fault.status(403),
        },
    ),
    "no list of projects, and a failure": scene(
        *("", 5, "list_projects\tGET /projects: 404 not_found", "list_files\tno result came", LAST),
        faults={"list_projects": Fault.status(404), "list_files": Fault.status(503)},
    ),
    "a limit from the first call on": scene(
        *("", 5, "outage\tservice\tit does not answer; the service says "),
        faults={"*": Fault.status(429, retry_after=7)},
        counts={"get_project": 0},
    ),
    "a list of projects that is cut": scene(
        *("", 1, LAST, "list_projects\tcut; the list of projects is incomplete"),
        faults={"list_projects": Fault.body(b'{"items": [{"id": "x"}], "hasMore": true}')},
    ),
    "features without names": scene(
        *("", 1, f"list_features\tnot there: name{UNREAD}", LAST),
        faults={"list_features": Fault.body(b'[{"id": 3, "status": "draft"}]')},
    ),
    "a mistyped name of a project": scene(
        *("--project Acme", 1, *NO_PROJECT),
        "the key does not see the one in force; there is no project 'Acme': did you mean",
    ),
    "no lists": scene(
        *("", 1, "GET /projects/{project}/features: 404 not_found"),
        "no feature is known: --run FEATURE names one",
        lists=False,
    ),
    "cut-with-total": differing(1, f"; name the features, and it is not needed{CUT}"),
    "oldest-first": differing(1, "list_runs\tnot the newest first; so runs list --limit shows"),
    "other-end-words-alone": differing(5, "which is not documented, and nothing says that it is"),
    "dispatch-in-data": differing(0, "there and nowhere documented: data (object); shown as it is"),
    "times-empty": differing(
        1, f"list_features\tcan't be read: updatedUtc (an empty string){UNREAD}"
    ),
    "odd-fields": differing(
        1, f": log (array), tests[].durationMs (string), tests[].error (object){UNREAD}"
    ),
    "errors-as-problem": differing(0, NO_CODE),
    "slash-added": differing(3, "not as the service does; it redirects to /api/v1/ops"),
    "login-page": differing(5, "server\tanswers 200, and not as the service does; "),
    "documented-routes-404": differing(1, ABSENT),
}
OUTCOMES = {"Wishlist": Outcome(run_status="passed"), "Checkout": Outcome(run_status="failed")}


@pytest.mark.parametrize("name", SCENES)
async def test_a_scene_is_told(name: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is met is said, with its exit code; nothing is dispatched twice, or not asked for."""
    typed, code, said, more = SCENES[name]
    options: dict[str, Any] = {"scenario": STEADY, **more}
    if name in DIALECTS:
        # Time is virtual for the service, and not for the clock of this machine.
        monkeypatch.setattr(findings, "MAX_SKEW", 1e6)
        options = {**DIALECTS[name].options, "scenario": Scenario(outcomes=OUTCOMES)}
    faults, counts = options.pop("faults", {}), options.pop("counts", {})
    async with Emulator(**options) as emulator:
        if options.get("shop", True):
            emulator.add_feature("New", status="draft")
        for operation, fault in faults.items():
            emulator.fail(operation, fault)
        use(emulator, monkeypatch)
        if name in DIALECTS:
            await call("run Wishlist --wait --timeout 600")
        before = len(emulator.requests)
        ended = await call("doctor", *typed.split())
    assert ended.code == code, ended.output
    assert not [part for part in said if part not in ended.output], ended.output
    asked = Counter(request.operation for request in emulator.requests[before:])
    is_refused = name in {"slash-added", "login-page"}
    assert asked["run_feature"] == ("--run " in typed and not is_refused) or name.startswith("rate")
    assert not asked["generate_feature"]
    assert name not in DIALECTS or "no run is known" not in ended.output
    assert asked["get_run"] < examination.LONGEST / 3 + 5
    assert not [operation for operation in counts if asked[operation] != counts[operation]]


# Where no answer came before, a page or a redirect is all that is there: see the dialects.
async def test_no_project_and_another_project(
    call: Call, signed_in: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a project in force the first one is read; one that the key does not see is named."""
    monkeypatch.delenv("TESTVIBE_PROJECT")
    ended = await call("doctor")
    assert ended.code == 0
    assert ended.lines[0].endswith(", project Acme Shop")
    ended = await call("doctor --run Checkout")
    ended.refuses("no project to run a feature of: pass --project")
    ended = await call("doctor --project 'acme shop'")
    assert (ended.code, ended.lines[0][-9:]) == (0, "Acme Shop")
    # Where the key sees none at all, nothing more can be read.
    signed_in.fail("list_projects", Fault.body(b"[]"))
    before = signed_in.count()
    ended = await call("doctor")
    assert ended.code == 0
    assert "list_configs\tno project is known" in ended.output
    assert signed_in.count() == before + 1


async def test_a_lost_dispatch_is_not_repeated(call: Call, signed_in: Emulator) -> None:
    """Where the answer to the dispatch is lost, the run is found by polls, or may have begun."""
    signed_in.fail("run_feature", Fault.lost(), times=1)
    ended = await call("doctor --run Checkout")
    assert ended.code == 0
    assert "run_feature\tits answer was lost, and what it started was" in ended.output
    assert signed_in.count("run_feature") == 1
    signed_in.fail("run_feature", Fault.status(503))
    ended = await call("doctor --run Checkout")
    assert ended.code == 5
    assert "run_feature\tone may have begun: look at the feature's runs" in ended.output
    assert signed_in.count("run_feature") == 2
    for skip, count in ((4, 3), (3, 3)):  # In an outage nothing is dispatched.
        rule = signed_in.fail("*", Fault.status(503), skip=skip)
        ended = await call("doctor --run Checkout")
        assert ("run_feature\tone may have begun" in ended.output) is (skip == 4)
        assert "outage\tservice\tit stopped answering; " in ended.output
        assert "no result came" not in ended.output
        assert signed_in.count("run_feature") == count
        rule.remove()


async def test_ctrl_c_keeps_what_is_known(
    capsys: pytest.CaptureFixture[str], signed_in: Emulator
) -> None:
    """Ctrl-C while a run is watched prints all that is known by then, and that the run goes on."""
    task = asyncio.create_task(app.perform(["doctor", "--run", "Checkout"]))
    await asyncio.sleep(7)  # on virtual time: after the third poll
    task.cancel()
    assert await task == 130
    output = capsys.readouterr().out
    assert "list_features\tdocumented route, and all of it is read: 17 rows" in output
    assert "stopped by Ctrl-C, which stops nothing at the service" in output
    assert len(signed_in.active_runs()) == 1


@pytest.mark.usefixtures("on_terminal")
async def test_the_page_shows_what_is_printed(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the page is what a terminal shows of a service that differs so."""
    monkeypatch.setenv("COLUMNS", "100")
    dialect = Dialect(assumed_routes="404", odd_fields=frozenset({"runnerStarted"}))
    async with Emulator(middleware=dialect) as emulator:
        use(emulator, monkeypatch)
        ended = await call("doctor", "--quiet")
    assert ended.code == 1
    printed = COLOURS.sub("", ended.output).replace(emulator.url, "https://testvibe.example")
    printed = re.sub(r" +$", "", printed, flags=re.MULTILINE)
    shown = text_of(PAGE).partition("$ testvibe-async doctor --quiet\n")[2]
    assert printed == shown.partition("```")[0]
