"""The commands to go on with, to be pasted into a shell: wait, check, run again.

It decides their words. Each is whole: it needs nothing of the folder and the variables that it is
typed in, except the key.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from testvibe_async import Run, RunRef, Verdict
from testvibe_async.cli.batches import stored_batches
from testvibe_async.cli.words import NAME, unless_default
from testvibe_async.models import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from testvibe_async import DispatchUnknownError, Ref
    from testvibe_async.cli.common import Common
    from testvibe_async.cli.jobs import Item

__all__ = ["check_command", "rerun_commands", "resume_command", "wait_command"]


def wait_command(refs: Sequence[Ref], common: Common) -> str:
    """Return the command that waits for operations.

    Runs of one project are named by their ids, all else by their refs.

    Args:
        refs: The operations, at least one.
        common: The options that the present command was called with.
    """
    places = {(ref.server, ref.project) for ref in refs}
    runs = [ref for ref in refs if isinstance(ref, RunRef)]
    if len(runs) == len(refs) and len(places) == 1:
        words = [*(str(run.run_id) for run in runs), "--project", refs[0].project]
    else:
        words = [ref.to_json() for ref in refs]
    options = ["--server", refs[0].server]
    if common.allow_http:
        options.append("--allow-http")
    return shlex.join([NAME, "wait", *words, *options])


def check_command(error: DispatchUnknownError, place: Sequence[str]) -> str:
    """Return the command that shows whether a dispatch took effect.

    Args:
        error: What the dispatch raised.
        place: The options that name the service and the project.
    """
    feature = str(error.feature)
    is_generation = error.url.endswith("/generate")
    words = ["generation", "status", feature] if is_generation else ["runs", "list"]
    options = [] if is_generation else ["--feature", feature]
    return shlex.join([NAME, *words, *options, *place])


def resume_command(journal: Path, place: Sequence[str] = ()) -> str:
    """Return the command that goes on with a batch.

    Args:
        journal: Its journal.
        place: The options that name the service and the project.
    """
    return shlex.join([NAME, "resume", stored_batches().word_for(journal), *place])


def rerun_commands(
    items: Sequence[Item], *, place: Sequence[str] = (), journal: Path | None = None
) -> list[str]:
    """Return the commands that run again what failed: one for all features of equal configurations.

    With a journal there is one command, and it is short.

    Args:
        items: The results.
        place: The options that name the service and the project.
        journal: The batch's journal; None without one.
    """
    failed = [
        (item, item.outcome)
        for item in items
        if item.verdict is Verdict.FAILED and isinstance(item.outcome, Run)
    ]
    if journal is not None and failed:
        batch = stored_batches().word_for(journal)
        return [shlex.join([NAME, "run", "--failed", batch, "--wait", *place])]
    configs: dict[str, list[str]] = {}
    for item, run in failed:
        config = unless_default(item.config or run.config) or DEFAULT_CONFIG
        configs.setdefault(_typed(item), []).append(config)
    features: dict[tuple[str, ...], list[str]] = {}
    for feature, names in configs.items():
        features.setdefault(tuple(dict.fromkeys(names)), []).append(feature)
    return [_run_command(typed, names, place) for names, typed in features.items()]


def _run_command(features: Sequence[str], configs: Sequence[str], place: Sequence[str]) -> str:
    chosen = [] if list(configs) == [DEFAULT_CONFIG] else [w for c in configs for w in ("-c", c)]
    return shlex.join([NAME, "run", *features, "--wait", *chosen, *place])


def _typed(item: Item) -> str:
    """Return what to type for a feature: its name where that says which it is, else its id."""
    feature_id = item.outcome.feature_id if item.outcome else None
    name = item.feature_name
    is_safe = name and not name.isdecimal() and not set(name) & set("*?[") and name.isprintable()
    return name if is_safe or feature_id is None else str(feature_id)
