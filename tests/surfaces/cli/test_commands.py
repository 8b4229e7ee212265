"""Each command that reads or changes something, against an emulator in another process.

What it says in a pipe and on a terminal, on which stream, and its exit code, where it goes well and
where it does not.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Run, Service

GHERKIN = "Feature: Gift cards\n\n  Scenario: One is bought\n    Given a shop\r\n"

READING = [
    (("projects",), "Acme Shop"),
    (("features", "list"), "Login Functionality"),
    (("features", "show", "login functionality"), "Feature: Login Functionality\n"),
    (("files", "list"), "Configurations/Default.config.js"),
    (("files", "get", "Configurations/Default.config.js"), "module.exports = {\n"),
    (("configs",), "Mobile"),
    (("settings",), "TESTVIBE_API_KEY"),
]
"""Commands that change nothing, and what is in their output."""

KEY_OF_NOBODY = "tvb_" + "n" * 43


@pytest.mark.parametrize(("arguments", "said"), READING)
def test_reads_in_a_pipe(arguments: tuple[str, ...], said: str, served: Service, run: Run) -> None:
    """In a pipe a command prints plain lines: no colours, no borders, nothing of the key."""
    ended = run(*arguments)
    assert ended.code == 0
    assert said in ended.output
    assert "\x1b" not in ended.output + ended.errors
    assert served.api_key not in ended.output + ended.errors


@pytest.mark.parametrize(("arguments", "said"), READING)
@pytest.mark.usefixtures("on_terminal", "served")
def test_reads_on_a_terminal(arguments: tuple[str, ...], said: str, run: Run) -> None:
    """On a terminal the same is printed, tables with their heads."""
    ended = run(*arguments)
    assert ended.code == 0
    assert said.strip() in ended.output
    is_table = arguments[-1] in {"projects", "list", "configs", "settings"}
    assert ("\x1b[1m" in ended.output) is is_table


@pytest.mark.parametrize(("arguments", "_said"), READING)
@pytest.mark.usefixtures("served")
def test_reads_for_a_program(arguments: tuple[str, ...], _said: str, run: Run) -> None:
    """With --json standard output is one JSON document."""
    ended = run(*arguments, "--json")
    assert ended.code == 0
    assert json.loads(ended.output)


@pytest.mark.parametrize(("arguments", "said"), READING)
@pytest.mark.usefixtures("served")
def test_is_quiet(arguments: tuple[str, ...], said: str, run: Run) -> None:
    """With --quiet there are no remarks; results are printed as without it."""
    ended = run(*arguments, "--quiet")
    assert (ended.code, ended.errors) == (0, "")
    assert said in ended.output


@pytest.mark.usefixtures("served")
def test_a_feature_lives_and_dies(run: Run, tmp_path: Path) -> None:
    """A feature is created from a file, shown byte for byte, changed, renamed and deleted."""
    file = tmp_path / "gift.feature"
    file.write_bytes(GHERKIN.encode())
    created = run("features", "create", "Gift cards", "--file", str(file), "--json")
    assert created.code == 0
    number = json.loads(created.output)["id"]
    shown = run("features", "show", str(number), "--gherkin")
    assert shown.output == GHERKIN

    file.write_text("Feature: Others\n")
    changed = run("features", "update", "gift cards", "--file", str(file), "--name", "Gifts")
    assert (changed.code, changed.output) == (0, "gift cards is updated.\n")
    assert run("features", "show", "Gifts", "--gherkin").output == "Feature: Others\n"

    deleted = run("features", "delete", "Gifts", "--yes")
    assert (deleted.code, deleted.output) == (0, "Gifts is deleted.\n")
    assert run("features", "show", "Gifts").code == 3


@pytest.mark.usefixtures("served")
def test_a_file_is_put_and_got(run: Run, tmp_path: Path) -> None:
    """A file that was put is the same when got again, byte for byte."""
    file = tmp_path / "own.config.js"
    file.write_bytes('module.exports = { grüße: "\r\n" };'.encode())
    put = run("files", "put", "Configurations/Own.config.js", "-f", str(file))
    assert (put.code, put.output) == (0, "Configurations/Own.config.js is written.\n")
    assert (
        run("files", "get", "Configurations/Own.config.js").output
        == 'module.exports = { grüße: "\r\n" };'
    )
    document = json.loads(run("files", "get", "Configurations/Own.config.js", "--json").output)
    assert document["content"] == 'module.exports = { grüße: "\r\n" };'


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nosuch",), 2, "Available commands: run, runs, generate"),
        (("featurs",), 2, 'Did you mean "features"?'),
        (("features", "lst"), 2, 'Did you mean "list"?'),
        (("--gherkin",), 2, "no command stands before --gherkin"),
        (("--json",), 2, "no command stands before --json"),
        (("runs", "show", "0"), 2, '"0" for RUN'),
        (("runs", "list", "--limit", "0"), 2, '"0" for --limit'),
        (("demo", "--speed", "inf"), 2, '"inf" for --speed'),
        (("emulator", "--port", "70000"), 2, '"70000" for --port'),
        (("features", "show"), 2, "FEATURE requires an argument; see testvibe-async features"),
        (("features", "create", "X"), 2, "--file requires an argument"),
        (("features", "show", "--project"), 2, "--project requires an argument"),
        (("features", "show", "Login", "Functionality"), 2, "name of several words in quotes"),
        (("features", "show", "1", "--jsno"), 2, "--jsno. Did you mean --json?"),
        (("projects", "--server", "nonsense"), 2, "the server must be such as https://"),
        (("projects", "--server", "http://h.example"), 2, "in the clear: use https://, or pass"),
        (("use", "Nope"), 2, "there is no project 'Nope': there is only 'Acme Shop'"),
        (("features", "update", "1"), 2, "nothing to change: pass --file, --name or both"),
        (("features", "create", "X", "--file", "/no/such"), 2, "/no/such can't be read: No such"),
        (("features", "delete", "1"), 2, "standard input is no terminal: pass --yes"),
        (
            ("features", "show", "nosuch"),
            3,
            "This project has no feature 'nosuch'. (404 not_found)",
        ),
        (("features", "list", "--project", "nosuch"), 2, "there is no project 'nosuch'"),
        (("files", "get", "nosuch"), 3, "This project has no file 'nosuch'. (404 not_found)"),
        (("files", "put", "../x", "-f", "/dev/null"), 3, "(400 invalid_request)"),
    ],
)
@pytest.mark.usefixtures("served")
def test_what_is_wrong_is_one_sentence(
    arguments: tuple[str, ...], code: int, sentence: str, run: Run
) -> None:
    """A wrong or refused call is one line on standard error, with its exit code."""
    ended = run(*arguments)
    assert (ended.code, ended.output) == (code, "")
    assert ended.errors.startswith("testvibe-async: ")
    assert ended.errors.count("\n") == 1
    assert sentence in ended.errors


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in READING[:-1]])
def test_without_a_server_each_says_where_to_get_one(arguments: tuple[str, ...], run: Run) -> None:
    """Where nothing is set, a command names the ways to set it."""
    ended = run(*arguments)
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors == (
        "testvibe-async: no server: log in with testvibe-async login, pass --server, "
        "or set TESTVIBE_SERVER\n"
    )


def test_without_a_key_it_says_for_which_server(run: Run) -> None:
    """A server without a key is named."""
    ended = run("projects", "--server", "https://testvibe.example")
    assert ended.code == 2
    assert "no API key for https://testvibe.example: log in" in ended.errors


def test_without_a_project_it_says_how_to_choose_one(
    served: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no project is in force, a command that needs one says how to choose it."""
    monkeypatch.delenv("TESTVIBE_PROJECT")
    ended = run("features", "list")
    assert (ended.code, ended.output) == (2, "")
    assert "no project: pass --project, set TESTVIBE_PROJECT" in ended.errors
    assert run("features", "list", "--project", served.project_id).code == 0


def test_a_key_that_cant_be_sent_is_not_shown(
    served: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that can't be one is refused before anything is sent, with where it came from."""
    monkeypatch.setenv("TESTVIBE_API_KEY", f"Bearer {served.api_key}")
    ended = run("projects", "-vv")
    assert ended.code == 2
    assert "TESTVIBE_API_KEY: the API key holds white space" in ended.errors
    assert served.api_key[8:] not in ended.errors


def test_a_key_of_another_form_is_warned_of(
    served: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of another form is tried; the warning says where it came from, and does not show it."""
    key = served.api_key.replace("tvb_", "key-")
    monkeypatch.setenv("TESTVIBE_API_KEY", key)
    ended = run("projects")
    assert ended.code == 3
    assert "TESTVIBE_API_KEY: the API key does not look like" in ended.errors
    assert key[8:] not in ended.errors


def test_a_key_that_the_service_does_not_know(
    served: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 is printed in the service's words, with what to do."""
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY_OF_NOBODY)
    ended = run("projects")
    assert (ended.code, ended.output) == (3, "")
    assert "A valid API key is required" in ended.errors
    assert "(401 unauthorized); testvibe-async settings" in ended.errors
    assert served.url not in ended.errors


def test_a_service_that_is_not_there(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A port without a listener is exit code 5, with one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("TESTVIBE_SERVER", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("TESTVIBE_API_KEY", KEY_OF_NOBODY)
    ended = run("projects")
    assert (ended.code, ended.output) == (5, "")
    assert ended.errors.startswith(
        f"testvibe-async: 127.0.0.1:{port}: the service was not reachable: could n"
    )
    assert ended.errors.count("\n") == 1


@pytest.mark.usefixtures("served")
def test_a_traceback_is_for_those_who_ask(run: Run) -> None:
    """-v logs what happens, -vv more of it and a traceback where it fails; else there is none."""
    assert "Traceback" not in run("features", "show", "nosuch", "-v").errors
    loud = run("features", "show", "nosuch", "-vv").errors
    assert "Traceback (most recent call last):" in loud
    assert "NotFoundError" in loud
    assert "DEBUG" in loud
