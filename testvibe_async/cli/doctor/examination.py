"""The checks, in their order: each call that reads, and one run or generation if asked to.

It decides which call of the client follows from what was seen, and where there is no use in
asking on. One failure does not end the others: only where the service can't be reached, is another,
or refuses the key, nothing more is asked. What an answer means is decided in `judging`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, define, frozen

from testvibe_async import (
    ConflictError,
    DispatchUnknownError,
    NotFoundError,
    RateLimitedError,
    ResponseError,
    ServerError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async.cli.doctor import judging
from testvibe_async.cli.doctor.exchanges import exchanges_of
from testvibe_async.cli.doctor.findings import differs, holds, unchecked
from testvibe_async.cli.exits import ExitCode, exit_code_of, worst_of
from testvibe_async.cli.words import duration, plural, reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator, Sequence

    from testvibe_async import Client, Feature, Listing, Project, ProjectInfo, Run
    from testvibe_async._config import Settings
    from testvibe_async.cli.doctor.exchanges import Exchange, Tap
    from testvibe_async.cli.doctor.findings import Finding
    from testvibe_async.operations import GenerationOperation, RunOperation

__all__ = ["Examination", "Options"]

T = TypeVar("T")

DEFAULT_FILE = "Configurations/Default.config.js"
"""The file that the documentation names."""

NO_RUN = 2**31 - 1
"""The id of a run that no service has."""

MAX_LOST = 2
"""The number of calls in a row without an answer after which nothing more is asked."""

LONGEST = 600.0
"""Seconds for which a run is watched; one takes about 30."""

LONGEST_GENERATION = 3600.0

_OF_RUNS = ("get_run", "diagnose_run", "get_run_artifacts")
_OF_FEATURES = ("get_feature", "get_generation_status", "get_generation_log")
_ALL = (
    *("get_project", "list_features", "list_runs"),
    *_OF_RUNS,
    *_OF_FEATURES,
    *("list_files", "read_file", "list_configs"),
)
"""The operations that are checked once the service is known to be there."""


class StopError(Exception):
    """There is no use in asking more; it says why."""


@frozen(kw_only=True)
class Options:
    """The options beyond reading."""

    run: str | None = None
    """The feature to run; None for no run."""

    generate: str | None = None
    """The feature to generate; None for no generation."""

    run_id: int | None = None
    """A run to read; None for one of those that the service lists."""


@define(eq=False)
class Examination:
    """All checks of one service, and what they found."""

    client: Client
    tap: Tap
    settings: Settings
    options: Options = Factory(Options)
    findings: list[Finding] = Factory(list["Finding"])
    project_name: str | None = None
    codes: set[ExitCode] = Factory(set[ExitCode])
    """The exit codes that apply, except that of differences."""

    _lost: int = 0
    """The number of calls in a row that got no answer."""

    _run_id: int | None = None
    """The run that was dispatched."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the command."""
        is_worse = any(finding.has_consequences for finding in self.findings)
        return worst_of([*self.codes, ExitCode.FAILED if is_worse else ExitCode.PASSED])

    async def perform(self) -> None:
        """Make all checks that can be made; the first Ctrl-C ends them, and what is known stays."""
        try:
            project = await self._contact()
            if project is not None:
                await self._read_project(self.client.project(project))
        except StopError as stop:
            self._skip_rest(str(stop))
        except asyncio.CancelledError:
            self._skip_rest("stopped by Ctrl-C")
            self.codes.add(ExitCode.INTERRUPTED)
        exchanges = self.tap.exchanges
        self.findings += judging.about_words(exchanges)
        self.findings += judging.about_encoding(exchanges)
        self.findings += judging.about_limits(exchanges)

    # How anything is asked.

    async def _ask(self, name: str, call: Awaitable[T]) -> tuple[T | None, Sequence[Exchange]]:
        """Await a call of the client; return its value, and the exchanges that it took.

        Raises:
            StopError: It got no answer, and neither did the one before.
        """
        before = len(self.tap.exchanges)
        try:
            value = await call
        except ResponseError as error:
            if isinstance(error, ServerError | RateLimitedError):
                self.codes.add(ExitCode.UNREACHABLE)
            value = None
        except VibeError as error:
            self.codes.add(exit_code_of(error))
            self.findings.append(unchecked(name, "no answer came", quoted=reason(error)))
            self._lost += 1
            if self._lost == MAX_LOST:
                raise StopError("the service has stopped answering") from error
            return None, []
        self._lost = 0
        return value, self.tap.exchanges[before:]

    async def _check(self, name: str, call: Awaitable[T]) -> T | None:
        """Ask, and describe how the answer holds against the contract."""
        value, exchanges = await self._ask(name, call)
        if exchanges:
            self._judge(value, exchanges)
        return value

    def _judge(self, value: object, exchanges: Sequence[Exchange]) -> None:
        if value is None:
            self.findings += judging.findings_of(exchanges[-1])
            return
        # What was refused for its rate, or failed, was asked again.
        pages = [each for each in exchanges if each.error is None]
        self.findings += judging.findings_of(pages[0])
        if pages[0].operation.is_list:
            rows: Any = value
            self.findings += judging.about_pages(pages, rows)

    def _skip(self, names: Iterable[str], why: str) -> None:
        """Note for each operation why it was not checked."""
        self.findings += [unchecked(name, why) for name in names]

    def _skip_rest(self, why: str) -> None:
        seen = {finding.subject for finding in self.findings}
        self._skip([name for name in _ALL if name not in seen], why)

    # What is asked.

    async def _contact(self) -> str | None:
        """List the projects; return the one to read, None where there is none.

        Raises:
            StopError: It is not the service, or it refuses the key.
        """
        projects, error = None, None
        try:
            projects = await self.client.list_projects()
        except VibeError as failure:
            error = failure
        if not self.tap.exchanges:
            assert error is not None
            self.codes.add(exit_code_of(error))
            self.findings.append(judging.about_no_answer(error))
            raise StopError("the service can't be reached") from error
        exchange = self.tap.exchanges[-1 if error is not None else 0]
        if (instead := judging.what_is_there_instead(exchange)) is not None:
            assert error is not None
            self.codes.add(exit_code_of(error))
            self.findings.append(instead)
            what = "the key" if instead.subject == "key" else "the server"
            raise StopError(f"that waits for {what} to be right")
        if isinstance(error, ServerError | RateLimitedError):
            self.codes.add(ExitCode.UNREACHABLE)
        self.findings += judging.about_address(self.settings)
        if error is None:
            self.findings.append(judging.about_key(self.settings))
        self.findings.append(judging.about_clock(exchange))
        self._judge(projects, self.tap.exchanges)
        return await self._choose(projects)

    async def _choose(self, projects: Listing[ProjectInfo] | None) -> str | None:
        """Choose the project to read: the one in force, else the first that the key sees.

        Raises:
            StopError: A route that is documented is not there in it: there is no such project.
        """
        wanted = self.settings.project
        found = next(
            (each for each in projects or () if wanted in {None, each.id, each.name}), None
        )
        if found is not None:
            self.project_name = found.name
        if found is not None and wanted is not None:
            self.findings.append(holds("project", "the one in force is one of the key's"))
        elif found is not None:
            says = "none is in force, and the first one is read here"
            means = "testvibe-async use chooses one"
            self.findings.append(differs("project", says, means, is_harmless=True))
        elif wanted is None:
            self._skip_rest("no project is known")
            return None
        elif projects is not None:
            says = "the key does not see the one in force"
            means = "commands that need it are refused: testvibe-async use chooses another"
            self.findings.append(differs("project", says, means))
            # A 404 of the project would be taken for that of a missing route.
            _, exchanges = await self._ask(
                "list_features", self.client.project(wanted).list_features()
            )
            if exchanges and exchanges[-1].is_not_there:
                raise StopError("there is no such project")
        return wanted if found is None else found.id

    async def _read_project(self, project: Project) -> None:
        await self._check("get_project", self.client.get_project(project.id))
        features = await self._check("list_features", project.list_features())
        if self.options.run is not None:
            await self._run(project, self.options.run)
        if self.options.generate is not None:
            await self._ask(
                "get_generation_status", project.get_generation_status(self.options.generate)
            )
            await self._generate(project, self.options.generate)
        feature = await self._read_runs(project)
        await self._read_feature(project, features or [], feature)
        await self._read_files(project)

    async def _run(self, project: Project, feature: str) -> None:
        # What a lost dispatch is looked for in: the list right before, and right after.
        await self._ask("list_runs", project.list_runs(feature=feature))
        operation = await self._dispatch("run_feature", project.run_feature(feature))
        if operation is not None:
            await self._ask("list_runs", project.list_runs(feature=feature))
            self._run_id = operation.run_id
            await self._watch(operation, "run", f"run {operation.run_id}", timeout=LONGEST)

    async def _generate(self, project: Project, feature: str) -> None:
        operation = await self._dispatch("generate_feature", project.generate_feature(feature))
        if operation is not None:
            quoted = f"generation {operation.request_id}"
            await self._watch(operation, "generation", quoted, timeout=LONGEST_GENERATION)

    async def _dispatch(self, name: str, call: Awaitable[T]) -> T | None:
        """Dispatch an operation, once, and describe the answer; None where none started."""
        operation = None
        try:
            operation = await call
        except (ConflictError, NotFoundError) as error:
            self.codes.add(exit_code_of(error))
            is_conflict = isinstance(error, ConflictError)
            why = "it can't start now" if is_conflict else "there is no such feature"
            self.findings.append(unchecked(name, f"{error.status}: {why}", quoted=reason(error)))
            return None
        except DispatchUnknownError as error:
            self.codes.add(exit_code_of(error))
            command = "runs list" if name == "run_feature" else "generation status FEATURE"
            means = f"one may have begun: testvibe-async {command} shows it"
            says = "no answer to the dispatch"
            self.findings.append(differs(name, says, means, quoted=reason(error)))
            return None
        except VibeError as error:
            self.codes.add(exit_code_of(error))
        dispatched = exchanges_of(self.tap.exchanges, name)
        if dispatched:
            self.findings += judging.findings_of(dispatched[-1])
        elif operation is not None:
            says = "its answer was lost, and what it started was found by a poll"
            self.findings.append(unchecked(name, says))
        return operation

    async def _watch(
        self,
        operation: RunOperation | GenerationOperation,
        subject: str,
        quoted: str,
        *,
        timeout: float,
    ) -> None:
        """Poll an operation to its end, and describe what was seen of it."""
        now = asyncio.get_running_loop().time
        before, began = len(self.tap.exchanges), now()
        poll = "get_run" if subject == "run" else "get_generation_status"
        try:
            await operation.wait(timeout=timeout)
        except (WaitTimeoutError, asyncio.CancelledError) as error:
            says = f"not over after {duration(now() - began)}; it is still running"
            self.findings.append(unchecked(subject, says, quoted=quoted))
            if isinstance(error, asyncio.CancelledError):
                raise
        except VibeError as error:
            self.codes.add(exit_code_of(error))
            means = f"a {subject} can't be waited for; this one is still running at the service"
            says = f"can't be seen after {duration(now() - began)}"
            self.findings.append(differs(subject, says, means, quoted=reason(error)))
        else:
            polls = exchanges_of(self.tap.exchanges[before:], poll)
            seen = ", ".join(judging.phases_seen(polls))
            took = f"{plural(len(polls), 'poll')} in {duration(now() - began)}"
            quoted = f"{quoted}, {took}"
            self.findings.append(holds(subject, f"seen to its end: {seen}", quoted=quoted))
            self.findings += judging.about_polls(polls, subject)

    async def _read_runs(self, project: Project) -> int | str | None:
        """Read all about runs, and one of them; return the feature that it is of."""
        runs = await self._check("list_runs", project.list_runs())
        if runs is not None:
            limited, exchanges = await self._ask("list_runs", project.list_runs(limit=1))
            if limited is not None:
                self.findings += judging.about_runs(runs, limited)
            elif exchanges:
                says = f"a limit is refused: {exchanges[-1].response.status}"
                means = "runs list --limit does not work; runs are polled by their ids"
                quoted = reason(exchanges[-1].error) if exchanges[-1].error else ""
                self.findings.append(differs("list_runs", says, means, quoted=quoted))
        run_id = self._run_id or self.options.run_id or _sample_run(runs or [])
        feature = await self._read_run(project, run_id)
        _, exchanges = await self._ask("get_run", project.get_run(NO_RUN))
        if exchanges:
            self.findings.append(judging.about_errors(exchanges[-1]))
        return self.options.run or self.options.generate or feature

    async def _read_run(self, project: Project, run_id: int | None) -> int | None:
        """Read a run; return the feature that it is of."""
        if run_id is None:
            why = "no run is known: --run FEATURE makes one, --run-id ID names one"
            self._skip(_OF_RUNS, why)
            return None
        run, exchanges = await self._ask("get_run", project.get_run(run_id))
        if exchanges and exchanges[-1].is_not_there and run_id == self.options.run_id:
            self._skip(_OF_RUNS, "there is no such run")
            self.codes.add(ExitCode.REFUSED)
            return None
        if exchanges:
            self._judge(run, exchanges)
        await self._check("diagnose_run", project.diagnose_run(run_id))
        await self._check("get_run_artifacts", project.get_run_artifacts(run_id))
        return None if run is None else run.feature_id

    async def _read_feature(
        self, project: Project, features: Sequence[Feature], feature: int | str | None
    ) -> None:
        """Read a feature: one of the list, or one that is known otherwise."""
        if features and self.options.generate is None:
            feature = next((each for each in features if each.has_tests), features[0]).id
        if feature is None:
            why = "no feature is known: --run FEATURE names one, and so does --run-id ID"
            if any(not each.error for each in exchanges_of(self.tap.exchanges, "list_features")):
                why = "the project has no features"
            self._skip(_OF_FEATURES, why)
            return
        await self._check("get_feature", project.get_feature(feature))
        await self._check("get_generation_status", project.get_generation_status(feature))
        await self._check("get_generation_log", project.get_generation_log(feature))
        for name, what in _names_to_try(features):
            _, exchanges = await self._ask("get_feature", project.get_feature(name))
            if exchanges:
                self.findings.append(_about_name(exchanges[-1], what))

    async def _read_files(self, project: Project) -> None:
        files = await self._check("list_files", project.list_files())
        paths = [row.path for row in files or ()]
        path = paths[0] if paths and DEFAULT_FILE not in paths else DEFAULT_FILE
        file, exchanges = await self._ask("read_file", project.read_file(path))
        if exchanges and exchanges[-1].is_not_there:
            self._skip(["read_file"], "no file is known that the project has")
        elif exchanges:
            self._judge(file, exchanges)
        await self._check("list_configs", project.list_configs())


def _sample_run(runs: Sequence[Run]) -> int | None:
    """Choose a run to read: a failed one says most; None where there is none."""
    ranked = sorted(runs, key=lambda run: (run.is_failure, run.is_finished), reverse=True)
    return ranked[0].run_id if ranked else None


def _names_to_try(features: Sequence[Feature]) -> Iterator[tuple[str, str]]:
    """Choose names by which features are to be found, and say what each of them shows."""
    named = [each.name for each in features if each.name and not each.name.isdigit()]
    if named:
        other = named[0].swapcase()
        is_same = other.casefold() == named[0].casefold()
        yield (other, "in any case") if is_same else (named[0], "as it is")
    if slashed := [name for name in named if "/" in name]:
        yield slashed[0], "with a slash in it"


def _about_name(exchange: Exchange, what: str) -> Finding:
    """Describe whether a feature was found by its name."""
    if exchange.error is None:
        return holds("names", f"a feature is found by its name {what}")
    means = "use the id of such a feature" if "slash" in what else "use ids, or names as they are"
    says = f"a feature is not found by its name {what}: {exchange.response.status}"
    return differs("names", says, means, quoted=reason(exchange.error))
