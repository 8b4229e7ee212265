"""Fixtures of the tests of commands: a machine of its own, and ways to call a command on it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest
from anyio.from_thread import start_blocking_portal
from attrs import frozen

from testvibe_async.cli import app
from testvibe_async.cli.exits import ENDING
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


@frozen
class Ended:
    """The exit code of a command, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The document that was printed."""
        return json.loads(self.output)

    @property
    def events(self) -> list[Any]:
        """The lines of JSON that were printed."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def lines(self) -> list[str]:
        """The lines that were printed on standard output."""
        return self.output.splitlines()

    def refuses(self, said: str, code: int = 2) -> None:
        """Check that nothing was printed but one sentence."""
        assert (self.code, self.output) == (code, ""), self
        assert self.errors.startswith("testvibe-async: "), self
        assert self.errors.count("\n") == 1, self
        assert said in self.errors


@frozen
class Service:
    """An emulated service that is not in this event loop."""

    url: str
    api_key: str
    project_id: str


Call: TypeAlias = "Callable[..., Coroutine[Any, Any, Ended]]"
"""Calls a command in this event loop, on virtual time; takes it as typed, and more words."""

Run: TypeAlias = "Callable[..., Ended]"
"""Runs a command as the installed script does, on real time, in this process."""

Give: TypeAlias = "Callable[..., None]"
"""Puts some bytes and the end of the file on standard input, perhaps `on_terminal`."""


def is_stdout(stream: object) -> bool:
    return stream is sys.stdout


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A machine on which nothing is set: a home without files, and a repository to work in."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind in ("CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path / "repository")
    # Two commands at once, in one process, don't restore the handlers in the order of their start.
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, *ENDING)}
    yield tmp_path
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture
def ledger(machine: Path) -> Path:
    """The file that keeps the batches."""
    return machine / "state" / "testvibe-async" / "ledger.sqlite"


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
    """Calls a command, typed as for a shell, in this event loop."""

    async def perform(typed: str, *more: object) -> Ended:
        capsys.readouterr()
        code = await app.perform([*shlex.split(typed), *map(str, more)])
        said = capsys.readouterr()
        if "--json" not in typed and "help" not in typed:
            parse_suggestions(said.out + said.err)
        return Ended(code, said.out, said.err)

    return perform


SUGGESTED = re.compile(r"^(?:  |To [\w ]+: )testvibe-async (.+)$", re.MULTILINE)


def parse_suggestions(text: str) -> None:
    """Parse each command that stands on its own: one that is suggested can be typed."""
    for command in SUGGESTED.findall(text):
        typed = re.split(r" ?[|<>] ?", command)[0]
        words = ["1" if word == "ID" else word for word in shlex.split(typed, comments=True)]
        app.parse(words)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, typed as for a shell, as the installed script does."""

    def perform(typed: str, *more: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            app.run([*shlex.split(typed), *map(str, more)])
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
    """An emulator in another thread, for commands on real time."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Emulator(speed=100)) as emulator,
    ):
        yield Service(emulator.url, emulator.api_key, emulator.project_id)


@pytest.fixture
def served(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The emulator in another thread, with its server, key and project in the environment."""
    use(service, monkeypatch)
    return service


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Makes standard output a terminal of 120 columns."""
    assert capsys
    monkeypatch.setattr(sys.stdout.__class__, "isatty", is_stdout)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)


def use(service: Service | Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a service in the environment."""
    monkeypatch.setenv("TESTVIBE_SERVER", service.url)
    monkeypatch.setenv("TESTVIBE_API_KEY", service.api_key)
    monkeypatch.setenv("TESTVIBE_PROJECT", service.project_id)


def later(seconds: float, do: Any, *arguments: object) -> None:
    """Call a function after some seconds."""
    asyncio.get_running_loop().call_later(seconds, do, *arguments)


def press_ctrl_c(seconds: float) -> None:
    """Press Ctrl-C after some seconds."""
    later(seconds, signal.raise_signal, signal.SIGINT)


async def interrupted(call: Call, typed: str, *more: object, at: float) -> Ended:
    """Call a command, and press Ctrl-C after some seconds."""
    press_ctrl_c(at)
    return await call(typed, *more)


def now() -> float:
    """Return the seconds since the test began."""
    return asyncio.get_running_loop().time()


def text_of(path: Path | str) -> str:
    """Return what is in a file."""
    return Path(path).read_text(encoding="utf-8")


def write(path: Path | str, text: str | bytes) -> None:
    """Write a file, and make its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def names_in(folder: Path | str, pattern: str = "*") -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in Path(folder).glob(pattern))


def answer_with(emulator: Emulator, operation: str, **members: Any) -> None:
    """Have all answers of an operation say this."""
    emulator.fail(operation, Fault.edit(lambda document: {**document, **members}))


def ran_since(emulator: Emulator, number: int) -> list[tuple[str, str]]:
    """Return the feature and the configuration of each run after so many."""
    return [(run.feature_name, run.config) for run in list(emulator.runs.values())[number:]]
