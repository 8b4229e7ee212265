"""Clients that give up and call again, also to several servers: nothing is started twice."""

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast
from unittest.mock import Mock

import pytest

from tests.support import mcp_connection
from tests.support.amounts import FULL, amount, by_turns
from tests.support.mcp_connection import Mode, connected, content_of, text_of, without_tests
from tests.support.timing import now, shift_local_clock
from tests.surfaces.mcp_server.test_http import TOKEN, served
from testvibe_async.mcp_server.starts import Deliveries
from testvibe_async.testing import Emulator, Fault, Scenario

MINE: list[tuple[str, dict[str, Any], int]] = [
    ("wait_for_run", {"runId": 214}, 120),
    ("wait_for_generation", {"feature": "Returns"}, 120),
    ("wait_for_runs", {"runIds": [214]}, 45),
    ("run_features", {"features": ["Checkout"]}, 45),
    ("generate_and_run", {"feature": "Checkout"}, 45),
]


@pytest.mark.parametrize(("tool", "arguments", "seconds"), MINE, ids=[each[0] for each in MINE])
async def test_a_wait_has_an_end(
    emulator: Emulator, tool: str, arguments: dict[str, Any], seconds: int
) -> None:
    """A wait returns after 45 or 120 s, and says something at least every 10 s until then."""
    listener = mcp_connection.Listener()
    async with connected(emulator) as mcp:
        await mcp.result("run_feature", feature="Checkout")
        if "gener" in tool:
            without_tests(emulator)
            await mcp.result("generate_feature", feature="Returns")
        emulator.fail("get_run", Fault.edit(lambda run: {**run, "status": "running"}))
        emulator.fail("list_runs", Fault.status(404))
        await mcp.list_tools()
        began = now()
        answer = await mcp.call_tool(tool, arguments, progress_callback=listener)
        assert now() - began == pytest.approx(seconds, abs=1.5)
    assert content_of(answer)["inFlight"] is True
    assert max(later - earlier for earlier, later in pairwise([began, *listener.times])) < 10.5
    assert listener.numbers == list(range(1, len(listener.numbers) + 1))


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("run_feature", {"feature": "Checkout"}),
    ("run_features", {"features": ["Checkout", "Wishlist"], "timeoutSeconds": 170}),
]

EVERY: dict[str, Any] = {"all": True, "timeoutSeconds": 170}

all_runs = pytest.mark.parametrize(("tool", "arguments"), RUNS, ids=str)


def runs_of_checkout(emulator: Emulator) -> int:
    return sum(run.feature_name == "Checkout" for run in emulator.runs.values())


@all_runs
async def test_each_call_starts_runs(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """A result that was delivered is not repeated: not at once, by no other server, nor later."""
    for number in range(1, 4):
        async with connected(emulator, state_folder=tmp_path) as mcp:
            for more in (0, 1):
                answer = await mcp.result(tool, **arguments)
                assert not answer.get("note")
                assert runs_of_checkout(emulator) == 2 * number - 1 + more


Wire = Literal["stream", "http"]


@asynccontextmanager
async def connected_by(
    wire: Wire, emulator: Emulator, folder: Path, mode: Mode
) -> AsyncGenerator[mcp_connection.Connection]:
    """Connect to a new server with a folder."""
    if wire == "stream":
        async with connected(emulator, mode, state_folder=folder) as mcp:
            yield mcp
        return
    async with (
        served(emulator, state_folder=folder) as url,
        mcp_connection.connected_by_http(url, TOKEN, mode) as mcp,
    ):
        yield mcp


@pytest.mark.parametrize(
    ("way", "call"),
    by_turns([("stream", "auto"), ("http", "auto"), ("http", "legacy")], RUNS),
    ids=str,
)
async def test_a_result_that_was_not_delivered_comes_first_and_once(
    emulator: Emulator, tmp_path: Path, way: tuple[Wire, Mode], call: tuple[str, dict[str, Any]]
) -> None:
    """After a client gave up, also if its server ended, its call returns that result; then new."""
    (wire, mode), (tool, arguments) = way, call
    emulator.fail("run_feature", Fault.delay(7))
    for seconds in (0, 3_600):
        before = runs_of_checkout(emulator)
        async with connected_by(wire, emulator, tmp_path, mode) as mcp:
            await mcp.give_up(tool, **arguments)
        await asyncio.sleep(seconds)
        async with connected_by(wire, emulator, tmp_path, mode) as mcp:
            first = await mcp.result(tool, **arguments)
            assert runs_of_checkout(emulator) == before + 1
            assert "your call at" in first["note"]
            second = await mcp.result(tool, **arguments)
            assert runs_of_checkout(emulator) == before + 2
            assert not second.get("note")
        assert first["startedAt"] != second["startedAt"]


async def test_an_outage_hides_no_run_that_was_not_delivered(emulator: Emulator) -> None:
    """Its id is given once, also where its status can't be read, and the next call starts anew."""
    async with connected(emulator, "legacy") as mcp:
        await mcp.call_tool("run_feature", {"feature": "Checkout"})
        await mcp.cross(calls=3)
        for operation in ("get_run", "list_runs"):
            emulator.fail(operation, Fault.status(503))
        answer = await mcp.result("run_feature", feature="Checkout")
        assert answer["runId"] == min(emulator.runs)
        assert "your call at" in answer["note"]
        assert answer["note"].endswith("wait_for_run waits for it.")
        assert (await mcp.result("run_feature", feature="Checkout"))["runId"] == max(emulator.runs)
    assert len(emulator.runs) == 2


async def test_a_run_that_the_service_lost_is_reported_once(emulator: Emulator) -> None:
    """After that `generate_and_run` starts another one."""
    without_tests(emulator)
    call: dict[str, Any] = {"feature": "Checkout"}
    async with connected(emulator) as mcp:
        while not (await mcp.result("generate_and_run", **call, timeoutSeconds=20))["run"]:
            pass
        lost = [emulator.fail(each, Fault.status(404)) for each in ("get_run", "list_runs")]
        assert "does not know it" in await mcp.refused("generate_and_run", **call)
        for rule in lost:
            rule.remove()
        assert (await mcp.finished("generate_and_run", **call))["run"]["status"] == "passed"
    assert emulator.count("run_feature") == 2


async def test_a_call_that_ends_while_it_is_cancelled_is_over() -> None:
    """The SDK writes no answer then, which would end it; nor is there one to the notification."""
    deliveries = Deliveries()
    deliveries.unsent = {}

    def message(method: str, number: int | None) -> Any:
        return Mock(method=method, params={"requestId": 7}, request_id=number, request=None)

    async def nothing(_ctx: Any) -> None:
        pass

    async def cancelled(_ctx: Any) -> None:
        await deliveries(message("notifications/cancelled", None), nothing)

    await deliveries(message("tools/call", 7), cancelled)
    assert not deliveries.unsent
    assert not deliveries._in_flight


async def test_a_run_whose_answer_was_lost_is_the_call_s_own(emulator: Emulator) -> None:
    """A dispatch that the same call finds again was started by that call, and by no earlier one."""
    emulator.fail("run_feature", Fault.lost(), times=1)
    async with connected(emulator) as mcp:
        answer = await mcp.call_tool("run_feature", {"feature": "Checkout"})
    assert text_of(answer).startswith('Run 214 of "Checkout" was started.')


async def test_two_calls_of_one_run_at_once_are_two_runs(emulator: Emulator) -> None:
    """Calls that do not wait for each other's answers start a run each."""
    async with connected(emulator) as mcp:
        calls = (mcp.result("run_feature", feature="Checkout") for _ in range(2))
        ids = {answer["runId"] for answer in await asyncio.gather(*calls)}
    assert len(ids) == len(emulator.runs) == 2


async def test_two_calls_of_runs_at_once_share_them(emulator: Emulator) -> None:
    """Equal calls that wait for runs have the same result; a server that ends leaves no work."""
    async with connected(emulator) as mcp:
        calls = (mcp.result("run_features", features=["Checkout"]) for _ in range(2))
        first, second = await asyncio.gather(*calls)
        assert (first, len(emulator.runs)) == (second, 1)
        await mcp.result("run_features", features=["Checkout"], timeoutSeconds=1)
    assert not [each for each in asyncio.all_tasks() if "Work._run" in repr(each)]


@pytest.mark.parametrize(
    ("operation", "status", "call", "said"),
    [
        ("run_feature", 409, RUNS[0], "get_feature shows"),
        ("list_features", 401, ("run_features", EVERY), "TESTVIBE_API_KEY"),
    ],
)
async def test_what_was_refused_is_tried_anew(
    emulator: Emulator, operation: str, status: int, call: tuple[str, dict[str, Any]], said: str
) -> None:
    """What the service refused, a dispatch or a list, is not remembered."""
    tool, arguments = call
    async with connected(emulator) as mcp:
        rule = emulator.fail(operation, Fault.status(status))
        assert said in await mcp.refused(tool, **arguments)
        rule.remove()
        assert not (await mcp.result(tool, **arguments)).get("note")
    assert runs_of_checkout(emulator) == 1


async def test_a_batch_is_the_same_in_any_order_and_case(emulator: Emulator) -> None:
    """The same features are the same call, a feature named twice runs once; others are another."""
    number = str(emulator.features["Checkout"].id)
    emulator.add_feature("Masse")
    async with connected(emulator) as mcp:
        for features, config, runs in (
            (["Checkout", "Wishlist"], None, 2),
            (["WISHLIST", "checkout"], None, 2),
            (["Checkout", "CHECKOUT", number], None, 3),
            (["Checkout"], "Default", 4),
            (["Checkout"], "default", 4),
            (["Masse"], None, 5),
            (["Maße"], None, 6),
        ):
            home = emulator.project_id.upper() if config == "default" else emulator.project_id
            call = {"features": features, "config": config, "project": home, "timeoutSeconds": 1}
            await mcp.result("run_features", **call)
            assert emulator.count("run_feature") == runs


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [*(each[:2] for each in MINE[3:]), ("run_features", {"all": True})],
    ids=str,
)
async def test_a_call_after_a_restart_continues(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """Another server continues what was started; one that may start no generation does so too."""
    without_tests(emulator, tool)
    content, options = dict[str, Any](inFlight=True), dict[str, Any](max_generations=1)
    while content["inFlight"]:
        async with connected(emulator, state_folder=tmp_path / "state", **options) as mcp:
            content = await mcp.result(tool, **arguments, timeoutSeconds=20)
        options["max_generations"] = 0
    assert runs_of_checkout(emulator) == 1
    assert len(emulator.generations) == (tool == "generate_and_run")


@pytest.mark.parametrize(("tool", "arguments"), [RUNS[0], MINE[3][:2]], ids=str)
async def test_a_run_that_is_unknown_is_reported_once(
    emulator: Emulator, tool: str, arguments: dict[str, Any]
) -> None:
    """It is not in flight, and the answer says what to check before a call that starts another."""
    emulator.fail("list_runs", Fault.status(404))
    emulator.fail("run_feature", Fault.lost(), times=1)
    async with connected(emulator) as mcp:
        answer = await mcp.call_tool(tool, arguments)
        assert "check list_runs of the feature" in " ".join(mcp_connection.texts_of(answer))
        assert emulator.count("run_feature") == 1
        if tool == "run_features":
            digest = content_of(answer)
            assert (digest["verdict"], digest["inFlight"]) == ("unknown", False)
            assert "'unknown' may have been dispatched: before you run" in digest["note"]
        await mcp.result(tool, **arguments)
    assert emulator.count("run_feature") == 2


async def test_old_journals_are_deleted(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that no call has used for a month is deleted when a server starts."""
    stale = tmp_path / "other.sqlite"
    for age in (29, 31):
        stale.touch()
        written = stale.stat().st_mtime
        monkeypatch.setattr(
            "testvibe_async.mcp_server.journals.time.time", lambda at=written + age * 86_400: at
        )
        async with connected(emulator, state_folder=tmp_path):
            assert stale.exists() == (age == 29)


@asynccontextmanager
async def two_servers(
    emulator: Emulator, folder: Path, mode: Mode = "auto"
) -> AsyncGenerator[list[mcp_connection.Connection]]:
    """Connect to two servers with one folder."""
    options: Any = {"mode": mode, "state_folder": folder}
    async with connected(emulator, **options) as one, connected(emulator, **options) as other:
        yield [one, other]


async def test_the_same_runs_by_two_servers_are_started_one_after_the_other(
    emulator: Emulator, tmp_path: Path
) -> None:
    """While one server has a batch in flight, the other's call waits for it, and says so."""
    call: dict[str, Any] = {"features": ["Checkout"]}
    async with two_servers(emulator, tmp_path) as (first, second):
        await first.result("run_features", **call, timeoutSeconds=5)
        answer = await second.call_tool("run_features", {**call, "timeoutSeconds": 5})
        assert content_of(answer)["inFlight"] is True
        assert "call run_features again with the same arguments" in text_of(answer)
        assert len(emulator.runs) == 1
        for mcp in (first, second):
            assert (await mcp.result("run_features", **call, timeoutSeconds=170))["runs"] == []
    assert len(emulator.runs) == 2


@all_runs
async def test_a_cancellation_after_another_server_s_start_loses_no_result(
    emulator: Emulator, tmp_path: Path, tool: str, arguments: dict[str, Any]
) -> None:
    """An answer that turns out to be unread is given again, and not the other server's."""
    async with two_servers(emulator, tmp_path, "legacy") as (first, second):
        unread = (await first.result(tool, **arguments))["startedAt"]
        other = (await second.result(tool, **arguments))["startedAt"]
        await first.cross(calls=3)
        again = await first.result(tool, **arguments)
        assert (again["startedAt"], runs_of_checkout(emulator)) == (unread, 2)
        assert "your call at" in again["note"]
        new = (await second.result(tool, **arguments))["startedAt"]
    assert len({unread, other, new}) == runs_of_checkout(emulator) == 3


async def test_a_result_that_one_server_is_about_to_deliver_is_not_another_s(
    emulator: Emulator, tmp_path: Path
) -> None:
    """While an earlier result is on its way, the same call elsewhere waits, and starts its own."""
    emulator.fail("run_feature", Fault.delay(7), times=1)
    async with two_servers(emulator, tmp_path) as (first, second):
        await first.give_up("run_feature", feature="Checkout")
        await asyncio.sleep(10)
        for operation in ("get_run", "list_runs"):
            emulator.fail(operation, Fault.delay(7), times=1)
        earlier = asyncio.create_task(first.result("run_feature", feature="Checkout"))
        await asyncio.sleep(1)
        own = await second.result("run_feature", feature="Checkout")
        assert "your call at" in (await earlier)["note"]
    assert "note" not in own
    assert {(await earlier)["runId"], own["runId"]} == set(emulator.runs)


async def test_a_lock_that_another_server_deletes_is_made_anew(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted while it is locked locks nothing, so the call locks it again."""
    deleted: list[Path] = []
    utime = os.utime

    def delete_first(path: Path, *times: Any) -> None:
        if not deleted:
            deleted.append(path)
            path.unlink()
        utime(path, *times)

    monkeypatch.setattr(os, "utime", delete_first)
    async with connected(emulator, state_folder=tmp_path) as mcp:
        await mcp.result("run_feature", feature="Checkout")
    assert [path.suffix for path in deleted] == [".lock"]
    assert emulator.count("run_feature") == 1


async def test_a_journal_that_another_program_has_is_left_alone(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A journal that is locked is no reason to start anything, nor is it deleted."""
    without_tests(emulator)
    call = {"feature": "Checkout"}
    async with two_servers(emulator, tmp_path) as (first, second):
        started = await first.result("generate_feature", **call)
        (path,) = tmp_path.glob("*.sqlite")  # noqa: ASYNC240 - a folder of a few files
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        text = await second.refused("generate_feature", **call)
        connection.close()
        assert "is in use" in text
        told = await second.result("generate_feature", **call)
    assert told["requestId"] == started["requestId"]
    assert emulator.count("generate_feature") == 1


SCHEDULES = (*range(amount(20, few=1)), *([76] if FULL else []))
"""The last one ends a server between the finding of a lost dispatch and its storing."""

by_both_wires = pytest.mark.parametrize("wire", ["stream", "http"])

FEATURES = ("Checkout", "Returns", "Wishlist")

MAX_SERVERS = 400
"""How many servers a client needs for one result, at most."""

EACH_ASKS = 3
"""How many results a client wants."""

TIMEOUTS = (0.0, 0.0, 1.0, 2.0, 5.0, 60.0, 300.0)
"""Seconds after which it gives up, one by chance."""

EXPECTED_ERRORS = ("It may have started", "Call again")
"""What an error says after which it calls again."""


class Impatient:
    """A client that repeats a call until it has the result, with servers that come and go."""

    def __init__(
        self, emulator: Emulator, folder: Path, seed: object, wire: Wire, mode: Mode | None = None
    ) -> None:
        self.random = random.Random(str(seed))  # noqa: S311 - a schedule
        self.emulator = emulator
        self.folder = folder
        self.wire: Wire = wire
        self.mode: Mode = mode or cast("Mode", self.random.choice(["auto", "legacy"]))

    async def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call until there is a result, and give up in between."""
        for _ in range(MAX_SERVERS):
            async with connected_by(self.wire, self.emulator, self.folder, self.mode) as mcp:
                for _ in range(self.random.randint(1, 3)):
                    content = await self._call(mcp, tool, arguments)
                    if content and not content.get("inFlight"):
                        return content
        raise AssertionError

    async def _call(
        self, mcp: mcp_connection.Connection, tool: str, arguments: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Call once; None if the client gave up before it had the answer, or at an error."""
        call = asyncio.create_task(mcp.call_tool(tool, arguments))
        await asyncio.wait([call], timeout=self.random.choice(TIMEOUTS))
        for _ in range(self.random.randint(0, 40)):  # Any moment of what goes on right now.
            await asyncio.sleep(0)
        if not call.done():
            call.cancel()
            await asyncio.wait([call])
        if call.cancelled():
            return None
        if call.result().is_error:
            assert any(words in text_of(call.result()) for words in EXPECTED_ERRORS)
            return None
        return content_of(call.result())


def disturb(emulator: Emulator, chance: random.Random) -> None:
    """Have some dispatches be slow, and some answers be lost."""
    for operation in ("run_feature", "generate_feature"):
        for fault in (Fault.lost(), Fault.delay(7), Fault.delay(50), Fault.status(503)):
            skip = chance.randint(0, 4)
            if chance.random() < 0.3:
                emulator.fail(operation, fault, skip=skip, times=1)


@by_both_wires
@pytest.mark.parametrize("seed", SCHEDULES)
async def test_what_was_asked_for_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, wire: Wire
) -> None:
    """Each generation is paid once, with time-outs at any moment, lost answers and restarts."""
    shift_local_clock(monkeypatch)
    scenario = Scenario(failing_runs=0.3, failing_generations=0.3)
    async with Emulator(scenario=scenario) as emulator:
        client = Impatient(emulator, tmp_path, seed, wire)
        disturb(emulator, client.random)
        for name in FEATURES:
            emulator.features[name].status = client.random.choice(["draft", "generated"])
        for asked in range(1, EACH_ASKS + 1):
            name = client.random.choice(FEATURES)
            async with connected(emulator) as mcp:
                status = await mcp.result("get_generation_status", feature=name)
            replace = {"replace": status["requestId"]} if status["requestId"] else {}
            tool = client.random.choice(["generate_feature", "generate_and_run"])
            content = await client.result(tool, feature=name, **replace)
            made = content.get("generation", content)["requestId"]
            assert made != status["requestId"]
            # What was there before any call does not count.
            paid = [each for each in emulator.generations.values() if each.created_at >= 0]
            assert len(paid) == asked
            if emulator.generations[made].status == "generating":
                emulator.finish_generation(made, client.random.choice(["generated", "failed"]))


@by_both_wires
@pytest.mark.parametrize("seed", SCHEDULES)
async def test_each_result_of_runs_is_delivered_once(tmp_path: Path, seed: int, wire: Wire) -> None:
    """Of two clients that share a folder each gets its results, and each result is one client's."""
    async with Emulator(scenario=Scenario(failing_runs=0.3)) as emulator:
        # The wire of the older protocol tells an answer from a cancellation that crosses it. A
        # signal stops what this process serves over HTTP, so there it is one server.
        clients = [
            Impatient(emulator, tmp_path, f"{seed} {number}", wire, "legacy")
            for number in range(2 if wire == "stream" else 1)
        ]
        chance = clients[0].random
        for name in FEATURES:
            emulator.features[name].status = "generated"
        if late := chance.randint(0, 5):
            emulator.fail("run_feature", Fault.delay(7), times=late)
        tool = chance.choice(["run_feature", "run_features"])
        call = {"feature": "Returns"} if tool == "run_feature" else {"features": list(FEATURES)}
        size = len(call.get("features", [0]))

        async def ask(client: Impatient) -> list[dict[str, Any]]:
            return [await client.result(tool, **call) for _ in range(EACH_ASKS)]

        results = [each for those in await asyncio.gather(*map(ask, clients)) for each in those]
        assert len({content["startedAt"] for content in results}) == len(results)
        # A server that ended before it sent them leaves nothing that proves it.
        unknown = sum(size for content in results if content.get("verdict") == "unknown")
        assert len(results) * size - unknown <= len(emulator.runs) <= len(results) * size
