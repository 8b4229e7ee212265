"""The emulator command: what it prints, what it serves, and how it ends."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import ROOT
from tests.surfaces.cli.conftest import later, use
from testvibe_async import (
    Client,
    ConfigError,
    ForbiddenError,
    Hooks,
    InvalidRequestError,
    NotFoundError,
    RetryPolicy,
    VibeError,
)
from testvibe_async.cli import emulator as command
from testvibe_async.testing import Emulator, Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call

    Use = Callable[[Client], Awaitable[None]]
    Serve = Callable[..., Awaitable[None]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serve:
    """Lets the command serve while a function uses what it printed."""

    async def perform(use: Use, **options: Any) -> None:
        async def stopped() -> None:
            words: dict[str, Any] = {}
            for line in capsys.readouterr().out.splitlines():
                name, _, value = line.removeprefix("export TESTVIBE_").partition("=")
                words[name.lower()] = shlex.split(value)[0]
            async with Client(words.pop("server"), **words) as client:
                await use(client)

        monkeypatch.setattr(command, "_stop_signals", lambda: nullcontext(stopped))
        await command.emulator(port=0, **options)

    return perform


async def test_port_in_use_is_a_wrong_argument(emulator: Emulator) -> None:
    """A second emulator on one port exits with 2, and nothing of it is left."""
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 .* already in use"):
        await command.emulator(port=port)


async def test_port_that_may_not_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other failure to listen is printed in the system's words."""

    async def start(_emulator: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("testvibe_async.testing.Emulator.start", start)
    with pytest.raises(ConfigError, match=r"port 80 of .* can't be listened on: Permission denied"):
        await command.emulator(port=80)


async def test_folder_without_features_is_refused(tmp_path: Path) -> None:
    """A folder that holds no features is a wrong argument."""
    with pytest.raises(ConfigError, match=f"{tmp_path} is no folder with .feature files"):
        await command.emulator(port=0, features=tmp_path)


async def test_options_reach_the_emulator(serve: Serve, tmp_path: Path) -> None:
    """Features and credits are those of the options, and a list can be taken away."""
    (tmp_path / "own.feature").write_text("Feature: Own\n  Scenario: One\n    Given one\n")

    async def use_it(client: Client) -> None:
        feature = await client.project().get_feature("Own")
        assert feature.status == "generated"
        with pytest.raises(NotFoundError):
            await client.project().list_features()
        with pytest.raises(ForbiddenError):
            await client.project().generate_feature("Own")

    await serve(use_it, features=tmp_path, fault=("list_features:404",), credits=0)


@pytest.mark.parametrize(("seed", "speed"), [(0, 1.0), (0, 50.0), (1, 1.0)])
async def test_seed_and_speed_decide_how_long_a_run_takes(
    serve: Serve, seed: int, speed: float
) -> None:
    """A run takes what its seed draws, divided by the speed."""
    took: list[float] = []

    async def use_it(client: Client) -> None:
        await (await client.project().run_feature("Checkout"))
        took.append(asyncio.get_running_loop().time())

    await serve(use_it, seed=seed, speed=speed)
    plan = Scenario(seed=seed).plan_run("Checkout", 1)
    expected = (plan.queue + plan.duration) / speed
    assert expected <= took[0] < expected + 3.5


async def test_strictness_reaches_the_emulator(serve: Serve) -> None:
    """What is not documented is refused."""

    async def use_it(client: Client) -> None:
        with pytest.raises(InvalidRequestError, match="'archived' is unknown"):
            await client.request("GET", "/projects", query={"archived": "true"})

    await serve(use_it, strict=True)


async def test_a_recording_is_replayed(serve: Serve) -> None:
    """What was recorded of a service is served in place of the shop."""

    async def use_it(client: Client) -> None:
        assert len(await client.project().list_features()) == 7

    await serve(use_it, replay=ROOT / "tests/contract/recordings/paged-by-cursor.json")


async def test_faults_reach_the_emulator(serve: Serve) -> None:
    """Each fault, outage and limit is met by the requests that it is for."""
    seen: list[tuple[str, int | None]] = []

    async def use_it(client: Client) -> None:
        hooks = Hooks(on_request=lambda event: seen.append((event.operation, event.status)))
        once = RetryPolicy(attempts=1)
        key = "tvb_EmulatorOnly" + "0" * 31
        project_id = client.project().id
        async with Client(client.server, api_key=key, retry=once, hooks=hooks) as direct:
            project = direct.project(project_id)
            operation = await project.run_feature("Checkout")
            assert operation.adopted
            for call in (project.list_configs, project.list_files, project.list_files):
                with suppress(VibeError):
                    await call()
            await asyncio.sleep(60)
            with suppress(VibeError):
                await project.get_feature("Checkout")
            await asyncio.sleep(21)
            await project.get_feature("Checkout")

    await serve(
        use_it,
        fault=("run_feature:lost*1", "list_configs:418", "list_files:garbage*1"),
        outage=("20s@60s",),
        limit="50/s",
    )
    assert ("run_feature", None) in seen
    assert [status for name, status in seen if name == "list_configs"] == [418]
    assert [status for name, status in seen if name == "list_files"] == [None, 200]
    assert [status for name, status in seen if name == "get_feature"][-2:] == [503, 200]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fault": ("run_feature",)}, "--fault 'run_feature' is not understood: write OPERATION:"),
        ({"fault": ("run_feature:slow",)}, "WHAT is a status, or one of reset, lost, hang"),
        ({"fault": ("walk:503",)}, "--fault walk:503: No operation is named 'walk'"),
        ({"outage": ("20@60",)}, "write SECONDSs@STARTs"),
        ({"limit": "100"}, "--limit '100' is not understood: write NUMBER/s"),
        ({"limit": "0/s"}, "rate_limit must be a number above 0"),
        ({"replay": ROOT / "pyproject.toml"}, "--replay: "),
    ],
)
async def test_what_is_not_understood_is_refused(options: Any, message: str) -> None:
    """A fault, an outage or a limit of another form is a wrong argument, and says the form."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        await command.emulator(port=0, **options)


REHEARSALS = re.findall(
    r"^\| .* \| `testvibe-async (emulator .*)` \| `testvibe-async (.*)` \| (\d): (.*) \|$",
    (ROOT / "testvibe_async/testing/README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_page_has_three_rehearsals() -> None:
    """Each row of the table is one."""
    assert len(REHEARSALS) == 3


@pytest.mark.parametrize("row", REHEARSALS)
async def test_a_rehearsal_of_the_page_ends_as_it_says(
    row: tuple[str, str, str, str], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline ends with the code that the page names, and no feature runs twice."""
    served, pipeline, code, prose = row
    made: list[Emulator] = []

    def make(**options: Any) -> Emulator:
        made.append(Emulator(**options))
        return made[0]

    async def stopped() -> None:
        use(made[0], monkeypatch)
        assert (await call(*shlex.split(pipeline))).code == int(code)
        for following in re.findall(r"`testvibe-async (.*?)` ends with 0", prose):
            assert (await call(*shlex.split(following))).code == 0

    monkeypatch.setattr(command, "make_emulator", make)
    monkeypatch.setattr(command, "_stop_signals", lambda: nullcontext(stopped))
    await call(*shlex.split(served), "--port", "0")
    features = [run.feature_name for run in made[0].runs.values()]
    assert sorted(features) == ["Checkout", "Returns", "Wishlist"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_signal_ends_it_in_order(stop: signal.Signals) -> None:
    """Once it serves, a signal ends it without an error."""
    later(5.0, signal.raise_signal, stop)
    await command.emulator(port=0)
    assert asyncio.get_running_loop().time() >= 5.0
