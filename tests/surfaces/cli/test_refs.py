"""The refs that a command reads."""

from __future__ import annotations

import json

import pytest

from testvibe_async import ConfigError, Ref, RunRef
from testvibe_async.cli.names import read_refs

RUNS: list[Ref] = [RunRef(server="http://s", project="p", run_id=number) for number in range(200)]


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
