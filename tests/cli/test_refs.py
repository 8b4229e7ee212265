"""The command that waits for operations again, and the refs that it reads."""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testvibe_async import ConfigError, GenerationRef, Ref, RunRef
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.refs import read_refs, wait_command

RUNS: list[Ref] = [RunRef(server="http://s", project="p", run_id=number) for number in range(200)]
GENERATION = GenerationRef(server="http://s", project="it's", request_id="r 1", feature_id=15)


def refs_of(command: str) -> list[Ref]:
    """Read a command as a shell and then `wait` would."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("testvibe-async", "wait")
    if words[0] == "--file":
        return read_refs([Path(words[1]).read_text(encoding="utf-8")])
    return read_refs(word for word in words if word.startswith("{"))


def test_few_refs_stand_in_the_command() -> None:
    """A ref or two are quoted for the shell, and read back as they were."""
    refs = [RUNS[0], GENERATION]
    assert refs_of(wait_command(refs, COMMON)) == refs
    assert "--file" not in wait_command(refs, COMMON)


def test_many_refs_are_put_into_a_file(machine: Path) -> None:
    """The command stays short enough for a terminal, and the file is this user's."""
    command = wait_command(RUNS, COMMON)
    assert refs_of(command) == RUNS
    assert Path(shlex.split(command)[3]).is_relative_to(machine)
    assert len(command.splitlines()) == 1


def test_old_files_are_removed() -> None:
    """Writing a file removes those older than a month, and keeps newer ones."""
    files = [Path(shlex.split(wait_command(RUNS, COMMON))[3])]
    old, recent = files[0].with_name("old.jsonl"), files[0].with_name("recent.jsonl")
    for path, days in ((old, 31), (recent, 29)):
        path.write_text("")
        written = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        os.utime(path, (written, written))
    wait_command(RUNS, COMMON)
    assert not old.exists()
    assert recent.exists()


def test_machine_without_a_place_for_files(machine: Path) -> None:
    """Where no file can be written the refs stand in the command."""
    (machine / ".local").write_text("no folder")
    assert refs_of(wait_command(RUNS, COMMON)) == RUNS


def test_command_names_the_server_that_was_typed() -> None:
    """The options that decide the server are part of the command."""
    common = Common(server="http://s", allow_http=True, json=True)
    command = wait_command(RUNS[:1], common)
    assert command.endswith(" --server http://s --allow-http")


def test_refs_are_found_in_any_json() -> None:
    """A document of another command, lines of JSON, and a ref by itself are all read."""
    first, second = (json.loads(ref.to_json()) for ref in RUNS[:2])
    document = json.dumps({"items": [{"ref": first}, {"ref": None}, {"n": {"ref": second}}]})
    lines = f"{RUNS[2].to_json()}\n\n{RUNS[3].to_json()}\n"
    assert read_refs([document, lines, RUNS[0].to_json(), ""]) == RUNS[:4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "which operations"),
        ("[]", "which operations"),
        ('"x"', "which operations"),
        ("{testvibe: run}", "'{testvibe: run}' is no ref: it is not JSON; quote it for the shell"),
        ('{"testvibe": "run"} x', "damaged|version"),
        ("[" * 100_000, "is not JSON"),
        ('{"testvibe": "walk"}', 'does not say "run"'),
    ],
)
def test_what_holds_no_ref_is_refused(text: str, said: str) -> None:
    """A text without a ref is quoted, with what to give instead."""
    with pytest.raises(ConfigError, match=said):
        read_refs([text])
