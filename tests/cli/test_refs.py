"""The command that waits for operations again, and the refs that it reads."""

from __future__ import annotations

import json
import shlex

import pytest

from testvibe_async import ConfigError, GenerationRef, Ref, RunRef
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.refs import read_refs, wait_command

RUNS: list[Ref] = [RunRef(server="http://s", project="p", run_id=number) for number in range(200)]
GENERATION = GenerationRef(server="http://s", project="it's", request_id="r 1", feature_id=15)


def words_of(command: str) -> list[str]:
    """Split a command as a shell does."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("testvibe-async", "wait")
    return words


def test_runs_are_named_by_their_ids() -> None:
    """The command has the ids of all, and the place, so that it works anywhere."""
    words = words_of(wait_command(RUNS, COMMON))
    assert words[:200] == [str(number) for number in range(200)]
    assert words[200:] == ["--project", "p", "--server", "http://s"]
    assert words_of(wait_command(RUNS[:1], Common(allow_http=True)))[-1] == "--allow-http"


def test_other_operations_are_named_by_their_refs() -> None:
    """Generations, and what is of several projects, are quoted for the shell and read back."""
    refs = [RUNS[0], GENERATION]
    words = words_of(wait_command(refs, COMMON))
    assert read_refs(words[:2]) == refs
    assert words[2:] == ["--server", "http://s"]


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
