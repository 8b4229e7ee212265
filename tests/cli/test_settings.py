"""What is in force, and where each of it comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Call

KEY = "tvb_" + "k" * 43
SERVER = "https://testvibe.example"


async def test_each_setting_has_its_source(
    call: Call, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting is told with its value and where it came from; of the key only the beginning."""
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
    assert ended.errors == f"Your own configuration file is {user_file}.\n"

    monkeypatch.setenv("TESTVIBE_PROJECT", "of the variable")
    ended = await call("settings", "--server", "https://other.example", "--json")
    assert json.loads(ended.output) == {
        "server": {"value": "https://other.example", "from": "argument"},
        "apiKey": None,
        "project": {"value": "of the variable", "from": "TESTVIBE_PROJECT"},
    }


async def test_what_is_not_set_is_said_to_be_so(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is set each line says so; without platformdirs there is no file to name."""
    monkeypatch.setattr("testvibe_async.cli.settings.user_file_path", lambda: None)
    ended = await call("settings")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output == "server\t\tnot set\nAPI key\t\tnot set\nproject\t\tnot set\n"


async def test_what_is_wrong_is_said_of_the_file(call: Call, machine: Path) -> None:
    """A file that holds what it must not is named, with what to do."""
    (machine / "repository" / ".testvibe-async.toml").write_text(f'api_key = "{KEY}"')
    ended = await call("settings")
    assert (ended.code, ended.output) == (2, "")
    assert ".testvibe-async.toml holds an API key" in ended.errors
    assert KEY[8:] not in ended.errors


async def test_a_key_that_is_none_is_not_shown(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else in the place of a key is not shown either, for it may be another secret."""
    monkeypatch.setenv("TESTVIBE_API_KEY", "hunter2hunter2")
    ended = await call("settings")
    assert "hunter2" not in ended.output
    assert "hunter2" not in (await call("settings", "--json")).output
