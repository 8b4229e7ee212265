"""One run, dispatched once and watched to its end.

It decides how long it is watched, and what is said of what was seen. Each answer is kept, so that
the digest of a running run and that of a finished one are both held against the contract.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import Factory, define

from testvibe_async import ConflictError, NotFoundError, Run, VibeError
from testvibe_async._wire import Endpoints
from testvibe_async.cli.doctor.answers import judge
from testvibe_async.cli.doctor.findings import differs, holds, unchecked
from testvibe_async.cli.doctor.judging import findings_of
from testvibe_async.cli.words import duration, plural, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testvibe_async.cli.doctor.answers import Answer
    from testvibe_async.cli.doctor.asking import Asker
    from testvibe_async.cli.doctor.findings import Finding

__all__ = ["WatchedRun"]

INTERVAL = 3.0
"""Seconds between two polls."""

LONGEST = 600.0
"""Seconds for which a run is watched; one takes about 30."""

MAX_LAG = 10.0
"""Seconds after the dispatch for which the run need not be there yet."""

MAX_UNDECIDED = 3
"""How many polls in a row may show a status that nobody knows, and no end."""

MAX_FAILED = 3
"""How many polls in a row may fail."""


@define(eq=False)
class WatchedRun:
    """A run of one feature, from its dispatch on."""

    asker: Asker
    project: str
    feature: str
    dispatched: Answer | None = None
    """The answer to the dispatch; None where none came."""

    running: Answer | None = None
    """The last digest before the end."""

    finished: Answer | None = None
    """The digest at the end."""

    error: VibeError | None = None
    """Why nothing more was seen."""

    polls: int = 0
    changes: list[str] = Factory(list[str])
    """The phases that were seen, one after the other, and at the end the status."""

    lag: float = 0.0
    """Seconds until the run was there."""

    seconds: float = 0.0
    """Seconds from the dispatch to the last poll."""

    @property
    def run_id(self) -> int | None:
        """The run's id; None where it is not known."""
        if self.dispatched is None or self.dispatched.error is not None:
            return None
        run_id: int = self.dispatched.value.run_id
        return run_id

    @property
    def failure(self) -> VibeError | None:
        """What ended it: a refusal of the dispatch, or what hid the run; None where nothing did."""
        refused = None if self.dispatched is None else self.dispatched.error
        return self.error or refused

    async def watch(self) -> None:
        """Dispatch it, and poll it until it is over, or can't be seen."""
        try:
            self.dispatched = judge(
                *await self.asker.dispatch_run(project=self.project, feature=self.feature)
            )
            if self.run_id is not None:
                await self._poll(self.run_id)
        except VibeError as error:
            self.error = error

    async def _poll(self, run_id: int) -> None:
        loop = asyncio.get_running_loop()
        began, undecided, failed = loop.time(), 0, 0
        while self.seconds < LONGEST:
            answer = None
            try:
                answer = judge(
                    *await self.asker.read(
                        Endpoints.GET_RUN.request(project=self.project, run=run_id)
                    )
                )
                error: VibeError | None = answer.error
            except VibeError as lost:
                error = lost
            self.polls += 1
            self.seconds = loop.time() - began
            if answer is not None and error is None:
                self._see(answer)
                failed = 0
                if self.finished is not None:
                    return
                undecided = undecided + 1 if answer.value.status != "running" else 0
            elif isinstance(error, NotFoundError) and self.seconds < MAX_LAG and not self.changes:
                self.lag = self.seconds + INTERVAL
            else:
                failed += 1
            if undecided == MAX_UNDECIDED or failed == MAX_FAILED:
                self.error = error
                return
            await asyncio.sleep(INTERVAL)

    def _see(self, answer: Answer) -> None:
        run: Run = answer.value
        word = run.status if run.is_finished else run.phase.value
        if self.changes[-1:] != [word]:
            self.changes.append(word)
        if run.is_finished:
            self.finished = answer
        else:
            self.running = answer

    def findings(self) -> Iterator[Finding]:
        """Say how the dispatch and the run went."""
        yield from self._of_dispatch()
        if self.run_id is None:
            return
        if self.finished is None:
            yield self._of_no_end()
            return
        says = (
            f"seen to its end: {', '.join(self.changes_shown)}; {plural(self.polls, 'poll')} in "
            f"{duration(self.seconds)}"
        )
        yield holds("run", says, quoted=f"run {self.run_id}")
        if self.lag:
            says = f"not there for the first {duration(self.lag)} after its dispatch"
            means = f"waited for: 404 is taken for that within {duration(MAX_LAG)}"
            yield differs("run", says, means=means, is_harmless=True)

    @property
    def changes_shown(self) -> list[str]:
        """The phases as they may be shown: only words of the contract, or what looks like one."""
        if self.finished is None:
            return self.changes
        return [*self.changes[:-1], *self.finished.shape.members["status"].words]

    def _of_dispatch(self) -> Iterator[Finding]:
        if self.dispatched is None:
            means = "a run may have begun: testvibe-async runs list shows it"
            quoted = "" if self.error is None else reason(self.error)
            yield differs("run_feature", "no answer to the dispatch", means=means, quoted=quoted)
            return
        error, status = self.dispatched.error, self.dispatched.response.status
        if isinstance(error, ConflictError | NotFoundError):
            why = "it has no tests to run" if status == 409 else "there is no such feature"  # noqa: PLR2004
            yield unchecked("run_feature", f"{status}: {why}", quoted=reason(error))
            return
        yield from findings_of(self.dispatched)
        if error is None and status != self.dispatched.operation.status:
            says = f"answers {status}, not {self.dispatched.operation.status}"
            yield differs("run_feature", says, means="taken for the same", is_harmless=True)

    def _of_no_end(self) -> Finding:
        means = "run --wait ends with exit code 5; the run goes on at the service"
        if self.error is not None:
            says = f"can't be seen after {plural(self.polls, 'poll')}"
            return differs("run", says, means=means, quoted=reason(self.error))
        if self.running is not None and self.running.value.status != "running":
            says = "its status is a word that is not documented, and nothing says that it is over"
            means = "run --wait takes it for running until --timeout, or ends with exit code 5"
            return differs("run", says, means=means, quoted=self.running.value.status)
        return unchecked("run", f"not over after {duration(self.seconds)}; it goes on")

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON."""
        return {
            "changes": self.changes_shown,
            "polls": self.polls,
            "seconds": round(self.seconds),
            "lagSeconds": round(self.lag),
        }
