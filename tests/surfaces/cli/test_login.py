"""The key on this machine: asked for, tried, stored and removed."""

from __future__ import annotations

import getpass
import io
import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import KEY
from tests.surfaces.cli.conftest import environment_of
from testvibe_async import Client, ConfigError, ProjectInfo
from testvibe_async._config.settings import Settings, load_settings
from testvibe_async.cli import settings as login
from testvibe_async.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.surfaces.cli.conftest import Ended, Run, Service

KEY_OF_NOBODY = "tvb_" + "n" * 43
OTHER = "https://other.example"


@pytest.fixture
def file(machine: Path) -> Path:
    """Where the user's file is to be."""
    return machine / "config" / "testvibe-async" / "config.toml"


@pytest.fixture
def log_in(service: Service, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Logs in to the service, with a key through a pipe."""

    def perform(*options: str, key: str = service.api_key) -> Ended:
        type_in(key, monkeypatch)
        return run("login", "--server", service.url, *options)

    return perform


def type_in(text: str, monkeypatch: pytest.MonkeyPatch, *, on_terminal: bool = False) -> None:
    """Put a text on standard input."""
    stdin = io.StringIO(text)
    monkeypatch.setattr(stdin, "isatty", lambda: on_terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


def write(file: Path, text: str, mode: int = 0o600) -> None:
    """Write the user's file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, newline="")
    file.chmod(mode)


def keys_in(file: Path) -> dict[str, str]:
    """Return the key of each server."""
    servers = tomllib.loads(file.read_text()).get("servers", {})
    return {server: entry["api_key"] for server, entry in servers.items()}


@pytest.mark.parametrize("flags", [(), ("--stdin",)])
def test_a_key_is_stored_and_removed(
    service: Service, run: Run, log_in: Callable[..., Ended], file: Path, flags: tuple[str, ...]
) -> None:
    """A key that comes through a pipe is tried and stored, and in force until logout."""
    ended = log_in(*flags)
    assert (ended.code, ended.errors) == (0, "")
    assert f"{service.url}, with 1 project" in ended.output
    assert keys_in(file) == {service.url: service.api_key}
    assert run("projects").code == 0
    assert Client().server == service.url

    assert str(file) in run("logout").output
    assert service.api_key not in file.read_text()
    assert f"no API key for {service.url}" in run("projects").errors
    assert run("logout", "--server", service.url).code == 2


@pytest.mark.skipif(os.name != "posix", reason="modes mean nothing there")
def test_the_file_is_private_from_its_first_byte_on(
    service: Service, log_in: Callable[..., Ended], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment could others read the key, whatever the umask."""
    modes: set[int] = set()
    replace = Path.replace

    def check(path: Path, target: Path) -> Path:
        modes.add(stat.S_IMODE(path.stat().st_mode))
        assert service.api_key in path.read_text()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", check)
    before = os.umask(0)
    try:
        assert log_in().code == 0
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_was_open_to_others_is_made_private(
    run: Run, log_in: Callable[..., Ended], file: Path
) -> None:
    """Logging in again repairs a file whose keys are refused."""
    log_in()
    file.chmod(0o644)
    refused = run("projects")
    assert (refused.code, "can be read by others" in refused.errors) == (2, True)
    assert log_in().code == 0
    assert run("projects").code == 0


def test_what_else_is_in_the_file_stays(
    service: Service, log_in: Callable[..., Ended], file: Path
) -> None:
    """Comments and the keys of other servers stay, and one server has one key."""
    write(
        file,
        f'# mine\nserver = "{OTHER}"\n\n[servers."{OTHER}"]  # of work\n'
        f'api_key = "{KEY_OF_NOBODY}"\n\n[servers."{service.url.upper()}/"]\n'
        f'api_key = "{KEY_OF_NOBODY}"\n',
    )
    assert log_in().code == 0
    text = file.read_text()
    assert text.startswith(f'# mine\nserver = "{service.url}"\n')
    assert "# of work" in text
    assert keys_in(file) == {OTHER: KEY_OF_NOBODY, service.url: service.api_key}


@pytest.mark.parametrize("server", ["https://[::1]:8443", "https://testvibe.example"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[servers]\n",
        f'servers = {{ "{OTHER}" = {{ api_key = "{KEY_OF_NOBODY}" }} }}\n',
        f'servers."{OTHER}".api_key = "{KEY_OF_NOBODY}"\n',
        f'server = "{OTHER}"\nservers."{OTHER}" = {{ api_key = "{KEY_OF_NOBODY}" }}\n',
        f'[servers."{OTHER}"]\napi_key = "{KEY_OF_NOBODY}"\r\n# end',
    ],
)
def test_however_the_file_is_written(text: str, server: str, file: Path) -> None:
    """A key is stored in and removed from a file in each notation of TOML."""
    write(file, text)
    before = {OTHER: KEY_OF_NOBODY} if OTHER in text else {}
    assert login.set_key(server, KEY) == file
    assert keys_in(file) == before | {server: KEY}
    assert load_settings(environment={}) == Settings(server=server, api_key=KEY, project=None)
    assert login.set_key(server, None) == file
    assert login.set_key(server, None) is None
    assert keys_in(file) == before


def test_a_link_stays_a_link(
    service: Service, log_in: Callable[..., Ended], file: Path, machine: Path
) -> None:
    """A file that is kept elsewhere, and linked to, is replaced where it is."""
    kept = machine / "dotfiles" / "testvibe.toml"
    write(kept, "# kept\n")
    file.parent.mkdir(parents=True)
    file.symlink_to(kept)
    assert log_in().code == 0
    assert file.is_symlink()
    assert keys_in(kept) == {service.url: service.api_key}


@pytest.mark.parametrize(
    ("key", "code", "fault"),
    [
        (KEY_OF_NOBODY, 3, " (401 unauthorized); the key was not stored"),
        ("", 2, "the API key is empty"),
        ("\n", 2, "the API key is empty"),
        ("Bearer x", 2, "the API key holds white space"),
    ],
)
def test_what_is_no_key_is_not_stored(
    key: str, code: int, fault: str, log_in: Callable[..., Ended], file: Path
) -> None:
    """A key is stored only once the service has accepted it, and is never shown."""
    ended = log_in("-vv", key=key)
    assert (ended.code, ended.output) == (code, "")
    assert fault in ended.errors
    assert KEY_OF_NOBODY[8:] not in ended.errors
    assert not file.exists()


def test_a_server_must_be_named_and_encrypted(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal it is given by option or variable; http:// to others is refused."""
    type_in(service.api_key, monkeypatch)
    assert "no server: pass --server" in run("login").errors
    assert "in the clear" in run("login", "--server", "http://testvibe.example").errors
    monkeypatch.setenv("TESTVIBE_SERVER", service.url)
    assert run("login").code == 0


def test_a_variable_that_takes_precedence_is_noted(
    log_in: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login while TESTVIBE_API_KEY is set notes that the variable takes precedence."""
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY_OF_NOBODY)
    ended = log_in()
    assert ended.code == 0
    assert ended.errors.startswith("TESTVIBE_API_KEY is set, and comes before the key")


def test_a_program_gets_a_document(
    service: Service, log_in: Callable[..., Ended], file: Path
) -> None:
    """With --json it prints the file and the projects, and not the key."""
    ended = log_in("--json")
    document = json.loads(ended.output)
    assert (document["server"], document["path"]) == (service.url, str(file))
    assert [project["id"] for project in document["projects"]] == [service.project_id]
    assert service.api_key[8:] not in ended.output


@pytest.mark.parametrize(
    ("text", "what"), [("[[[", " is not TOML"), ("[servers.x]\n", ": the server must be such as")]
)
def test_a_file_that_is_broken_is_left_alone(text: str, what: str, file: Path) -> None:
    """An invalid file is not overwritten."""
    write(file, text)
    with pytest.raises(ConfigError, match=f"{file}{what}"):
        login.set_key(OTHER, KEY)
    assert file.read_text() == text


def test_a_file_that_cant_be_written_leaves_nothing(
    log_in: Callable[..., Ended], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full, the present file stays, and no part of a new one."""

    def fail(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    ended = log_in()
    assert (ended.code, "No space left on device" in ended.errors) == (2, True)
    assert list(file.parent.iterdir()) == []


def test_without_platformdirs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where platformdirs is missing, its name reaches `main`."""
    monkeypatch.setattr(login, "user_file_path", lambda: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        login.set_key(OTHER, KEY_OF_NOBODY)
    assert caught.value.name == "platformdirs"


@pytest.mark.parametrize("is_ended", [False, True])
def test_people_are_asked(
    is_ended: bool,  # noqa: FBT001 - a parameter of the test
    service: Service,
    run: Run,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal it asks on standard error; Ctrl-D in place of a key is a sentence."""
    type_in(f"{service.url}\n", monkeypatch, on_terminal=True)

    def answer(_prompt: str, _stream: object) -> str:
        if is_ended:
            raise EOFError
        return f" {service.api_key} "

    monkeypatch.setattr(getpass, "getpass", answer)
    ended = run("login", "--json")
    assert ended.errors.startswith("Server, such as https://testvibe.example: ")
    assert ended.code == (2 if is_ended else 0)
    assert file.exists() is not is_ended


def test_a_key_is_removed_from_a_file_that_names_no_server(run: Run, file: Path) -> None:
    """A file that was written by hand stays one that can be read; of none it says so."""
    assert "there is no key on this machine" in run("logout").errors
    assert "there is no key for" in run("logout", "--server", OTHER).errors
    assert not file.exists()
    write(file, f'[servers."{OTHER}"]\napi_key = "{KEY}"\n')
    assert run("logout", "--server", OTHER).code == 0
    assert keys_in(file) == {}
    assert run("settings").code == 0


def test_a_repositorys_server_gets_no_key(
    served: Service,
    run: Run,
    log_in: Callable[..., Ended],
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cloned repository's server gets a key only after a login, which its file can't prevent."""
    monkeypatch.delenv("TESTVIBE_SERVER")
    repository = machine / "repository" / ".testvibe-async.toml"
    repository.write_text(f'server = "{served.url}"\n')
    ended = run("projects")
    assert (ended.code, ended.output) == (2, "")
    assert f"you have not named the server {served.url} yourself" in ended.errors
    assert environment_of(served)["TESTVIBE_API_KEY"][8:] not in ended.errors
    assert log_in().code == 0
    assert run("projects").code == 0
    repository.write_text("[[[")
    assert log_in().code == 0


@pytest.mark.parametrize(
    ("number", "is_set", "said"),
    [
        (0, False, ""),
        (1, True, ""),
        (1, False, "Use P0 in this folder? [Y/n] "),
        (2, False, "Choose one for this repository: testvibe-async use NAME\n"),
    ],
)
def test_a_project_is_offered_where_none_is_chosen(
    number: int,
    is_set: bool,  # noqa: FBT001 - a parameter of the test
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One is offered, several are left to `use`, and what is chosen already is left alone."""
    if is_set:
        monkeypatch.setenv("TESTVIBE_PROJECT", "p")
    type_in("n\n", monkeypatch)
    projects = [ProjectInfo(f"id-{n}", f"P{n}") for n in range(number)]
    login._offer("https://testvibe.example", projects, Output())
    assert "".join(capsys.readouterr()) == said
    assert not Path(".testvibe-async.toml").exists()
