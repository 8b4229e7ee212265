"""The commands that an ending suggests: each can be pasted into a shell, and does what it says."""

from __future__ import annotations

import shlex

from tests.surfaces.cli.ending.test_ending import PASSED, Item, generated, item, timed_out
from tests.surfaces.cli.test_refs import RUNS
from testvibe_async import GenerationRef, Run, RunStatus
from testvibe_async.cli.common import COMMON, Common
from testvibe_async.cli.ending.commands import rerun_commands, wait_command
from testvibe_async.cli.refs import read_refs

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


def test_commands_run_again_what_failed() -> None:
    """What failed runs again with its configurations, quoted for a shell; nothing else does."""

    def failed(feature: str, config: str | None = None) -> Item:
        return item(feature, config=config, outcome=Run(1, RunStatus.FAILED, 12, feature, config))

    items = [failed("a b"), failed("c", "Mobile"), failed("a b", "Mobile"), failed("d"), PASSED]
    assert rerun_commands([*items, failed("7*")], place=("--server", "http://s")) == [
        "testvibe-async run 'a b' --wait -c Default -c Mobile --server http://s",
        "testvibe-async run c --wait -c Mobile --server http://s",
        "testvibe-async run d 12 --wait --server http://s",
    ]
    assert rerun_commands([PASSED, timed_out(), generated("failed")]) == []
