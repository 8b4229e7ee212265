"""The walk over the routes: each call that reads, and one run if asked to.

Decides which call of the client follows from what was seen, and where there is no use in asking on.
One failure does not end the others: only in an outage, or where the service is another or refuses
the key, nothing more is asked. What an answer means is decided in `findings`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from attrs import Factory, define

from testvibe_async import ConfigError, VibeError, errors
from testvibe_async._core.util import escape
from testvibe_async._core.wire import RUN
from testvibe_async.cli.doctor import findings
from testvibe_async.cli.doctor.exchanges import DEFAULT_FILE, Exchange, Tap
from testvibe_async.cli.text import reason
from testvibe_async.runner.codes import ExitCode, exit_code_of, worst_of
from testvibe_async.runner.names import chosen_project

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from testvibe_async import Client, Listing, Project, ProjectInfo
    from testvibe_async._core.config import Settings


T = TypeVar("T")

Judge: TypeAlias = "Callable[[Any, Sequence[Exchange]], Iterable[findings.Finding]]"

NO_RUN = 2**31 - 1
"""The id of a run that no service has."""

LONGEST = 600.0
"""Seconds for which a run is watched: it takes about 30."""

_UNKNOWN = {
    "run": "no run is known: --run FEATURE makes one",
    "feature": "no feature is known: --run FEATURE names one",
}
"""The reasons why the checks that read a thing can't be made."""


_PARTS = {
    "diagnose_run": "diagnosis",
    "get_run_artifacts": "list of artifacts",
    "get_generation_status": "generation",
    "get_generation_log": "log",
}
"""Resources that a run or a feature may lack: their absence is no difference."""


class StopError(Exception):
    """Further checks are pointless; the message is the reason."""


@define(eq=False)
class Examination:
    """All checks of one service, and their findings."""

    client: Client
    settings: Settings
    to_run: str | None = None
    """The feature to run; None for no run."""

    tap: Tap = Factory(Tap)
    found: list[findings.Finding] = Factory(list["findings.Finding"])
    project_name: str | None = None
    codes: set[ExitCode] = Factory(set[ExitCode])
    """The exit codes that apply, except that of differences."""

    _read: dict[str, Any] = Factory(dict[str, Any])
    """The values of the checks, by their names."""

    _dispatched: int | None = None
    """The run that was dispatched."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        is_worse = any(finding.has_consequences for finding in self.found)
        return worst_of([*self.codes, ExitCode.FAILED if is_worse else ExitCode.PASSED])

    async def perform(self) -> None:
        """Perform all possible checks; the first Ctrl-C ends them, and the findings remain."""
        self.tap.listen_to(self.client)
        try:
            await self._read_all(await self._contact())
        except StopError as stop:
            self._stop(str(stop))
        except VibeError as error:  # See `_ask`.
            says = "it stopped answering" if self.found else "it does not answer"
            means = "check the address, the network and a proxy on the way, or try again later"
            outage = findings.Finding(
                "service", says, means, quoted=reason(error), verdict="outage"
            )
            self.found.append(outage)
            self.codes.add(ExitCode.UNREACHABLE)
            self._stop("not asked in an outage")
        except asyncio.CancelledError:
            self.codes.add(ExitCode.INTERRUPTED)
            self._stop("stopped by Ctrl-C, which stops nothing at the service")

    def _stop(self, why: str) -> None:
        """Note why the other checks are not made."""
        seen = {"list_projects", *(finding.subject for finding in self.found)}
        self.found += [
            findings.unchecked(name, why) for name in findings.CHECKS if name not in seen
        ]

    async def _ask(
        self,
        name: str,
        call: Awaitable[T],
        judge: Judge | None = findings.about_answers,
        *,
        absent: str = "",
    ) -> T | None:
        """Await a call of the client, describe its exchanges, and return its value.

        Args:
            name: What the call is for.
            call: The call.
            judge: Describes its exchanges; None to say nothing of them.
            absent: What is not there if the service says so; empty if that is a difference.

        Raises:
            VibeError: An outage: no answer came, and none to the list of projects either.
        """
        before, value = len(self.tap.exchanges), None
        try:
            value = await call
        except VibeError as error:
            exchanges = self.tap.exchanges[before:]
            is_lost = not exchanges or _is_failure(error)
            is_outage = await self._is_outage(error) if self.found else is_lost
            if is_outage:
                raise
            if is_lost:
                self.codes.add(exit_code_of(error))
                self.found.append(findings.unchecked(name, "no result came", quoted=reason(error)))
                return None
        else:
            exchanges = self.tap.exchanges[before:]
        refusal = exchanges[-1].error
        refused = errors.NotFoundError, errors.ConflictError
        if absent and isinstance(refusal, refused) and refusal.code is not None:
            self.found.append(findings.unchecked(name, f"there is no such {absent}"))
        elif judge is not None:
            self.found += judge(value, exchanges)
        return value

    async def _is_outage(self, error: VibeError) -> bool:
        """Return whether a call failed, and the list of projects, which answered before, fails."""
        try:
            if not _is_refusal(error):
                await self.client.list_projects()
        except VibeError as second:
            return not _is_refusal(second)
        return False

    async def _contact(self) -> Project:
        """List the projects, and choose one.

        Raises:
            StopError: It is not the service, it refuses the key, or there is no project.
        """
        projects = await self._ask("list_projects", self.client.list_projects(), None)
        exchange = self.tap.exchanges[-1]
        if (error := exchange.error) is not None and (obstacle := findings.about_obstacle(error)):
            self.found.append(obstacle)
            self.codes.add(exit_code_of(error))
            raise StopError(f"the {obstacle.subject} has to be right first")
        self.found += findings.about_way(self.settings.server, exchange)
        self.found += findings.about_answers(projects, self.tap.exchanges)
        return self._choose(projects)

    def _choose(self, projects: Listing[ProjectInfo] | None) -> Project:
        """Choose the project to read: the one in force, else the first that the key sees.

        Raises:
            StopError: No project is known, or the one in force is not there.
        """
        wanted = self.settings.project
        if wanted is None and not projects:
            raise StopError("no project is known")
        if not projects or (wanted is not None and not projects.is_complete):
            return self.client.project(wanted)
        try:
            chosen = projects[0] if wanted is None else chosen_project(wanted, projects)
        except ConfigError as error:
            means = "commands that need it are refused: testvibe-async use chooses another"
            says = "the key does not see the one in force"
            self.found.append(findings.differs("project", says, means, quoted=reason(error)))
            raise StopError("there is no such project") from error
        self.project_name = chosen.name
        return self.client.project(chosen.id)

    async def _read_all(self, project: Project) -> None:
        """Make each check, by the client's method of its name; run in between."""
        await self._ask("get_project", self.client.get_project(project.id))
        for name, (of, _) in [*findings.CHECKS.items()][2:]:
            if name == "list_runs" and self.to_run is not None:
                await self._run(project, self.to_run)
            thing, is_listed = self._thing(of)
            if thing is None:
                self.found.append(findings.unchecked(name, _UNKNOWN[of]))
                continue
            absent = _PARTS.get(name, "" if is_listed else of)
            call = getattr(project, name)(*filter(None, [thing]))
            self._read[name] = await self._ask(name, call, absent=absent)
        if (runs := self._read["list_runs"]) is not None:
            judge = partial(findings.about_runs, runs)
            await self._ask("list_runs", project.list_runs(limit=1), judge)
        await self._ask("get_run", project.get_run(NO_RUN), findings.about_errors)

    def _thing(self, of: str) -> tuple[Any, bool]:
        """Return what a check reads, and whether the service named it; None if none is known."""
        if of == "run":
            # A failed one says most.
            runs = sorted(self._read["list_runs"] or (), key=lambda run: run.is_failure)
            return self._dispatched or next((run.run_id for run in runs[-1:]), None), True
        if of == "feature":
            features = self._read["list_features"] or ()
            if features:
                return next((each for each in features if each.has_tests), features[0]).id, True
            of_run = getattr(self._read.get("get_run"), "feature_id", None)
            return self.to_run or of_run, False
        if of == "file":
            paths = [row.path for row in self._read["list_files"] or ()]
            path = DEFAULT_FILE if DEFAULT_FILE in paths or not paths else paths[0]
            return path, path in paths
        return "", True

    async def _run(self, project: Project, feature: str) -> None:
        """Dispatch a run, once, and watch it to its end."""
        name = RUN.dispatched_by.name
        look = partial(project.list_runs, feature=feature)
        # What a lost dispatch is looked for in is recorded right before, and right after.
        await self._ask("list_runs", look(), None)
        try:
            run = await project.run_feature(feature)
        except VibeError as error:
            says = getattr(error, "fact", "it did not start")
            if isinstance(error, errors.OutcomeUnknownError):
                says = f"one may have begun: look at {RUN.shown_by}"
            self.codes.add(exit_code_of(error))
            self.found.append(findings.unchecked(name, says, quoted=reason(error)))
            return
        self._dispatched = run.run_id
        exchanges = (each for each in self.tap.exchanges if each.name == name)
        if answers := [each for each in exchanges if each.error is None]:
            self.found += findings.about_answers(None, answers)
        else:
            says = "its answer was lost, and what it started was found by a poll"
            self.found.append(findings.unchecked(name, says))
        await self._ask("list_runs", look(), None)
        outcome = await self._ask(RUN.name, run.wait(timeout=LONGEST), None)
        if outcome is not None:
            quoted = f"{run.ref}: {outcome.status}"
            self.found.append(findings.holds(RUN.name, "seen to its end", quoted=escape(quoted)))


def _is_failure(error: VibeError) -> bool:
    """Return whether a call got no answer, or one that says nothing of the contract."""
    is_failed = isinstance(error, errors.ServerError | errors.RateLimitedError)
    return is_failed or not isinstance(error, errors.ResponseError)


def _is_refusal(error: VibeError) -> bool:
    """Return whether an error is the service's own: anything else may be an outage."""
    return (
        isinstance(error, errors.ResponseError) and error.is_from_service and not _is_failure(error)
    )
