"""The key on this machine, the settings in force with their sources, and the project in use."""

from __future__ import annotations

import getpass
import os
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import KEY
from tests.surfaces.cli.conftest import Call, Ended, Give, Run, Service, names_in, text_of, write
from testvibe_async import Client
from testvibe_async.testing import Emulator, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    LogIn = Callable[..., Ended]

SCENARIO = Scenario()
KEY_OF_NOBODY = "tvb_" + "n" * 43
OTHER = "https://other.example"
HISTORY = "GET /projects/{project}/history"


@pytest.fixture
def file(machine: Path) -> Path:
    """Where the user's file is to be."""
    return machine / "config" / "testvibe-async" / "config.toml"


@pytest.fixture
def own(machine: Path) -> Path:
    """Where the repository's file is to be."""
    return machine / "repository" / ".testvibe-async.toml"


@pytest.fixture
def log_in(service: Service, run: Run, give: Give) -> LogIn:
    """Logs in to the service, with a key through a pipe."""

    def perform(options: str = "", key: str = service.api_key) -> Ended:
        give(key.encode())
        return run(f"login --server {service.url} {options}")

    return perform


def make_private(file: Path) -> None:
    file.chmod(0o600)


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def keys_in(file: Path) -> dict[str, str]:
    """Return the key of each server."""
    servers = tomllib.loads(text_of(file)).get("servers", {})
    return {server: entry["api_key"] for server, entry in servers.items()}


@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_key_is_stored_and_removed(
    flags: str, service: Service, run: Run, log_in: LogIn, file: Path
) -> None:
    """A key that comes through a pipe is tried and stored, and in force until logout."""
    ended = log_in(flags)
    assert (ended.code, ended.errors) == (0, "")
    assert service.api_key[8:] not in ended.output
    if flags == "--json":
        assert (ended.json["server"], ended.json["path"]) == (service.url, str(file))
        assert [project["id"] for project in ended.json["projects"]] == [service.project_id]
    else:
        assert f"{service.url}, with 1 project" in ended.output
        assert ended.output.endswith("type there: testvibe-async use NAME\n")
    assert keys_in(file) == {service.url: service.api_key}
    assert run("projects").code == 0
    assert Client().server == service.url
    assert str(file) in run("logout").output
    assert service.api_key not in text_of(file)
    assert f"no API key for {service.url}" in run("projects").errors
    run(f"logout --server {service.url}").refuses("there is no key for")


@pytest.mark.skipif(os.name != "posix", reason="its pipes are no files")
def test_no_key_is_stored_in_a_pipe(log_in: LogIn, file: Path) -> None:
    """A configuration file that is no regular file is not replaced."""
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    log_in().refuses("no regular file")
    assert file.is_fifo()


@pytest.mark.skipif(os.name != "posix", reason="modes mean nothing there")
def test_the_file_is_private_from_its_first_byte_on(
    service: Service, run: Run, log_in: LogIn, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment could others read the key; a file that was open to others is repaired."""
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
    assert [*file.parent.iterdir()] == [file]
    file.chmod(0o644)
    run("projects").refuses("can be read by others")
    assert log_in().code == 0
    assert run("projects").code == 0


WRITTEN = f"""# mine
server = "{OTHER}"
servers."{OTHER}" = {{ api_key = "{KEY_OF_NOBODY}" }}  # of work
[servers."URL/"]
api_key = "old"
"""


@pytest.mark.parametrize("text", ["", WRITTEN])
def test_however_the_file_is_written(
    text: str, service: Service, run: Run, log_in: LogIn, file: Path
) -> None:
    """A key is stored and removed in each notation of TOML, in the place that a link leads to."""
    kept = Path("dotfiles.toml")
    write(kept, text.replace("URL", service.url.upper()))
    kept.chmod(0o600)
    file.parent.mkdir(parents=True)
    file.symlink_to(kept.absolute())
    before = {OTHER: KEY_OF_NOBODY} if OTHER in text else {}
    assert log_in().code == 0
    assert keys_in(kept) == before | {service.url: service.api_key}
    assert all(comment in text_of(kept) for comment in ("# mine", "# of work") if comment in text)
    assert run("logout").code == 0
    assert keys_in(kept) == before
    assert file.is_symlink()
    assert ("there is no key" in run(f"logout --server {OTHER}").errors) is (not before)
    assert run("settings").code == 0


@pytest.mark.parametrize(
    ("key", "code", "fault"),
    [
        (KEY_OF_NOBODY, 3, "(401 unauthorized); the key was not stored\n"),
        ("\n", 2, "the API key is empty"),
        ("Bearer x", 2, "the API key holds white space"),
    ],
)
def test_what_is_no_key_is_not_stored(
    key: str, code: int, fault: str, log_in: LogIn, file: Path
) -> None:
    """A key is stored only once the service has accepted it, and is never shown."""
    ended = log_in("-vv", key=key)
    assert (ended.code, ended.output) == (code, "")
    assert fault in ended.errors
    assert KEY_OF_NOBODY[8:] not in ended.errors
    assert not file.exists()


def test_a_server_must_be_named_and_encrypted(
    service: Service, run: Run, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal it is given by option or variable; a variable's key is noted."""
    assert callable(log_in)
    run("login").refuses("no server: pass --server")
    run("login --server http://testvibe.example").refuses("in the clear")
    assert "there is no key on this machine" in run("logout").errors
    monkeypatch.setenv("TESTVIBE_SERVER", service.url)
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY_OF_NOBODY)
    ended = log_in()
    assert ended.code == 0
    assert ended.errors.startswith("TESTVIBE_API_KEY is set, and comes before the key")


@pytest.mark.parametrize("answer", ["a key", "Ctrl-D"])
def test_people_are_asked(
    answer: str, service: Service, run: Run, file: Path, request: pytest.FixtureRequest
) -> None:
    """On a terminal it asks on standard error; Ctrl-D in place of a key is a sentence."""

    def ask(_prompt: str, _stream: object) -> str:
        if answer == "Ctrl-D":
            raise EOFError
        return f" {service.api_key} "

    request.getfixturevalue("monkeypatch").setattr(getpass, "getpass", ask)
    request.getfixturevalue("give")(f"{service.url}\n".encode(), on_terminal=True)
    ended = run("login --json")
    assert ended.errors.startswith("Server, such as https://testvibe.example: ")
    assert (ended.code, file.exists()) == ((2, False) if answer == "Ctrl-D" else (0, True))


def test_a_repositorys_server_gets_no_key(
    service: Service, run: Run, log_in: LogIn, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned repository's server gets a key only after a login, which its file can't prevent."""
    monkeypatch.setenv("TESTVIBE_API_KEY", service.api_key)
    write(own, f'server = "{service.url}"\n')
    run("projects").refuses(f"you have not named the server {service.url} yourself")
    monkeypatch.delenv("TESTVIBE_API_KEY")
    assert log_in().code == 0
    assert run("projects").code == 0
    write(own, "[[[")
    assert log_in().code == 0


async def test_each_setting_has_its_source(
    call: Call, file: Path, own: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting is printed with its value and its source; of the key only the beginning."""
    for name in ("SERVER", "API_KEY", "PROJECT"):
        monkeypatch.delenv(f"TESTVIBE_{name}")
    ended = await call("settings")
    assert ended.output == "server\t\tnot set\nAPI key\t\tnot set\nproject\t\tnot set\n"
    write(file, f'server = "{OTHER}"\n[servers."{OTHER}"]\napi_key = "{KEY}"\n')
    make_private(file)
    write(own, f'project = "of the repository"\n[endpoints]\nlist_runs = "{HISTORY}"\n')
    ended = await call("settings")
    assert (ended.code, ended.lines) == (
        0,
        [
            f"server\t{OTHER}\t{file}",
            f"API key\ttvb_kkkk…\t{file}",
            f"project\tof the repository\t{own}",
            f"route of list_runs\t{HISTORY}\t{own}",
        ],
    )
    ledger = machine / "state" / "testvibe-async" / "ledger.sqlite"
    assert f"configuration file is {file}.\n" in ended.errors
    assert ended.errors.endswith(f" are in the ledger {ledger}.\n")
    monkeypatch.setenv("TESTVIBE_PROJECT", "of the variable")
    document = (await call("settings --server https://third.example --json")).json
    assert document.pop("server") == {"value": "https://third.example", "from": "argument"}
    assert document.pop("project") == {"value": "of the variable", "from": "TESTVIBE_PROJECT"}
    assert document.pop("endpoints") == {"list_runs": {"value": HISTORY, "from": str(own)}}
    assert document == {"apiKey": None, "ledger": str(ledger)}
    monkeypatch.setenv("TESTVIBE_API_KEY", "hunter2hunter2")  # It may be another secret.
    ended = await call("settings")
    assert "API key\t14 characters of another form\tTESTVIBE_API_KEY" in ended.output
    assert "hunter2" not in ended.output + (await call("settings --json")).output
    write(own, f'api_key = "{KEY}"')  # A wrong file is an error of every command.
    for typed in ("settings", f"runs list --server {OTHER}"):
        ended = await call(typed)
        ended.refuses(".testvibe-async.toml holds an API key")
        assert KEY[8:] not in ended.errors


@pytest.mark.parametrize("word", ["ACME shop", "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"])
async def test_a_project_is_chosen_by_name_or_id(
    word: str, call: Call, emulator: Emulator, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project and its server stand in the repository's file; its routes stay, and hold."""
    monkeypatch.delenv("TESTVIBE_PROJECT")
    emulator.add_project(name=emulator.project_id)  # An id comes before another project's name.
    write(own, f'[endpoints]\nlist_runs = "{HISTORY}"\n')
    assert (await call("features list")).code == 2
    ended = await call("use", word)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == f"Acme Shop ({emulator.project_id}) is used here: {own}\n"
    assert tomllib.loads(text_of(own)) == {
        "server": emulator.url,
        "project": emulator.project_id,
        "endpoints": {"list_runs": HISTORY},
    }
    assert (await call("features list")).code == 0
    assert (await call("runs list")).code == 3
    assert emulator.requests[-1].path.endswith("/history")


@pytest.mark.parametrize("there", ["a file", "nothing", "a link", "no repository"])
async def test_where_the_choice_is_written(
    there: str, call: Call, emulator: Emulator, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder within, the file at the root of the repository is changed, if it is no link."""
    within, elsewhere = own.parent / "folder", own.parent.parent / "elsewhere.toml"
    within.mkdir()
    monkeypatch.chdir(within)
    if there == "a file":
        write(own, '# mine\nproject = "old"  # before\n')
    elif there == "a link":
        link(own, elsewhere)
    elif there == "no repository":
        (own.parent / ".git").rmdir()
    ended = await call("use 'acme shop' --json")
    if there == "a link":
        ended.refuses("is a symbolic link")
        assert not elsewhere.exists()
        return
    written = within / own.name if there == "no repository" else own
    assert (ended.json["path"], ended.json["project"]["name"]) == (str(written), "Acme Shop")
    assert [path for path in (own, within / own.name) if path.exists()] == [written]
    changed = f'# mine\nproject = "{emulator.project_id}"  # before\n'
    assert there != "a file" or text_of(own).startswith(changed)


async def test_what_is_none_or_several_is_not_chosen(
    call: Call, emulator: Emulator, own: Path
) -> None:
    """A name that no project has, or more than one, is refused with what there is."""
    other = emulator.add_project(name="acme shop")
    said = "there is no project 'Shop': did you mean 'acme shop'?"
    (await call("use Shop")).refuses(said)
    (await call("use 'Acme Shop'")).refuses(
        "testvibe-async: 2 projects are called 'Acme Shop', choose by id: "
        f"Acme Shop ({emulator.project_id}), acme shop ({other.id})\n"
    )
    assert names_in(own.parent, "*.toml") == []
    emulator.add_project(name="\x1b[2J\nevil")
    assert "\\x1b[2J\\nevil" in (await call("projects")).output
    assert "\x1b" not in (await call("use nosuch")).errors
    used = await call("use", "\x1b[2J\nevil")
    assert used.output.startswith("\\x1b[2J\\nevil (")
    assert used.output.count("\n") == 1
