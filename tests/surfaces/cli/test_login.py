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
from testvibe_async import Client, ConfigError, ProjectInfo, UnauthorizedError
from testvibe_async._config.settings import Settings, load_settings
from testvibe_async.cli import login
from testvibe_async.cli.output import Output

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Run, Service

KEY_OF_NOBODY = "tvb_" + "n" * 43
OTHER = "https://other.example"


@pytest.fixture
def file(machine: Path) -> Path:
    """Where the user's file is to be."""
    return machine / "config" / "testvibe-async" / "config.toml"


def type_in(text: str, monkeypatch: pytest.MonkeyPatch, *, on_terminal: bool = False) -> None:
    """Put a text on standard input."""
    stdin = io.StringIO(text)
    monkeypatch.setattr(stdin, "isatty", lambda: on_terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


def keys_in(file: Path) -> dict[str, str]:
    """Return the key of each server."""
    servers = tomllib.loads(file.read_text()).get("servers", {})
    return {server: entry["api_key"] for server, entry in servers.items()}


@pytest.mark.parametrize("flags", [(), ("--stdin",)])
def test_a_key_from_standard_input_is_stored(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """A key that comes through a pipe is tried and stored, and is in force from then on."""
    type_in(f"{service.api_key}\n", monkeypatch)
    ended = run("login", "--server", f"{service.url}/", *flags)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == (f"Logged in to {service.url}, with 1 project. The key is in {file}.\n")
    assert keys_in(file) == {service.url: service.api_key}
    assert run("projects").code == 0
    assert Client().server == service.url


@pytest.mark.skipif(os.name != "posix", reason="modes mean nothing there")
def test_the_file_is_private_from_its_first_byte_on(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
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
        type_in(service.api_key, monkeypatch)
        assert run("login", "--server", service.url).code == 0
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_was_open_to_others_is_made_private(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logging in again repairs a file whose keys are refused."""
    type_in(service.api_key, monkeypatch)
    run("login", "--server", service.url)
    file.chmod(0o644)
    refused = run("projects")
    assert refused.code == 2
    assert "can be read by others" in refused.errors
    type_in(service.api_key, monkeypatch)
    assert run("login", "--server", service.url).code == 0
    assert run("projects").code == 0


def test_what_else_is_in_the_file_stays(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments and the keys of other servers stay, and one server has one key."""
    file.parent.mkdir(parents=True)
    file.write_text(
        f'# mine\nserver = "{OTHER}"\n\n[servers."{OTHER}"]  # of work\n'
        f'api_key = "{KEY_OF_NOBODY}"\n\n[servers."{service.url.upper()}/"]\n'
        f'api_key = "{KEY_OF_NOBODY}"\n'
    )
    file.chmod(0o600)
    type_in(service.api_key, monkeypatch)
    assert run("login", "--server", service.url).code == 0
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
    file.parent.mkdir(parents=True)
    file.write_text(text, newline="")
    before = {OTHER: KEY_OF_NOBODY} if OTHER in text else {}
    assert login.set_key(server, KEY) == file
    assert keys_in(file) == before | {server: KEY}
    assert load_settings(environment={}) == Settings(server=server, api_key=KEY, project=None)
    assert login.set_key(server, None) == file
    assert login.set_key(server, None) is None
    assert keys_in(file) == before


def test_a_link_stays_a_link(
    service: Service, run: Run, file: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is kept elsewhere, and linked to, is replaced where it is."""
    kept = machine / "dotfiles" / "testvibe.toml"
    kept.parent.mkdir()
    kept.write_text("# kept\n")
    kept.chmod(0o600)
    file.parent.mkdir(parents=True)
    file.symlink_to(kept)
    type_in(service.api_key, monkeypatch)
    assert run("login", "--server", service.url).code == 0
    assert file.is_symlink()
    assert keys_in(kept) == {service.url: service.api_key}


def test_a_key_that_the_service_refuses_is_not_stored(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is stored only once the service has accepted it."""
    type_in(KEY_OF_NOBODY, monkeypatch)
    ended = run("login", "--server", service.url, "-vv")
    assert (ended.code, ended.output) == (3, "")
    assert UnauthorizedError.__name__ in ended.errors
    assert KEY_OF_NOBODY[8:] not in ended.errors
    assert " (401 unauthorized); the key was not stored\n" in ended.errors
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "fault"), [("", "is empty"), ("\n", "is empty"), ("Bearer x", "holds white space")]
)
def test_what_is_no_key_is_not_sent(
    text: str, fault: str, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that can't be a key is refused before anything is sent."""
    type_in(text, monkeypatch)
    ended = run("login", "--server", "https://testvibe.example")
    assert (ended.code, ended.output) == (2, "")
    assert f"the API key {fault}" in ended.errors
    assert not file.exists()


def test_a_key_does_not_travel_in_the_clear(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """http:// to another machine is refused before the key is asked for."""
    type_in("", monkeypatch)
    ended = run("login", "--server", "http://testvibe.example")
    assert ended.code == 2
    assert "in the clear" in ended.errors


def test_without_a_terminal_the_server_must_be_named(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal the server must be given, by option or in the environment."""
    type_in(service.api_key, monkeypatch)
    ended = run("login")
    assert ended.code == 2
    assert "no server: pass --server" in ended.errors
    monkeypatch.setenv("TESTVIBE_SERVER", service.url)
    assert run("login").code == 0


def test_a_variable_that_takes_precedence_is_noted(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login while TESTVIBE_API_KEY is set notes that the variable takes precedence."""
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY_OF_NOBODY)
    type_in(service.api_key, monkeypatch)
    ended = run("login", "--server", service.url)
    assert ended.code == 0
    assert ended.errors == "TESTVIBE_API_KEY is set, and comes before the key that is stored.\n"


def test_a_program_gets_a_document(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json it prints the file and the projects, and not the key."""
    type_in(service.api_key, monkeypatch)
    ended = run("login", "--server", service.url, "--json")
    document = json.loads(ended.output)
    assert (document["server"], document["path"]) == (service.url, str(file))
    assert [project["id"] for project in document["projects"]] == [service.project_id]
    assert service.api_key[8:] not in ended.output


@pytest.mark.parametrize(
    ("text", "what"), [("[[[", " is not TOML"), ("[servers.x]\n", ": the server must be such as")]
)
def test_a_file_that_is_broken_is_left_alone(text: str, what: str, file: Path) -> None:
    """An invalid file is not overwritten."""
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"{file}{what}"):
        login.set_key(OTHER, KEY)
    assert file.read_text() == text


def test_what_a_repository_says_does_not_matter(
    service: Service, run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logging in works in a repository whose file is broken."""
    (machine / "repository" / ".testvibe-async.toml").write_text("[[[")
    type_in(service.api_key, monkeypatch)
    assert run("login", "--server", service.url).code == 0


def test_a_file_that_cant_be_written_leaves_nothing(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full, the present file stays, and no part of a new one."""

    def fail(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    type_in(service.api_key, monkeypatch)
    ended = run("login", "--server", service.url)
    assert ended.code == 2
    assert "No space left on device" in ended.errors
    assert list(file.parent.iterdir()) == []


def test_without_platformdirs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where platformdirs is missing, its name reaches `main`."""
    monkeypatch.setattr(login, "user_file_path", lambda: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        login.set_key(OTHER, KEY_OF_NOBODY)
    assert caught.value.name == "platformdirs"


def test_people_are_asked(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal it asks on standard error, so that standard output holds the result alone."""
    type_in(f"{service.url}\n", monkeypatch, on_terminal=True)

    def answer(_prompt: str, _stream: object) -> str:
        return f" {service.api_key} "

    monkeypatch.setattr(getpass, "getpass", answer)
    ended = run("login", "--json")
    assert (ended.code, ended.errors) == (0, "Server, such as https://testvibe.example: ")
    assert keys_in(file) == {service.url: service.api_key}


def test_an_end_of_input_is_no_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D in place of a key is a sentence."""

    def end(_prompt: str, _stream: object) -> str:
        raise EOFError

    type_in("", monkeypatch, on_terminal=True)
    monkeypatch.setattr(getpass, "getpass", end)
    ended = run("login", "--server", "https://testvibe.example")
    assert ended.code == 2
    assert "the API key is empty" in ended.errors


def test_a_key_is_removed(
    service: Service, run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After logout there is no key, and the next command says so."""
    type_in(service.api_key, monkeypatch)
    run("login", "--server", service.url)
    ended = run("logout")
    assert (ended.code, ended.output) == (
        0,
        f"The key for {service.url} is no longer in {file}.\n",
    )
    assert service.api_key not in file.read_text()
    assert f"no API key for {service.url}" in run("projects").errors
    again = run("logout", "--server", service.url)
    assert again.code == 2
    assert f"there is no key for {service.url} on this machine" in again.errors


def test_a_key_is_removed_from_a_file_that_names_no_server(run: Run, file: Path) -> None:
    """A file that was written by hand stays one that can be read."""
    file.parent.mkdir(parents=True)
    file.write_text(f'[servers."{OTHER}"]\napi_key = "{KEY}"\n')
    file.chmod(0o600)
    assert run("logout", "--server", OTHER).code == 0
    assert keys_in(file) == {}
    assert run("settings").code == 0


def test_a_key_that_is_not_there_cant_be_removed(run: Run, file: Path) -> None:
    """Where nothing was ever stored, logout says so, and makes no file."""
    assert "there is no key on this machine" in run("logout").errors
    assert "there is no key for" in run("logout", "--server", OTHER).errors
    assert not file.exists()


def test_a_repositorys_server_gets_no_key(
    served: Service, run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned repository that names a server of its own is refused, and nothing is sent."""
    monkeypatch.delenv("TESTVIBE_SERVER")
    (machine / "repository" / ".testvibe-async.toml").write_text(f'server = "{served.url}"\n')
    ended = run("projects")
    assert (ended.code, ended.output) == (2, "")
    assert f"you have not named the server {served.url} yourself" in ended.errors
    assert environment_of(served)["TESTVIBE_API_KEY"][8:] not in ended.errors
    type_in(served.api_key, monkeypatch)
    assert run("login", "--server", served.url).code == 0
    assert run("projects").code == 0


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
