"""Fixtures of the tests of commands: a machine of its own, and ways to call a command on it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest
from attrs import frozen

from tests.support.commands import started
from testvibe_async.cli import app
from testvibe_async.cli.exits import ENDING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from testvibe_async.testing import Emulator


@frozen
class Ended:
    """The exit code of a command, and what it printed."""

    code: int
    output: str
    errors: str


@frozen
class Service:
    """An emulated service that is not in this process."""

    url: str
    api_key: str
    project_id: str


class Call(Protocol):
    """Calls a command in this event loop, on virtual time."""

    async def __call__(self, *arguments: str) -> Ended: ...


class Run(Protocol):
    """Runs a command as the installed script does, on real time, in this process."""

    def __call__(self, *arguments: str) -> Ended: ...


class Give(Protocol):
    """Puts some bytes and the end of the file on standard input."""

    def __call__(self, content: bytes, *, on_terminal: bool = False) -> None: ...


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A machine on which nothing is set: a home without files, and a repository to work in."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path / "repository")
    before = {each: signal.getsignal(each) for each in ENDING}
    yield tmp_path
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture
def batches(machine: Path) -> Path:
    """Where the journals are."""
    return machine / "state" / "testvibe-async" / "batches"


@pytest.fixture(autouse=True)
def _signed_in(request: pytest.FixtureRequest) -> None:
    """Name the emulator in the environment, in a module that says how it behaves."""
    module = cast("object", request.module)  # pyright: ignore[reportUnknownMemberType]
    if hasattr(module, "SCENARIO") and {"call", "emulator"} & {*request.fixturenames}:
        request.getfixturevalue("signed_in")


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Generator[Give]:
    """Puts some bytes on standard input, as a pipe or a keyboard does."""
    with ExitStack() as stack:

        def put(content: bytes, *, on_terminal: bool = False) -> None:
            reader, writer = os.pipe()
            os.write(writer, content)
            os.close(writer)
            stdin = stack.enter_context(os.fdopen(reader))
            monkeypatch.setattr(stdin, "isatty", lambda: on_terminal)
            monkeypatch.setattr(sys, "stdin", stdin)
            monkeypatch.setattr(sys.stderr, "isatty", lambda: on_terminal)

        yield put


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a command in this event loop."""

    async def perform(*arguments: str) -> Ended:
        capsys.readouterr()
        code = await app.perform(arguments)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return perform


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as the installed script does."""

    def perform(*arguments: str) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            app.run(arguments)
        assert isinstance(caught.value.code, int)
        said = capsys.readouterr()
        return Ended(caught.value.code, said.out, said.err)

    return perform


@pytest.fixture
def signed_in(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulator, with its server, key and project in the environment."""
    use(emulator, monkeypatch)
    return emulator


@pytest.fixture(scope="session")
def service() -> Generator[Service]:
    """An emulator in another process, as `testvibe-async emulator` starts it."""
    with started("emulator", "--port", "0", "--speed", "100") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        yield Service(*(line.strip().partition("=")[2] for line in lines))


@pytest.fixture
def served(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The emulator in another process, with its server, key and project in the environment."""
    use(service, monkeypatch)
    return service


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes rich treat standard output as a terminal."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)


def use(service: Service | Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a service in the environment."""
    monkeypatch.setenv("TESTVIBE_SERVER", service.url)
    monkeypatch.setenv("TESTVIBE_API_KEY", service.api_key)
    monkeypatch.setenv("TESTVIBE_PROJECT", service.project_id)


async def interrupted(call: Call, *arguments: str, at: float) -> Ended:
    """Call a command, and press Ctrl-C after some seconds."""
    asyncio.get_running_loop().call_later(at, signal.raise_signal, signal.SIGINT)
    return await call(*arguments)


def environment_of(service: Service) -> dict[str, Any]:
    """Return the variables that name a service to another process."""
    return {
        "TESTVIBE_SERVER": service.url,
        "TESTVIBE_API_KEY": service.api_key,
        "TESTVIBE_PROJECT": service.project_id,
    }
