"""The result of a command that dispatched operations, as one value, and the next commands.

A `Result` is pure: from the items of a batch to counts, to a JSON document, and to one exit code.
Where several things went wrong, the code is of the first kind that is there: a defect (70), the
service could not be reached (5), it refused (3), the request is not possible (2), operations are
or were not started (4), something is over and did not pass (1). So 1 says that all is known, and 0
that all passed. Each command is whole: it needs nothing of the folder and the variables that it is
typed in, except the key.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from testvibe_async import BatchSummary, DispatchUnknownError, Verdict, WaitTimeoutError
from testvibe_async.batch import is_refusal
from testvibe_async.cli.batches import resume_command
from testvibe_async.cli.exits import ExitCode, exit_code_of, worst_of
from testvibe_async.cli.options import Files
from testvibe_async.cli.words import NAME, Item, item_name, reason
from testvibe_async.runner.generation_limit import LIMITED
from testvibe_async.runner.kept import after_rerun, has_failed
from testvibe_async.runner.kinds import POLICIES
from testvibe_async.runner.outcome import (
    UNSEEN,
    counted,
    counts_of,
    duration,
    seconds_of,
    verdict_of,
)
from testvibe_async.runner.quarantine import Quarantine
from testvibe_async.runner.spec import BatchSpec
from testvibe_async.runner.stability import deciding, stability_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testvibe_async import GenerationLog, RateLimitedError
    from testvibe_async.runner.kept import KeptBatch


@frozen(kw_only=True)
class Result:
    """The results of all operations that a command was to dispatch."""

    items: Sequence[Item]
    """One for each operation."""

    seconds: float
    """Duration in seconds; 0 if unknown."""

    is_waited_for: bool = True
    """True if the command waited; otherwise operations in flight do not affect the exit code."""

    place: Sequence[str] = ()
    """The options that name the service and the project, for commands that are suggested."""

    is_service_kept: bool = True
    """False if the service ends with the command, so that no other command can ask it."""

    stopped_by: ExitCode | None = None
    """The exit code for the signal that stopped the command; None if none did."""

    batch: int | None = None
    """The number of the batch; None if it is not kept."""

    spec: BatchSpec = field(factory=lambda: BatchSpec(kind="run"))
    """The description of the batch; the defaults without one."""

    fails_on_flaky: bool = False
    """True if a flaky feature counts as failed for the exit code."""

    is_reported: bool = True
    """False if a report could not be written."""

    is_kept: bool = True
    """False if the ledger lacks results, as on a full disk."""

    refusal: RateLimitedError | None = None
    """The rate limit that the last dispatch met; None if the dispatch was accepted."""

    failure: str | None = None
    """The service, and why its last request failed; None if the service answered."""

    parent: Result | None = None
    """The batch whose failures this runs again, as it was before; None without one."""

    left: int | None = None
    """The number of the batch to resume, where that is a rerun of this one."""

    stored: KeptBatch | None = None
    """The batch as it was read; None for one of this command, or other operations."""

    left_out: Mapping[str, str] = field(factory=dict[str, str])
    """The features that were left out for want of tests, each with the reason; for reports."""

    logs: Mapping[str, GenerationLog] = field(factory=dict["str", "GenerationLog"])
    """The logs of generations that failed, by request id, where they could be read."""

    @property
    def summary(self) -> BatchSummary:
        """The numbers of items by verdict."""
        return BatchSummary.of(self.items)

    @property
    def unfinished(self) -> list[Item]:
        """Items that a later command can wait for: still running, or with an unobserved outcome."""
        return [item for item in self.items if item.is_unfinished]

    @property
    def is_left(self) -> bool:
        """True if features were not dispatched, and `resume` dispatches them."""
        items = (item for item in self.items if item.verdict is not Verdict.UNKNOWN)
        return any(map(is_left, items))

    @property
    def rate_limit(self) -> RateLimitedError | None:
        """The rate limit that kept features from being dispatched; None if none did."""
        return self.refusal if self.summary.skipped else None

    @property
    def resume(self) -> str | None:
        """The command that resumes the batch; None if it is not kept, or still running."""
        number = self.left or self.batch
        is_running = self.stored is not None and self.stored.is_running
        return None if number is None or is_running else resume_command(number, self.place)

    @property
    def rerun(self) -> str | None:
        """The command that reruns the failures; None without one, or if it is not kept."""
        if self.batch is None or not any(map(has_failed, self.items)):
            return None
        return shlex.join([NAME, "run", "--failed", str(self.batch), "--wait", *self.place])

    @property
    def failures_that_stopped(self) -> int | None:
        """Number of failures that reached `max_failures`; None if they stopped nothing."""
        bad = sum(item.is_bad for item in self.items)
        most = self.spec.max_failures
        is_stopped = most is not None and bad >= most
        return bad if is_stopped and self.summary.skipped else None

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code; of a rerun, that of the batch after it."""
        if self.stopped_by is not None:
            return self.stopped_by
        codes = {*map(self._exit_code, self._deciding)}
        if self.stored is not None and not self.stored.is_complete:
            codes.add(ExitCode.IN_FLIGHT)
        if self.fails_on_flaky and self.summary.flaky:
            codes.add(ExitCode.FAILED)
        if not self.is_kept:
            codes.add(ExitCode.USAGE)
        if self.parent is not None:
            codes.add(self.whole.exit_code)
        code = worst_of(codes)
        return ExitCode.USAGE if code is ExitCode.PASSED and not self.is_reported else code

    @property
    def whole(self) -> Result:
        """The batch that this reruns, after it, as `report` shows it; itself if it reruns none."""
        if self.parent is None:
            return self
        items = after_rerun(self.parent.items, self.items)
        return evolve(self.parent, items=items, logs=self.logs)

    @property
    def still_red(self) -> str:
        """The reason why it stays red whatever is rerun, in a sentence; empty if it does not."""
        why = [
            f"{item_name(item)}: {item.quarantine}"
            for item in self._deciding
            if item.verdict is Verdict.FAILED and not has_failed(item)
        ]
        if self.fails_on_flaky and self.summary.flaky:
            why.append(f"{self.summary.flaky} flaky, with --fail-on-flaky")
        return f"It is still red: {'; '.join(why)}" if why else ""

    @property
    def _deciding(self) -> Sequence[Item]:
        """The items that decide the exit code."""
        return self.items if self.spec.repeat == 1 else deciding(self.items)

    def _exit_code(self, item: Item) -> ExitCode:
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
    def counts(self) -> str:
        """The numbers of items by result, such as `18 passed, 2 failed`."""
        why, stopped = "", self.failures_that_stopped
        if stopped is not None:
            why = f"; stopped after {counted(stopped, 'failure')}"
        elif self.rate_limit is not None:
            why = f"; the service was rate-limiting: {reason(self.rate_limit)}"
        elif self.failure is not None and self.summary.skipped == len(self.items):
            why = f"; nothing was sent to {self.failure}"
        return counts_of(self.items) + why

    @property
    def last_line(self) -> str:
        """All of it in a line, such as `Batch 12: 20 in 1:35: 18 passed, 2 failed`."""
        took = f" in {duration(self.seconds)}" if self.seconds else ""
        line = f"{len(self.items)}{took}: {self.counts}"
        if self.batch is None:
            return line
        return f"Batch {self.batch}: {line if took else self.counts}"

    @property
    def document(self) -> dict[str, Any]:
        """All of it as the document that `--json` prints."""
        stopped, numbers = self.failures_that_stopped, self.summary.to_dict()
        words = Counter(map(verdict_of, self.items))
        unseen, limited = words[UNSEEN], words[LIMITED]
        return {
            "exitCode": int(self.exit_code),
            "seconds": round(self.seconds, 3),
            "batch": self.batch,
            "kind": self.spec.kind,
            **({} if stopped is None else {"stoppedAfterFailures": stopped}),
            **({} if self.rate_limit is None else {"rateLimit": self.rate_limit}),
            **({} if self.spec.repeat == 1 else {"stability": stability_of(self.items)}),
            # As in the counts for people, these are not among the others of their verdict.
            "summary": {
                **numbers,
                "inFlight": numbers["inFlight"] - unseen,
                "notSeen": unseen,
                "errors": numbers["errors"] - limited,
                "stoppedAtLimit": limited,
            },
            "items": [self._item_document(item) for item in self.items],
        }

    def check_command(self, item: Item) -> str:
        """Return the command that shows whether the unknown dispatch of an item took effect."""
        shown_by = POLICIES[self.spec.kind].shown_by
        return shlex.join([NAME, *shown_by, str(item.feature), *self.place])

    def _item_document(self, item: Item) -> dict[str, Any]:
        """Return what `--json` prints of an item."""
        document: dict[str, Any] = dict.fromkeys(("config", "ref", "outcome", "error"))
        document |= {"runs": []} | item.to_dict()
        document |= {"feature": item.feature_name, "verdict": verdict_of(item)}
        if isinstance(item.error, WaitTimeoutError) and item.is_unseen:
            document["lastSeenUtc"] = item.error.last_seen_at
        if isinstance(item.error, DispatchUnknownError):
            document["check"] = self.check_command(item)
        return document


def is_left(item: Item) -> bool:
    """Return whether `resume` may dispatch an item's operation, unknown ones included."""
    is_over = item.ref is not None or item.outcome is not None or item.is_dropped
    return not is_over and not is_refusal(item.error)


def result_of(batch: KeptBatch, place: Sequence[str], files: Files = Files()) -> Result:
    """Return the stored result of a batch, without asking the service."""
    if not batch.is_judged:
        batch = batch.judged(Quarantine.read())
    return Result(
        items=batch.items,
        seconds=seconds_of(batch.items),
        place=place,
        batch=batch.number,
        spec=batch.spec,
        fails_on_flaky=files.fail_on_flaky or batch.fails_on_flaky,
        stored=batch,
        left_out=batch.stored.left_out,
        left=batch.unfinished,
    )
