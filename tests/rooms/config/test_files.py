"""The files that settings come from: where they are found, and what is refused in them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testvibe_async import errors
from testvibe_async._core.config import files

KEY = "tvb_" + "Ab3" * 14 + "z"
SERVER = "https://testvibe.example"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a folder in it, in which we work."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "folder" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository" / "folder")
    return tmp_path / "repository"


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's file is, which is not there yet."""
    path = tmp_path / "config.toml"
    monkeypatch.setattr("testvibe_async._core.config.files.user_file_path", lambda: path)
    return path


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def write_repository_file(folder: Path, text: str) -> Path:
    return write(folder / ".testvibe-async.toml", text, 0o644)


def the_repository_file() -> files.RepositoryFile:
    found = files.read_repository_file()
    assert found is not None
    return found


def refusal(path: Path, text: str, read: Callable[[], object]) -> str:
    """Return what is said of a file: one sentence that begins with its path and shows no key."""
    write(path, text)
    with pytest.raises(errors.ConfigError) as caught:
        read()
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert KEY[8:16] not in said
    assert caught.value.__cause__ is None
    return said


def refuse(*_arguments: object, **_options: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_no_file_above_the_root_is_read(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file above the root is not read; without a repository only the working directory counts.

    A linked working tree, whose .git is a file, is a repository too.
    """
    write_repository_file(tmp_path, 'project = "above"')
    assert files.find_repository() == repository
    (repository / ".git").rmdir()
    (repository / ".git").write_text("gitdir: /elsewhere\n")
    assert files.find_repository() == repository
    assert files.read_repository_file() is None
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    assert files.find_repository() is None
    assert files.read_repository_file() is None
    write_repository_file(tmp_path / "folder", 'project = "here"')
    assert the_repository_file().project == "here"


def test_a_closed_folder_above_is_no_error(
    repository: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder above that is closed to us, or a home that is, is no error."""
    write_repository_file(repository, 'project = "p"')
    write(user_file, "[[[")

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(Path, "exists", refuse)
    assert files.find_repository() is None
    assert files.read_repository_file() is None
    assert files.read_user_file() is None


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use can't be deleted there")
def test_a_deleted_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose working directory was removed goes on without a file."""
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    assert files.read_repository_file() is None
    assert files.find_repository() is None


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = "{KEY}"',
        'api_key = "anything"',
        f'project = "p"\n# {KEY}\n',
        f'[servers."{SERVER}"]\napi_key = "{KEY}"',
        f'project = "{KEY}"',
    ],
)
def test_a_key_in_a_repository_is_refused(repository: Path, text: str) -> None:
    """A repository's file that holds a key is refused with what to do, and the key is not shown."""
    said = refusal(repository / ".testvibe-async.toml", text, files.read_repository_file)
    assert " holds an API key" in said
    assert "revoke the key" in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("project = ", "is not TOML: "),
        ("[" * 5000, "is not TOML: "),
        ('projct = "p"', "unknown key 'projct'; did you mean project?"),
        ("colour = 3", "unknown key 'colour'; known are server, project, endpoints, quarantine"),
        ("quarantine = 3", "write each entry of quarantine as a table [[quarantine]]"),
        ("endpoints = 3", "endpoints must be a table, not int"),
        ("endpoints.list_runs = 3", "list_runs of [endpoints] must be a string with something in"),
        ('endpoints.list_runs = " "', "list_runs of [endpoints] must be a string with something"),
        ("project = 3", "project must be a string with something in it, not int"),
        ('project = ""', "project must be a string with something in it, not an empty one"),
        ("server = [1]", "server must be a string with something in it, not list"),
        pytest.param(f"project = {'9' * 5000}", "is not TOML", id="digits"),
        pytest.param(".".join("a" * 2000) + " = 1", "unknown key", id="dots"),
        pytest.param("# " + "x" * 8192, "has over 8192 characters", id="comment"),
        pytest.param("\0" * 10_000_000, "has over 8192 characters", id="nothing"),
    ],
)
def test_a_fault_in_a_repositorys_file_is_named(repository: Path, text: str, what: str) -> None:
    """Bad TOML, an unknown key, a wrong type and a hostile size are one sentence, and soon."""
    assert what in refusal(repository / ".testvibe-async.toml", text, files.read_repository_file)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f'api_key = "{KEY}"', "unknown key 'api_key'; known are server, servers, endpoints"),
        ("[endpoints]\nlist_runs = []", "list_runs of [endpoints] must be a string"),
        (f'{KEY} = "x"', "unknown key 'tvb_Ab3A…'"),
        ("servers = 3", "servers must be a table, not int"),
        (f'[servers]\n"{SERVER}" = "x"', f'servers."{SERVER}" must be a table, not str'),
        (f'[servers."{SERVER}"]\nkey = "x"', f"unknown key 'key' of [servers.\"{SERVER}\"]"),
        (f'[servers."{SERVER}"]\napi_key = 1', f'api_key of [servers."{SERVER}"] must be a string'),
        (f'server = "{KEY}', "is not TOML"),
        (f"{KEY} = 1\n{KEY} = 1", "is not TOML"),
    ],
)
def test_what_is_wrong_in_the_users_file_is_named(user_file: Path, text: str, what: str) -> None:
    """The fault, the file and the key of the table are named, and no API key is shown."""
    assert what in refusal(user_file, text, files.read_user_file)


def test_an_unreadable_file_says_why(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can't be read raises an error with the system's message."""
    path = write_repository_file(repository, "")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(errors.ConfigError, match="can't be read: Permission denied") as caught:
        files.read_repository_file()
    assert str(path) in str(caught.value)


def test_the_bytes_of_a_file_are_text(repository: Path) -> None:
    """A byte order mark is skipped; of bytes that are not UTF-8 none is kept with the error."""
    file = repository / ".testvibe-async.toml"
    file.write_bytes(b'\xef\xbb\xbfproject = "p"\r\n')
    assert the_repository_file().project == "p"
    file.write_bytes(b'project = "\xff"')
    with pytest.raises(errors.ConfigError, match="is not UTF-8") as caught:
        files.read_repository_file()
    assert caught.value.__cause__ is None


def is_private(user_file: Path, mode: int) -> bool:
    write(user_file, "", mode)
    found = files.read_user_file()
    assert found is not None
    return found.is_private


@pytest.mark.parametrize("system", [os.name, "nt"])
@pytest.mark.skipif(os.name != "posix", reason="modes mean nothing there")
def test_a_private_file(user_file: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any right of the group or of others makes it one that is not, where modes mean anything."""
    monkeypatch.setattr(os, "name", system)
    assert all(is_private(user_file, mode) for mode in (0o600, 0o400))
    others = [is_private(user_file, mode) for mode in (0o640, 0o604, 0o644, 0o620, 0o601)]
    assert others == [system == "nt"] * 5


def test_the_users_file_is_where_the_platform_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """platformdirs says where the user's file is; without that package there is none."""
    path = files.user_file_path()
    assert path is not None
    assert path.parts[-2:] == ("testvibe-async", "config.toml")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert files.user_file_path() is None
    assert files.read_user_file() is None
