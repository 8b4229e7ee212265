"""The outcome of a batch, as one value: counts, time span, exit code, and the next commands. Pure.

Every surface that says how a batch went reads this. `codes` decides which exit code comes first
where several apply, `words` how an item is called. Each suggested command is whole: it needs
nothing of the folder and the variables that it is typed in, except the key.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from attrs import field, frozen

from testvibe_async import errors
from testvibe_async._core.util import escape
from testvibe_async.batch import is_refusal
from testvibe_async.models import Run
from testvibe_async.outcomes import BatchSummary, Verdict
from testvibe_async.refs import RunRef
from testvibe_async.runner.codes import STOPPED, ExitCode, exit_code_of, worst_of
from testvibe_async.runner.limit import LIMITED
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.trends import NEWS, deciding, news_of, stability_of
from testvibe_async.runner.words import (
    UNSEEN,
    command,
    counted,
    counts_of,
    duration,
    seconds_of,
    verdict_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from testvibe_async.batch import StoredBatch
    from testvibe_async.models import GenerationLog, Snapshot
    from testvibe_async.outcomes import BatchItem
    from testvibe_async.refs import Ref
    from testvibe_async.runner.history import KeptBatch
    from testvibe_async.runner.trends import Trend


MOST_NEWS = 10
"""Maximum number of features named for each change."""


@frozen
class Step:
    """A next step that a person may take."""

    aim: str
    """The infinitive of what it does, such as `rerun what failed`."""

    commands: Sequence[str]
    """The commands that do it: each of them, or one of them."""

    is_pending: bool = False
    """True if something is left to wait for, to dispatch or to decide."""


@frozen(kw_only=True)
class Outcome:
    """The outcome of the operations of one batch, or of those that a command waits for."""

    items: Sequence[BatchItem[Snapshot]]
    """One for each operation."""

    waited_seconds: float = 0.0
    """Seconds that the command itself has waited; 0 if it did not start all of the operations."""

    spec: BatchSpec = field(factory=lambda: BatchSpec(kind="run"))
    """The description of the batch; the defaults without one."""

    number: int | None = None
    """The number of the batch in the ledger; None if it is not kept."""

    is_resumable: bool = False
    """True if the batch is kept, has something left, and is not running elsewhere."""

    place: Sequence[str] | None = ()
    """The options that name the service, for commands; None if no command can ask it later."""

    is_waited_for: bool = True
    """True if the command waited; otherwise operations in flight do not affect the exit code."""

    fails_on_flaky: bool = False
    """True if a flaky feature counts as failed for the exit code."""

    causes: Collection[ExitCode] = ()
    """The exit codes of what is not an item's, such as a signal, or a ledger on a full disk."""

    is_reported: bool = True
    """False if a report could not be written."""

    refusal: errors.RateLimitedError | None = None
    """The rate limit that the last dispatch met; None if the dispatch was accepted."""

    failure: str | None = None
    """The service, and why its last request failed; None if the service answered."""

    history: Sequence[StoredBatch] = ()
    """Earlier batches that show whether a result is new, the latest as the last; see
    `Batches.history_of`."""

    logs: Mapping[str, GenerationLog] = field(factory=dict["str", "GenerationLog"])
    """The logs of generations that failed, by request id, where they could be read."""

    @classmethod
    def of(cls, batch: KeptBatch, place: Sequence[str], *, fails_on_flaky: bool = False) -> Self:
        """Return the outcome of a batch of a ledger, marked by its quarantine."""
        return cls(
            items=batch.items,
            place=place,
            number=batch.number,
            is_resumable=not (batch.is_running or batch.is_over),
            spec=batch.spec,
            fails_on_flaky=fails_on_flaky or batch.fails_on_flaky,
        )

    @property
    def seconds(self) -> float:
        """Duration in seconds, by the service's own times where all have them; 0 if unknown."""
        by_service = seconds_of(self.items)
        return (by_service if not self.unfinished else 0.0) or self.waited_seconds or by_service

    @property
    def summary(self) -> BatchSummary:
        """The numbers of items by verdict."""
        return BatchSummary.of(self.items)

    @property
    def is_stopped(self) -> bool:
        """True if a signal stopped the command."""
        return not {*self.causes}.isdisjoint(STOPPED)

    @property
    def unfinished(self) -> list[BatchItem[Snapshot]]:
        """Items that a later command can wait for: still running, or with an unobserved outcome."""
        return [item for item in self.items if item.is_unfinished]

    @property
    def is_left(self) -> bool:
        """True if features were not dispatched, and `resume` dispatches them."""
        left = (each for each in self.items if is_left(each) and not is_refusal(each.error))
        return any(each.verdict is not Verdict.UNKNOWN for each in left)

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code."""
        codes = {*self.causes, *map(self._code_of, self._deciding)}
        if self.is_stopped:
            return worst_of(self.causes)
        if self.fails_on_flaky and self.summary.flaky:
            codes.add(ExitCode.FAILED)
        code = worst_of(codes)
        return ExitCode.USAGE if code is ExitCode.PASSED and not self.is_reported else code

    @property
    def changes(self) -> list[Trend]:
        """The newly failing and newly flaky features, worst first; none without history."""
        return news_of(self.items, self.history)

    @property
    def news(self) -> list[str]:
        """The same in lines, which come before all else that is said of the outcome."""
        lines: list[str] = []
        for change in NEWS:
            found = [each for each in self.changes if each.change == change]
            named = [f"  {escape(each.name)}: {each.new_since()}" for each in found[:MOST_NEWS]]
            more = [f"  and {len(found) - MOST_NEWS:,} more"] if len(found) > MOST_NEWS else []
            lines += [f"{change.capitalize()}:", *named, *more] if found else []
        return lines

    @property
    def _deciding(self) -> Sequence[BatchItem[Snapshot]]:
        """The items that decide the exit code."""
        return self.items if self.spec.repeat == 1 else deciding(self.items)

    def _code_of(self, item: BatchItem[Snapshot]) -> ExitCode:
        """Return the exit code that an item calls for."""
        if item.is_unseen:
            return ExitCode.UNREACHABLE
        match item.verdict:
            case Verdict.SUCCEEDED | Verdict.QUARANTINED:
                return ExitCode.PASSED
            case Verdict.FAILED:
                return ExitCode.FAILED
            case Verdict.SKIPPED | Verdict.WAITING:
                return ExitCode.IN_FLIGHT
            case Verdict.IN_FLIGHT if item.error is None:
                return ExitCode.IN_FLIGHT if self.is_waited_for else ExitCode.PASSED
            case Verdict.IN_FLIGHT | Verdict.ERROR | Verdict.UNKNOWN:
                # A revoked key is refused, though the operation is still running.
                # So is an outcome that can't be understood no failure.
                return exit_code_of(item.error) if item.error else ExitCode.UNREACHABLE

    @property
    def failures_that_stopped(self) -> int | None:
        """Number of failures that reached `max_failures`; None if they stopped nothing."""
        bad, most = sum(item.is_bad for item in self.items), self.spec.max_failures
        return bad if most is not None and bad >= most and self.summary.skipped else None

    @property
    def rate_limit(self) -> errors.RateLimitedError | None:
        """The rate limit that kept features from being dispatched; None if none did."""
        return self.refusal if self.summary.skipped else None

    @property
    def counts(self) -> str:
        """The numbers of items by result, such as `18 passed, 2 failed`."""
        why, stopped = "", self.failures_that_stopped
        if stopped is not None:
            why = f"; stopped after {counted(stopped, 'failure')}"
        elif self.rate_limit is not None:
            why = f"; the service was rate-limiting: {escape(self.rate_limit.brief)}"
        elif self.failure is not None and self.summary.skipped == len(self.items):
            why = f"; nothing was sent to {self.failure}"
        elif self.fails_on_flaky and self.summary.flaky:
            why = "; red by --fail-on-flaky"
        return counts_of(self.items) + why

    @property
    def numbers(self) -> dict[str, int]:
        """The same for programs: each item has one verdict, in the words of the counts."""
        numbers, words = self.summary.to_dict(), Counter(map(verdict_of, self.items))
        unseen, limited = words[UNSEEN], words[LIMITED]
        return {
            **numbers,
            "inFlight": numbers["inFlight"] - unseen,
            "notSeen": unseen,
            "errors": numbers["errors"] - limited,
            "stoppedAtLimit": limited,
        }

    @property
    def line(self) -> str:
        """All of it in a line, such as `Batch 12: 20 in 1:35: 18 passed, 2 failed`."""
        took = f" in {duration(self.seconds)}" if self.seconds else ""
        line = f"{len(self.items)}{took}: {self.counts}"
        if self.number is None:
            return line
        return f"Batch {self.number}: {line if took else self.counts}"

    @property
    def steps(self) -> list[Step]:
        """The commands that may follow, in the order in which a person would type them."""
        if self.place is None:
            return []
        ends = *self._steps_of_refusals(), *self._steps_of_failures(), *self._further_attempt()
        return [*ends, *self._pending_steps()]

    def _steps_of_refusals(self) -> Iterator[Step]:
        for kind, (aim, words) in _REMEDIES.items():
            refused = [each for each in self.items if type(each.error) is kind]
            if refused:
                names = dict.fromkeys(str(each.feature) for each in refused)
                yield Step(aim, [self._command(*words, features=list(names))])

    def _steps_of_failures(self) -> Iterator[Step]:
        if self.is_stopped:
            return
        failed = [item for item in self.items if item.verdict is Verdict.FAILED]
        if runs := [str(each.outcome.run_id) for each in failed if isinstance(each.outcome, Run)]:
            which = "it" if len(runs) == 1 else "the first failure"
            yield Step(f"diagnose {which}", [self._command("runs", "diagnose", runs[0])])
        elif failed:
            feature = str(failed[0].feature)
            yield Step("read why", [self._command("generation", "show", features=[feature])])
            names = [str(item.feature) for item in failed]
            again = self._command("generate", "--watch", features=names)
            yield Step("generate what failed again, which costs credits", [again])

    def _further_attempt(self) -> Iterator[Step]:
        has_failures = any(isinstance(e.outcome, Run) and has_failed(e) for e in self.items)
        if has_failures and self.number and self.spec.repeat == 1:  # A repetition has no attempts.
            again = self._command("run", "--failed", str(self.number))
            yield Step("rerun what failed", [again], is_pending=self.is_stopped)

    def _pending_steps(self) -> Iterator[Step]:
        unknown = [
            each for each in self.items if isinstance(each.error, errors.DispatchUnknownError)
        ]
        if unknown:
            checks = [*dict.fromkeys(map(self.check_command, unknown))]
            yield Step("check whether it started", checks, is_pending=True)
            if resume := self.resume:
                # A person names only a run by its id.
                adopt = ["adopt ID"] if self.spec.kind == "run" else []
                decisions = ["resend", *adopt, "drop"]
                commands = [f"{resume} --unknown {each}" for each in decisions]
                yield Step("settle what is unknown", commands, is_pending=True)
        refs = [item.ref for item in self.unfinished if item.ref is not None]
        if self.resume is not None and (refs or self.is_left):
            rest = "dispatch the rest" if self.failures_that_stopped else "resume the batch"
            yield Step(f"{rest}, on this machine", [self.resume], is_pending=True)
        if refs:
            which = "it" if len(refs) == 1 else "them"
            where = "only wait, on any machine" if self.resume else f"wait for {which}"
            yield Step(where, [wait_command(refs, self.place or ())], is_pending=True)

    @property
    def resume(self) -> str | None:
        """The command that resumes the batch; None if it is not kept, or still running."""
        if not self.is_resumable or self.place is None:
            return None
        return self._command("resume", str(self.number))

    def check_command(self, item: BatchItem[Snapshot]) -> str:
        """Return the command that shows whether the unknown dispatch of an item took effect."""
        feature = str(item.feature)
        match self.spec.kind:
            case "generation":
                return self._command("generation", "show", features=[feature])
            case "run":  # With a sign, no name is read as an option.
                return self._command("runs", "list", f"--feature={feature}")

    def _command(self, *words: str, features: Sequence[str] = ()) -> str:
        """Return a command for the same service; no name of a feature is read as an option."""
        ends = ["--"] if any(name.startswith("-") for name in features) else []
        return command(*words, *(self.place or ()), *ends, *features)

    @property
    def document(self) -> dict[str, Any]:
        """All of it as the document that `--json` prints."""
        stopped, news = self.failures_that_stopped, self.changes
        return {
            "exitCode": int(self.exit_code),
            "seconds": round(self.seconds, 3),
            "batch": self.number,
            "kind": self.spec.kind,
            **({} if stopped is None else {"stoppedAfterFailures": stopped}),
            **({} if self.rate_limit is None else {"rateLimit": self.rate_limit}),
            **({"changes": [each.to_news() for each in news]} if news else {}),
            **({} if self.spec.repeat == 1 else {"stability": stability_of(self.items)}),
            "summary": self.numbers,
            "items": [self._item_document(item) for item in self.items],
            "next": [{"aim": each.aim, "commands": each.commands} for each in self.steps],
        }

    def _item_document(self, item: BatchItem[Snapshot]) -> dict[str, Any]:
        """Return what `--json` prints of an item."""
        document: dict[str, Any] = dict.fromkeys(("config", "ref", "outcome", "error"))
        document |= {"runs": []} | item.to_dict()
        document |= {"feature": item.feature_name, "verdict": verdict_of(item)}
        if isinstance(item.error, errors.WaitTimeoutError) and item.is_unseen:
            document["lastSeenUtc"] = item.error.last_seen_at
        if isinstance(item.error, errors.DispatchUnknownError):
            document["check"] = self.check_command(item)
        return document


_REMEDIES: dict[type[errors.VibeError], tuple[str, tuple[str, ...]]] = {
    errors.FeatureNotGeneratedError: ("generate what has no tests", ("generate",)),
    errors.GenerationInProgressError: (
        "join that generation",
        ("generate", "--on-conflict", "attach"),
    ),
}
"""The aim that may help with a refusal, and the command that does it to features."""


def has_failed(item: BatchItem[Snapshot]) -> bool:
    """Return whether a further attempt may help an item: its run failed, or was not started.

    Excused failures are none. An expired quarantine and an unexpected pass make a batch red, but no
    run that passed is run again for them.
    """
    if item.outcome is not None:
        return item.verdict is Verdict.FAILED and item.outcome.is_failure
    return item.is_bad and item.verdict is not Verdict.UNKNOWN and item.ref is None


def is_left(item: BatchItem[Snapshot]) -> bool:
    """Return whether `resume` may dispatch an item's operation, a refused or unknown one too."""
    return item.ref is None and item.outcome is None and not item.is_dropped


def wait_command(refs: Sequence[Ref], options: Sequence[str] = ()) -> str:
    """Return the command that waits for operations.

    Runs of one project are named by their ids, all else by their refs.

    Args:
        refs: The operations, at least one.
        options: The options of the present command that name the service.
    """
    runs = [str(ref.run_id) for ref in refs if isinstance(ref, RunRef)]
    if len(runs) == len(refs) and len({(ref.server, ref.project) for ref in refs}) == 1:
        words = [*runs, "--project", refs[0].project]
    else:
        words = [ref.to_json() for ref in refs]
    allowed = [each for each in options if each == "--allow-http"]
    return command("wait", *words, "--server", refs[0].server, *allowed)
