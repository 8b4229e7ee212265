"""The settings in force with their sources, and the choice of a project."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Call
    from testvibe_async.testing import Emulator


KEY = "tvb_" + "k" * 43
SERVER = "https://testvibe.example"
HISTORY = "GET /projects/{project}/history"


async def test_each_setting_has_its_source(
    call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting is printed with its value and its source; of the key only the beginning."""
    user_file = machine / "config" / "testvibe-async" / "config.toml"
    user_file.parent.mkdir(parents=True)
    user_file.write_text(f'server = "{SERVER}"\n[servers."{SERVER}"]\napi_key = "{KEY}"\n')
    user_file.chmod(0o600)
    place = machine / "repository" / ".testvibe-async.toml"
    place.write_text('project = "of the repository"\n')

    ended = await call("settings")
    assert (ended.code, ended.output.splitlines()) == (
        0,
        [
            f"server\t{SERVER}\t{user_file}",
            f"API key\ttvb_kkkk…\t{user_file}",
            f"project\tof the repository\t{place}",
        ],
    )
    journals = machine / "state" / "testvibe-async" / "batches"
    assert ended.errors == (
        f"Your own configuration file is {user_file}.\n"
        f"The journals of your batches are in {journals}.\n"
    )

    monkeypatch.setenv("TESTVIBE_PROJECT", "of the variable")
    ended = await call("settings", "--server", "https://other.example", "--json")
    assert json.loads(ended.output) == {
        "server": {"value": "https://other.example", "from": "argument"},
        "apiKey": None,
        "project": {"value": "of the variable", "from": "TESTVIBE_PROJECT"},
        "endpoints": {},
        "journals": str(journals),
    }


async def test_each_route_has_its_source(call: Call, file: Path) -> None:
    """The routes that the files give are printed like the other settings."""
    write(file, f'[endpoints]\nlist_runs = "{HISTORY}"\n')
    ended = await call("settings")
    assert ended.output.splitlines()[3:] == [f"route of list_runs\t{HISTORY}\t{file}"]
    ended = await call("settings", "--json")
    routes = {"list_runs": {"value": HISTORY, "from": str(file)}}
    assert json.loads(ended.output)["endpoints"] == routes


async def test_a_wrong_route_is_named(call: Call, machine: Path) -> None:
    """A route that is none is an error of every command, with the file and the operation."""
    file = machine / "config" / "testvibe-async" / "config.toml"
    file.parent.mkdir(parents=True)
    write(file, '[endpoints]\nlist_runs = "history"\n')
    for command in (("settings",), ("runs", "list", "--server", SERVER)):
        ended = await call(*command)
        assert (ended.code, ended.output) == (2, "")
        assert f"{file}: endpoints: 'list_runs' needs a method and a path" in ended.errors


async def test_commands_take_the_routes_of_the_files(
    call: Call, signed_in: Emulator, file: Path
) -> None:
    """A command's requests go where the repository's file says."""
    write(file, f'[endpoints]\nlist_runs = "{HISTORY}"\n')
    ended = await call("runs", "list")
    assert ended.code == 3
    (request,) = signed_in.requests
    assert request.path.endswith("/history")


async def test_a_choice_keeps_the_routes(call: Call, signed_in: Emulator, file: Path) -> None:
    """Choosing a project leaves the routes in the file as they are."""
    routes = {"list_runs": HISTORY}
    write(file, f'[endpoints]\nlist_runs = "{HISTORY}"\n')
    assert (await call("use", "acme shop")).code == 0
    assert tomllib.loads(text_of(file)) == {
        "server": signed_in.url,
        "project": signed_in.project_id,
        "endpoints": routes,
    }


async def test_settings_that_are_not_set(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is set each line says so; without platformdirs there is no file to name."""
    monkeypatch.setattr("testvibe_async.cli.settings.user_file_path", lambda: None)
    ended = await call("settings")
    assert ended.code == 0
    assert "configuration file" not in ended.errors
    assert ended.output == "server\t\tnot set\nAPI key\t\tnot set\nproject\t\tnot set\n"


async def test_error_names_the_file(call: Call, machine: Path) -> None:
    """A file with a forbidden setting is named, with what to do."""
    (machine / "repository" / ".testvibe-async.toml").write_text(f'api_key = "{KEY}"')
    ended = await call("settings")
    assert (ended.code, ended.output) == (2, "")
    assert ".testvibe-async.toml holds an API key" in ended.errors
    assert KEY[8:] not in ended.errors


async def test_a_key_of_another_form_is_not_shown(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a key of another form only the length is shown: it may be another secret."""
    monkeypatch.setenv("TESTVIBE_API_KEY", "hunter2hunter2")
    ended = await call("settings")
    assert "API key\t14 characters of another form\tTESTVIBE_API_KEY" in ended.output
    assert "hunter2" not in ended.output
    assert "hunter2" not in (await call("settings", "--json")).output


@pytest.fixture
def file(machine: Path) -> Path:
    """Where the repository's file is to be."""
    return machine / "repository" / ".testvibe-async.toml"


@pytest.fixture
def folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder within the repository, as the working directory."""
    folder = file.parent / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def write(file: Path, text: str) -> None:
    file.write_text(text)


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize("word", ["Acme Shop", "ACME shop", "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"])
async def test_a_project_is_chosen_by_name_or_id(
    word: str, call: Call, signed_in: Emulator, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project, and the server that has it, stand in the repository's file from then on."""
    monkeypatch.delenv("TESTVIBE_PROJECT")
    assert (await call("features", "list")).code == 2
    ended = await call("use", word)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == f"Acme Shop ({signed_in.project_id}) is used here: {file}\n"
    assert tomllib.loads(text_of(file)) == {
        "server": signed_in.url,
        "project": signed_in.project_id,
    }
    assert signed_in.api_key not in text_of(file)
    assert (await call("features", "list")).code == 0


async def test_the_file_that_is_in_force_is_the_one_that_changes(
    call: Call, signed_in: Emulator, file: Path, folder: Path
) -> None:
    """From a folder within, the file above is changed, and its comments stay."""
    write(file, '# mine\nproject = "old"  # before\n')
    assert (await call("use", "acme shop")).code == 0
    assert not text_of(folder / file.name)
    assert text_of(file).startswith(f'# mine\nproject = "{signed_in.project_id}"  # before\n')


async def test_a_new_file_is_at_the_root_of_the_repository(
    call: Call, signed_in: Emulator, file: Path, folder: Path
) -> None:
    """From a folder within, a new file goes to where all of the repository sees it."""
    assert signed_in
    document = json.loads((await call("use", "acme shop", "--json")).output)
    assert (document["path"], document["project"]["name"]) == (str(file), "Acme Shop")
    assert text_of(file)
    assert not text_of(folder / file.name)


async def test_what_a_repository_links_to_is_not_written(
    call: Call, signed_in: Emulator, file: Path, folder: Path
) -> None:
    """A file that is a link, which may point out of the repository, is not written."""
    assert signed_in
    elsewhere = folder.parent.parent / "elsewhere.toml"
    link(file, elsewhere)

    ended = await call("use", "acme shop")

    assert ended.code == 2
    assert "is a symbolic link" in ended.errors
    assert not text_of(elsewhere)


async def test_outside_of_a_repository_the_file_is_where_we_are(
    call: Call, signed_in: Emulator, file: Path, folder: Path
) -> None:
    """Without a repository the project is chosen for the working directory."""
    assert signed_in
    (file.parent / ".git").rmdir()
    assert (await call("use", "acme shop")).code == 0
    assert text_of(folder / file.name)
    assert not text_of(file)


async def test_an_id_comes_before_a_name(call: Call, signed_in: Emulator, file: Path) -> None:
    """An id takes precedence over another project's name."""
    signed_in.add_project(name=signed_in.project_id)
    assert (await call("use", signed_in.project_id)).code == 0
    assert tomllib.loads(text_of(file))["project"] == signed_in.project_id


async def test_what_is_none_or_several_is_not_chosen(
    call: Call, signed_in: Emulator, file: Path
) -> None:
    """A name that no project has, or more than one, is refused with what there is."""
    other = signed_in.add_project(name="acme shop")
    none = await call("use", "Shop")
    assert (none.code, none.output) == (2, "")
    assert "there is no project 'Shop': did you mean 'acme shop'?" in none.errors
    several = await call("use", "Acme Shop")
    assert several.code == 2
    assert several.errors == (
        "testvibe-async: 2 projects are called 'Acme Shop', choose by id: "
        f"Acme Shop ({signed_in.project_id}), acme shop ({other.id})\n"
    )
    assert not text_of(file)


async def test_a_name_takes_no_effect_on_a_terminal(call: Call, signed_in: Emulator) -> None:
    """A project's name is shown as plain text."""
    signed_in.add_project(name="\x1b[2J\nevil")
    assert "\\x1b[2J\\nevil" in (await call("projects")).output
    assert "\x1b" not in (await call("use", "nosuch")).errors
    used = await call("use", "\x1b[2J\nevil")
    assert used.code == 0
    assert used.output.startswith("\\x1b[2J\\nevil (")
    assert used.output.count("\n") == 1
