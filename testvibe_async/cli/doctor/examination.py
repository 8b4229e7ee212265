"""The checks, in their order: each call that reads, and one run or generation if asked to.

Decides which call of the client follows from what was seen, and where there is no use in asking on.
One failure does not end the others: only in an outage, or where the service is another or refuses
the key, nothing more is asked. What an answer means is decided in `judging`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, define

from testvibe_async import ConfigError, VibeError, errors
from testvibe_async._wire import GENERATION, RUN, Kind
from testvibe_async.cli.doctor import judging
from testvibe_async.cli.doctor.contract import Exchange, Tap
from testvibe_async.cli.doctor.findings import Finding, differs, holds, unchecked, varies
from testvibe_async.cli.doctor.judging import CHECKS
from testvibe_async.cli.exits import ExitCode, exit_code_of, worst_of
from testvibe_async.cli.words import plural, reason
from testvibe_async.runner.names import chosen_project

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from testvibe_async import Client, Feature, Listing, Project, ProjectInfo
    from testvibe_async._config import Settings


T = TypeVar("T")

DEFAULT_FILE = "Configurations/Default.config.js"
"""The file that the documentation names."""

NO_RUN = 2**31 - 1
"""The id of a run that no service has."""

LONGEST = {RUN: 600.0, GENERATION: 3600.0}
"""Seconds for which an operation is watched: a run takes about 30."""

_UNKNOWN = {
    "run": "no run is known: --run FEATURE makes one, --run-id ID names one",
    "feature": "no feature is known: --run FEATURE names one, and so does --run-id ID",
}
"""The reasons why the checks that read a thing can't be made."""

_NOT_STARTED = {
    errors.ConflictError: "it can't start now",
    errors.NotFoundError: "there is no such feature",
    errors.RateLimitedError: "it was rate-limited",
    errors.DispatchUnknownError: "one may have begun: runs list and generation status show it",
}
"""The reasons why nothing is watched after a failed dispatch."""


class StopError(Exception):
    """Further checks are pointless; the message is the reason."""


@define(eq=False)
class Examination:
    """All checks of one service, and their findings."""

    client: Client
    settings: Settings
    to_run: str | None = None
    """The feature to run; None for no run."""

    to_generate: str | None = None
    """The feature to generate; None for no generation."""

    run_id: int | None = None
    """The run to read; None for a run that the service lists."""

    tap: Tap = Factory(Tap)
    findings: list[Finding] = Factory(list["Finding"])
    project_name: str | None = None
    codes: set[ExitCode] = Factory(set[ExitCode])
    """The exit codes that apply, except that of differences."""

    _absent: set[str] = Factory(set[str])
    """The things that are not there, by `Check.of`."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        is_worse = any(finding.has_consequences for finding in self.findings)
        return worst_of([*self.codes, ExitCode.FAILED if is_worse else ExitCode.PASSED])

    async def perform(self) -> None:
        """Perform all possible checks; the first Ctrl-C ends them, and the findings remain."""
        self.tap.listen_to(self.client)
        why, outage = "", None
        try:
            await self._read_all(await self._contact())
        except StopError as stop:
            why = str(stop)
        except VibeError as error:  # See `_call`.
            outage = error
            self.codes.add(ExitCode.UNREACHABLE)
        except asyncio.CancelledError:
            why = "stopped by Ctrl-C, which stops nothing at the service"
            self.codes.add(ExitCode.INTERRUPTED)
        seen = {"list_projects", *(finding.subject for finding in self.findings)}
        left = {name: check.of for name, check in CHECKS.items() if name not in seen}
        if outage is not None:
            self.findings.append(judging.about_outage(outage, left if self.findings else ()))
            return
        for name, of in left.items():
            says = f"there is no such {of}" if of in self._absent else why or _UNKNOWN[of]
            self.findings.append(unchecked(name, says))

    async def _call(self, name: str, call: Awaitable[T]) -> tuple[T | None, Sequence[Exchange]]:
        """Await a call of the client; return its value and its exchanges, none without an answer.

        Raises:
            VibeError: An outage: no answer came, and none to the list of projects either.
        """
        before, value = len(self.tap.exchanges), None
        try:
            value = await call
        except VibeError as error:
            exchanges, has_answered = self.tap.exchanges[before:], bool(self.findings)
            if judging.is_lost(error, exchanges, has_answered=has_answered):
                if not has_answered or await self._is_away():
                    raise
                self.codes.add(exit_code_of(error))
                self.findings.append(unchecked(name, "no result came", quoted=reason(error)))
                return None, []
        return value, self.tap.exchanges[before:]

    async def _is_away(self) -> bool:
        """Ask for the list of projects again; return whether no answer came."""
        before = len(self.tap.exchanges)
        try:
            await self.client.list_projects()
        except VibeError as error:
            return judging.is_lost(error, self.tap.exchanges[before:])
        return False

    async def _ask(
        self,
        name: str,
        call: Awaitable[T],
        judge: Callable[[T | None, Sequence[Exchange]], Iterable[Finding]] = judging.about_answers,
    ) -> T | None:
        """Await a call of the client, and describe its exchanges."""
        value, exchanges = await self._call(name, call)
        if exchanges:
            self.findings += judge(value, exchanges)
        return value

    async def _check_all(
        self, of: str, thing: object, project: Project, *, is_listed: bool
    ) -> None:
        """Make each check that reads one thing, by the client's method of its name."""
        for name in [name for name, check in CHECKS.items() if check.of == of and thing]:
            value, exchanges = await self._call(name, getattr(project, name)(thing))
            if exchanges and exchanges[-1].is_not_there and not is_listed:
                self._absent.add(of)
                return
            self.findings += judging.about_answers(value, exchanges)

    async def _contact(self) -> Project:
        """List the projects, and choose one.

        Raises:
            StopError: It is not the service, it refuses the key, or there is no project.
        """
        projects, exchanges = await self._call("list_projects", self.client.list_projects())
        last = exchanges[-1]
        obstacle = judging.about_obstacle(last)
        if obstacle is not None and last.error is not None:
            self.findings.append(obstacle)
            self.codes.add(exit_code_of(last.error))
            raise StopError(f"the {obstacle.subject} has to be right first")
        self.findings += judging.about_way(self.settings, last)
        self.findings += judging.about_answers(projects, exchanges)
        return await self._choose(projects)

    async def _choose(self, projects: Listing[ProjectInfo] | None) -> Project:
        """Choose the project to read: the one in force, else the first that the key sees.

        Raises:
            StopError: No project is known, or a route that is documented is not there in it.
        """
        wanted, found = self.settings.project, None
        if wanted is not None and projects is not None:
            try:
                found = chosen_project(wanted, projects)
            except ConfigError as error:
                says = "the key does not see the one in force"
                means = "commands that need it are refused: testvibe-async use chooses another"
                self.findings.append(differs("project", says, means, quoted=reason(error)))
            else:
                self.findings.append(holds("project", "the one in force is one of the key's"))
        elif wanted is None and projects:
            found = projects[0]
            says = "none is in force, and the first one is read here"
            self.findings.append(varies("project", says, "testvibe-async use chooses one"))
        if found is not None:
            self.project_name, wanted = found.name, found.id
        if wanted is None:
            raise StopError("no project is known")
        project = self.client.project(wanted)
        if found is None and projects is not None:
            # A 404 of the project would be taken for that of a missing route.
            _, exchanges = await self._call("list_features", project.list_features())
            if exchanges and exchanges[-1].is_not_there:
                raise StopError("there is no such project")
        return project

    async def _read_all(self, project: Project) -> None:
        """Read all that the project has, and run or generate a feature if asked to."""
        await self._ask("get_project", self.client.get_project(project.id))
        features = await self._ask("list_features", project.list_features()) or ()
        run = None
        if (feature := self.to_run) is not None:
            # What a lost dispatch is looked for in: the list right before, and right after.
            await self._call("list_runs", project.list_runs(feature=feature))
            run = await self._dispatch(RUN, project.run_feature(feature))
            await self._call("list_runs", project.list_runs(feature=feature))
            await self._watch(RUN, run)
        if (feature := self.to_generate) is not None:
            await self._call("get_generation_status", project.get_generation_status(feature))
            generation = await self._dispatch(GENERATION, project.generate_feature(feature))
            await self._watch(GENERATION, generation)
        of_run = await self._read_runs(project, None if run is None else run.run_id)
        await self._read_feature(project, features, of_run)
        files = await self._ask("list_files", project.list_files())
        paths = [row.path for row in files or ()]
        path = DEFAULT_FILE if DEFAULT_FILE in paths or not paths else paths[0]
        await self._check_all("file", path, project, is_listed=path in paths)
        await self._ask("list_configs", project.list_configs())

    async def _dispatch(self, kind: Kind, call: Awaitable[T]) -> T | None:
        """Dispatch an operation, once, and describe the answer; None if none started."""
        operation, name = None, kind.dispatched_by.name
        try:
            operation = await call
        except VibeError as error:
            self.codes.add(exit_code_of(error))
            for each, says in _NOT_STARTED.items():
                if isinstance(error, each):
                    self.findings.append(unchecked(name, says, quoted=reason(error)))
                    return None
        if dispatched := self.tap.of(name):
            self.findings += judging.findings_of(dispatched[-1])
        elif operation is not None:
            says = "its answer was lost, and what it started was found by a poll"
            self.findings.append(unchecked(name, says))
        return operation

    async def _watch(self, kind: Kind, operation: Any) -> None:  # noqa: ANN401 - either handle
        """Poll an operation to its end, if it started, and describe the observations."""
        if operation is None:
            return
        outcome, exchanges = await self._call(kind.name, operation.wait(timeout=LONGEST[kind]))
        if outcome is not None:
            polls = [each for each in exchanges if each.name == kind.read_by.name]
            name = getattr(operation, "run_id", None) or operation.request_id
            quoted = f"{kind.name} {name}, {plural(len(polls), 'poll')}"
            self.findings += judging.about_watch(kind.name, polls, quoted)

    async def _read_runs(self, project: Project, dispatched: int | None) -> int | None:
        """Read all about runs, and one of them; return the feature that it is of."""
        runs = await self._ask("list_runs", project.list_runs())
        if runs is not None:
            judge = partial(judging.about_runs, runs=runs)
            await self._ask("list_runs", project.list_runs(limit=1), judge)
        run_id = dispatched or self.run_id
        if runs and run_id is None:
            # A failed one says most.
            run_id = max(runs, key=lambda run: (run.is_failure, run.is_finished)).run_id
        await self._check_all("run", run_id, project, is_listed=run_id != self.run_id)
        if "run" in self._absent:
            self.codes.add(ExitCode.REFUSED)
        seen = [each.value for each in self.tap.of("get_run") if each.error is None]
        await self._ask("get_run", project.get_run(NO_RUN), judging.about_errors)
        return seen[-1].feature_id if seen else None

    async def _read_feature(
        self, project: Project, features: Sequence[Feature], of_run: int | None
    ) -> None:
        """Read a feature: one of the list, or one that is known otherwise."""
        feature: int | str | None = self.to_run or self.to_generate or of_run
        if features and self.to_generate is None:
            feature = next((each for each in features if each.has_tests), features[0]).id
        await self._check_all("feature", feature, project, is_listed=bool(features))
        for name, what in _names_to_try(features):
            judge = partial(judging.about_name, what=what)
            await self._ask("get_feature", project.get_feature(name), judge)


def _names_to_try(features: Sequence[Feature]) -> Iterator[tuple[str, str]]:
    """Yield names to look features up by, each with the property that it tests."""
    named = [name for each in features if (name := each.name) and name.isprintable()]
    named = [name for name in named if name.swapcase().casefold() == name.casefold()]
    for name in [name for name in named if not name.isdigit()][:1]:
        yield name.swapcase(), "in any case"
    for name in [name for name in named if "/" in name][:1]:
        yield name, "with a slash in it"
