"""The emulator command: what it prints, what it serves, and how it ends."""

from __future__ import annotations

import asyncio
import shlex
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async import Client, ConfigError, ForbiddenError, InvalidRequestError, NotFoundError
from testvibe_async.cli import emulator as command
from testvibe_async.testing import Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from testvibe_async.testing import Emulator


async def test_port_in_use_is_a_wrong_argument(emulator: Emulator) -> None:
    """A second emulator on one port exits with 2, and nothing of it is left."""
    port = int(emulator.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use"):
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


async def test_options_reach_the_emulator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Features, lists and credits are those of the options."""
    (tmp_path / "own.feature").write_text("Feature: Own\n  Scenario: One\n    Given one\n")

    async def use(client: Client) -> None:
        feature = await client.project().get_feature("Own")
        assert feature.status == "generated"
        with pytest.raises(NotFoundError):
            await client.project().list_features()
        with pytest.raises(ForbiddenError):
            await client.project().generate_feature("Own")

    serve_while(use, monkeypatch, capsys)
    await command.emulator(port=0, features=tmp_path, lists=False, credits=0)


@pytest.mark.parametrize(("seed", "speed"), [(0, 1.0), (0, 50.0), (1, 1.0)])
async def test_seed_and_speed_decide_how_long_a_run_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int, speed: float
) -> None:
    """A run takes what its seed draws, divided by the speed."""
    took: list[float] = []

    async def use(client: Client) -> None:
        await (await client.project().run_feature("Checkout"))
        took.append(asyncio.get_running_loop().time())

    serve_while(use, monkeypatch, capsys)
    await command.emulator(port=0, seed=seed, speed=speed)
    plan = Scenario(seed=seed).plan_run("Checkout", 1)
    expected = (plan.queue + plan.duration) / speed
    assert expected <= took[0] < expected + 3.5


async def test_dialect_and_strictness_reach_the_emulator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service differs in the way that was named, and refuses what is not documented."""

    async def use(client: Client) -> None:
        feature = f"/projects/{client.project().id}/features/Checkout"
        document: Any = await client.request("GET", feature)
        assert document["status"] == "GENERATED"
        with pytest.raises(InvalidRequestError, match="'archived' is unknown"):
            await client.request("GET", "/projects", query={"archived": "true"})

    serve_while(use, monkeypatch, capsys)
    await command.emulator(port=0, dialect="upper-case", strict=True)


async def test_unknown_dialect_is_refused_with_all_names() -> None:
    """A name that no dialect has is a wrong argument; the message has every name."""
    with pytest.raises(ConfigError, match=r"'paged': choose from paged-by-link, .*, text-plain"):
        await command.emulator(port=0, dialect="paged")


def serve_while(
    use: Callable[[Client], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Let the command serve while a function uses what it printed."""

    async def stopped() -> None:
        words: dict[str, Any] = {}
        for line in capsys.readouterr().out.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            words[name] = shlex.split(value)[0]
        client = Client(
            words["TESTVIBE_SERVER"],
            api_key=words["TESTVIBE_API_KEY"],
            project=words["TESTVIBE_PROJECT"],
        )
        async with client:
            await use(client)

    monkeypatch.setattr(command, "_stop_signals", lambda: nullcontext(stopped))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_signal_ends_it_in_order(stop: signal.Signals) -> None:
    """Once it serves, a signal ends it without an error."""
    asyncio.get_running_loop().call_later(5.0, signal.raise_signal, stop)
    await command.emulator(port=0)
    assert asyncio.get_running_loop().time() >= 5.0
