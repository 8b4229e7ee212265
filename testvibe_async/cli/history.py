"""`testvibe-async report` and `history`: a batch, the last ones, and the course of a feature.

They read the ledger, and ask no service. What counts as flaky and as newly failing is decided
in `testvibe_async.runner.trends`, and so are the proposed entries of the quarantine.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

from attrs import asdict, evolve
from cyclopts import Parameter
from cyclopts.types import PositiveInt  # noqa: TC002 - cyclopts reads the annotations at run time
from rich.text import Text

from testvibe_async import ConfigError, VibeError
from testvibe_async._core.util import escape
from testvibe_async.cli.common import common, connected, stored_batches
from testvibe_async.cli.details import first_of
from testvibe_async.cli.options import Files, Reports
from testvibe_async.cli.outputs import Outputs
from testvibe_async.cli.text import warn
from testvibe_async.runner.codes import ExitCode  # noqa: TC001 - as above
from testvibe_async.runner.history import KeptBatch
from testvibe_async.runner.names import similar_names
from testvibe_async.runner.outcome import Outcome
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.trends import (
    CHANGES,
    PASSES,
    Trend,
    proposed,
    removable,
    trends_of,
)
from testvibe_async.runner.words import command, counted, duration, started

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async.cli.render import Renderer
    from testvibe_async.runner.history import Batches, Place


USUAL_LIMIT = 10
"""Number of batches shown by default."""

QUARANTINE_LIMIT = 20
"""Number of batches that count for the quarantine by default."""

QUARANTINE_DAYS = 14
"""Number of days that a proposed entry lasts."""

SHOWN = 20
"""Maximum number of features named for each change."""


async def report(
    batch: str | None = None,
    /,
    *,
    temporal: Annotated[str | None, Parameter(metavar="KEY")] = None,
    reports: Reports = Reports(),
) -> ExitCode:
    """Report on a batch, also while it is running, without asking the service.

    For example:

        testvibe-async report
        testvibe-async report 12 --report junit.xml --report report.html

    The exit codes are those of run --wait.

    Args:
        batch: Its number or its key; by default the last batch of this project.
        temporal: The workflow id of a batch on Temporal: report on that. TEMPORAL_ADDRESS names
            its server. The service is asked for names of features without a result.
        reports: The reports to write.
    """
    given, files = common.get(), Files(**asdict(reports))
    if temporal is not None:
        outcome = await _outcome_of_workflow(temporal)
        return await Outputs(files, given.output).conclude(outcome)
    async with stored_batches() as (batches, place):
        found = (await batches.meant(batch, place)).judged(Quarantine.read())
        history = await batches.history_of(found.items, found.place, before=found.number)
    outcome = Outcome.of(found, given.place, fails_on_flaky=files.fail_on_flaky)
    outcome = evolve(outcome, history=history)
    given.output.say(f"{found}, {started(found.started_at)}.")
    if found.is_running:
        warn(f"{found} is still running.")
    return await Outputs(files, given.output).conclude(outcome)


async def _outcome_of_workflow(key: str) -> Outcome:
    """Return the outcome of a batch on Temporal, as far as it is known.

    Raises:
        ConfigError: No server of Temporal is configured, or it can't tell.
    """
    from testvibe_async.temporal import UNREACHABLE, TemporalBatch, connect  # noqa: PLC0415

    try:
        items = await TemporalBatch(await connect(), key).items()
    except UNREACHABLE as error:
        raise ConfigError(f"Temporal did not report batch {key!r}: {error}") from error
    if any(item.name is None and item.outcome is None for item in items):
        # A request has ids, and only a result has the name; the service may be unknown here.
        with suppress(VibeError):
            async with connected() as connection:
                listed = await connection.project.list_features()
            names: dict[object, str] = {feature.id: feature.name for feature in listed}
            items = [evolve(each, name=each.name or names.get(each.feature)) for each in items]
    refs = [item.ref for item in items if item.ref is not None]
    marked = [*map(Quarantine.read().mark, items)]
    spec = BatchSpec(kind=refs[0].kind if refs else "run")
    place = common.get().place
    return Outcome(items=marked, spec=spec, place=place)


async def history(
    *names: str,
    limit: Annotated[PositiveInt | None, Parameter(name=("--limit", "-n"))] = None,
    quarantine: bool = False,
) -> None:
    """Show the last batches of a project, which runs were flaky, and what changed with the last.

    Of a feature, show how often it passed and was flaky, and since when it fails.

    For example:

        testvibe-async history
        testvibe-async history Checkout
        testvibe-async history 'nightly-*'
        testvibe-async history --limit 30 --json
        testvibe-async history --quarantine

    Args:
        names: Features, or batches by their numbers or keys, also by a glob such as
            'nightly-*'; else the last batches.
        limit: Maximum number of batches; 10 by default, or 20 with --quarantine.
        quarantine: Propose entries of the quarantine for flaky features, as the repository's file
            takes them; the owner is to be filled in. Say which entries may leave it.
    """
    most = limit or (QUARANTINE_LIMIT if quarantine else USUAL_LIMIT)
    async with stored_batches() as (stored, place):
        batches, features = await _meant(stored, names, place, most)
    output = common.get().output
    if quarantine:
        return _propose([each for each in batches if each.kind == "run"], output)
    trends = _trends(batches)
    if features:
        chosen = [each for each in trends if each.is_one_of(features)]
        return output.show({"features": chosen}, lambda _: Text("\n\n").join(map(_course, chosen)))
    flaky = sorted(
        (each for each in trends if "flaky" in each.words), key=lambda each: -each.rate("flaky")
    )
    changed = [each for change in CHANGES for each in trends if each.change == change]
    documents = [_document(each) for each in batches]
    if batches:
        columns = ("Batch", "Kind", "Items", "Passed", "Failed", "Flaky", "Other", "Took")
        output.table(columns, map(_row, batches, documents), is_headed=True)
    else:
        output.note(f"There is no batch{place} yet.")
    for each in batches:
        if each.is_running:
            output.note(f"{each} is still running.")
        elif not each.is_over:
            again = command("resume", str(each.number))
            output.note(f"{each} has not finished; to resume it: {again}")
    return output.show(
        {"batches": documents, "flaky": flaky, "changes": changed},
        lambda _: _sections(changed, flaky, len(batches)),
    )


def _propose(batches: Sequence[KeptBatch], output: Renderer) -> None:
    """Print the proposed entries in TOML, and a comment for each one that may leave."""
    current = Quarantine.read()
    new, old = proposed(batches, current), removable(batches, current)
    until = current.today + timedelta(days=QUARANTINE_DAYS)
    entries = [
        f"[[quarantine]]\nfeature = {json.dumps(escape(each.feature), ensure_ascii=False)}\n"
        f'reason = "flaky in {each.words.count("flaky")} of {counted(each.counted, "batch")}"\n'
        f'owner = ""\nuntil = {until}\n'
        for each in new
    ]
    leaving = [f"# {escape(str(each))} passed {PASSES} times in a row: remove it" for each in old]
    text = "\n".join([*entries, *leaving]) or "# Nothing to add, and nothing to remove."
    output.show({"proposed": new, "removable": [*map(str, old)]}, lambda _: Text(text))


async def _meant(
    stored: Batches, names: Sequence[str], place: Place, most: int
) -> tuple[list[KeptBatch], set[str]]:
    """Return the batches, the oldest first, and the features in lower case that names mean.

    Raises:
        ConfigError: No batch has a number, a key or a feature of these.
    """
    batches: list[KeptBatch] = []
    for heading in (await stored.here(place))[: None if names else most]:
        batches.insert(0, await stored.read(heading))
    named = [each for each in batches if any(_is_named(each, name) for name in names)]
    if named or not names:
        return named[-most:] if names else batches, set()
    # A feature may have run in few batches, so all are searched.
    features = {name.casefold() for name in names}
    trends = _trends(batches)
    for name in names:
        if not any(trend.is_one_of({name.casefold()}) for trend in trends):
            like = similar_names(name, [each.feature for each in trends])
            hint = f": {like}" if like else ""
            raise ConfigError(f"no batch has a feature {name!r}{hint}")
    of_them = [
        batch for batch in batches if any(trend.is_one_of(features) for trend in _trends([batch]))
    ]
    return of_them[-most:], features


def _trends(batches: Sequence[KeptBatch]) -> list[Trend]:
    """Return the course of each feature over the batches of runs."""
    return trends_of([each for each in batches if each.kind == "run"])


def _is_named(batch: KeptBatch, name: str) -> bool:
    """Return whether a word is the number of a batch, its key, or a glob that matches its key."""
    return name == str(batch.number) or fnmatchcase(batch.name or "", name)


def _course(trend: Trend) -> Text:
    """Return the course of one feature, in a few lines."""
    batches = counted(trend.counted, "batch")
    lines = [
        f"{word} in {trend.words.count(word)} of {batches} ({trend.rate(word):.0%})"
        for word in ("passed", "flaky")
    ]
    if since := trend.failing_since:
        begin = f"{since.started_at.astimezone():%d %b %H:%M}"
        title = since.title if isinstance(since, KeptBatch) else since.number
        lines.append(f"failing since batch {title} of {begin}")
    return Text("\n").join([Text(escape(trend.name), "bold"), *(Text(f"  {x}") for x in lines)])


def _row(batch: KeptBatch, counts: Mapping[str, Any]) -> list[object]:
    """Return the cells of a batch, without a name so short that they fit into fifty columns."""
    begin = f"{batch.title}  {batch.started_at.astimezone():%d %b %H:%M}"
    took = duration(counts["seconds"]) if counts["seconds"] else None
    kind = None if batch.kind == "run" else batch.kind
    numbers = [counts[name] for name in ("total", "passed", "failed", "flaky")]
    return [begin, kind, *numbers, counts["other"] or None, took]


def _sections(changed: Sequence[Trend], flaky: Sequence[Trend], batches: int) -> Text:
    """Return the flaky and the changed features of so many batches, a line for each."""
    where = "this batch" if batches == 1 else f"these {counted(batches, 'batch')}"
    sections: dict[str, list[str]] = {}
    for each in flaky:
        failed = f", and failed in {n}" if (n := each.words.count("failed")) else ""
        line = f"  {escape(each.name)}  in {each.words.count('flaky')} of {each.counted}{failed}"
        sections.setdefault(f"Flaky in {where}:", []).append(line)
    for each in changed:
        title = f"{str(each.change).capitalize()}:"
        sections.setdefault(title, []).append(f"  {escape(each.name)}")
    lines: list[Text] = []
    for title, those in sections.items():
        lines += [Text(), Text(title, "bold"), *map(Text, first_of(those, SHOWN))]
    if batches == 1:
        lines += [Text(), Text("There is no other batch to compare it with.")]
    elif batches and not changed:
        lines += [Text(), Text("Nothing changed with the last batch.")]
    return Text("\n").join(lines)


def _document(batch: KeptBatch) -> dict[str, Any]:
    outcome = Outcome.of(batch, ())
    summary = outcome.summary
    passed = summary.succeeded - summary.flaky
    return {
        "batch": batch.number,
        "key": batch.name,
        "kind": batch.kind,
        "startedUtc": batch.started_at,
        "isRunning": batch.is_running,
        "isOver": batch.is_over,
        "server": batch.server,
        "project": batch.project,
        "seconds": outcome.seconds,
        "total": summary.total,
        "passed": passed,
        "failed": summary.failed,
        "flaky": summary.flaky,
        "other": summary.total - passed - summary.failed - summary.flaky,
    }
