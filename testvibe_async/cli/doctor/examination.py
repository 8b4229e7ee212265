"""The checks, in their order: each route that reads, and a run if asked to.

It decides which request follows from what was seen, and where there is no use in going on. One
failure does not end the others: only where the service can't be reached, is another, or refuses the
key, nothing more is asked. What an answer means is decided in `judging`, `contact` and `lists`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from testvibe_async import (
    MalformedResponseError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
    VibeError,
)
from testvibe_async._wire import Endpoints
from testvibe_async.cli.doctor import contact, lists
from testvibe_async.cli.doctor.findings import differs, holds, unchecked
from testvibe_async.cli.doctor.judging import findings_of, judge, rows_of
from testvibe_async.cli.doctor.watching import WatchedRun
from testvibe_async.cli.exits import ExitCode, exit_code_of
from testvibe_async.cli.words import reason

if TYPE_CHECKING:
    from testvibe_async import Feature
    from testvibe_async._config import Settings
    from testvibe_async._wire import Request
    from testvibe_async.cli.doctor.asking import Asker
    from testvibe_async.cli.doctor.findings import Finding
    from testvibe_async.cli.doctor.judging import Answer

__all__ = ["Examination"]

DEFAULT_FILE = "Configurations/Default.config.js"
"""The file that the documentation names."""

NO_RUN = 2**31 - 1
"""The id of a run that no service has."""

_OF_RUNS = ("get_run", "diagnose_run", "get_run_artifacts")
_OF_FEATURES = ("get_feature", "get_generation_status", "get_generation_log")
_ALL = (
    *("get_project", "list_features", "list_runs"),
    *_OF_RUNS,
    *_OF_FEATURES,
    *("list_files", "read_file", "list_configs"),
)
"""The operations that are checked once the service is known to be there."""

_PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.UNREACHABLE,
    ExitCode.REFUSED,
    ExitCode.FAILED,
)
"""The exit code is the first of these that applies."""


class _StopError(Exception):
    """There is no use in asking more."""


class Examination:
    """All checks of one service, and what they found."""

    def __init__(
        self, asker: Asker, settings: Settings, *, feature: str | None, run_id: int | None
    ) -> None:
        """Make it; nothing is asked yet.

        Args:
            asker: Sends the requests.
            settings: What it was made with.
            feature: The feature to run; None to only read.
            run_id: A run to read; None for one of those that the service lists.
        """
        self.asker = asker
        self.findings: list[Finding] = []
        self.answers: list[Answer] = []
        self.run: WatchedRun | None = None
        """The run that was dispatched; None where none was."""
        self.project_name: str | None = None
        self._settings = settings
        self._feature = feature
        self._run_id = run_id
        self._codes: set[ExitCode] = set()
        self._failed = 0
        """How many requests in a row got no answer."""

    @property
    def exit_code(self) -> ExitCode:
        """How the command ends."""
        if any(finding.has_consequences for finding in self.findings):
            self._codes.add(ExitCode.FAILED)
        return next((code for code in _PRECEDENCE if code in self._codes), ExitCode.PASSED)

    async def perform(self) -> None:
        """Make all checks that can be made; the first Ctrl-C ends them, and what is known stays."""
        try:
            project = await self._contact()
            if project is not None:
                await self._read_project(project)
        except _StopError as stop:
            self._skip_rest(str(stop))
        except asyncio.CancelledError:
            self._skip_rest("stopped by Ctrl-C")
            self._codes.add(ExitCode.INTERRUPTED)
        self.findings += lists.about_words(self.answers)
        self.findings += lists.about_encoding(self.answers)
        self.findings += lists.about_limits(self.asker.limits)

    def _skip_rest(self, why: str) -> None:
        """Say of what was not checked why it was not."""
        seen = {finding.subject for finding in self.findings}
        self.findings += [unchecked(name, why) for name in _ALL if name not in seen]

    async def _contact(self) -> str | None:
        """List the projects; return the one to read, None where there is none.

        Raises:
            _StopError: It is not the service, or it refuses the key.
        """
        request = Endpoints.LIST_PROJECTS.request()
        try:
            answer = judge(*await self.asker.read(request))
        except (TransportError, MalformedResponseError) as error:
            self._codes.add(exit_code_of(error))
            says = (
                "can't be reached" if isinstance(error, TransportError) else "does not speak HTTP"
            )
            means = "no command works: check the address, the network and a proxy on the way"
            self.findings.append(differs("server", says, means=means, quoted=reason(error)))
            raise _StopError("the service can't be reached") from error
        if (instead := contact.what_is_there_instead(answer)) is not None:
            assert answer.error is not None
            self._codes.add(exit_code_of(answer.error))
            self.findings.append(instead)
            what = "the key" if instead.subject == "key" else "the server"
            raise _StopError(f"that waits for {what} to be right")
        self.findings += contact.about_address(self._settings)
        if answer.error is None:
            self.findings.append(contact.about_key(self._settings))
        self.findings.append(contact.about_clock(answer))
        await self._keep(answer)
        return self._choose_project(answer)

    def _choose_project(self, answer: Answer) -> str | None:
        rows = rows_of(answer)
        wanted = self._settings.project
        found = next((row for row in rows if wanted in {None, row.id}), None)
        if found is not None:
            self.project_name = found.name
        if wanted is None and found is None:
            self._skip_rest("no project is known")
            return None
        if wanted is not None and answer.error is None and found is None:
            means = "all commands that need a project are refused: choose one with use"
            self.findings.append(
                differs("project", "the key does not see the project in force", means=means)
            )
        elif wanted is not None and found is not None:
            self.findings.append(holds("project", "the one in force is one of the key's"))
        elif found is not None:
            says = "none is in force, and the first one is read here"
            means = "testvibe-async use chooses one"
            self.findings.append(differs("project", says, means=means, is_harmless=True))
        return wanted or (found and found.id)

    async def _read_project(self, project: str) -> None:
        await self._check(Endpoints.GET_PROJECT.request(project=project))
        features = await self._check(Endpoints.LIST_FEATURES.request(project=project))
        await self._read_runs(project)
        await self._read_feature(project, rows_of(features))
        await self._read_files(project)

    async def _read_runs(self, project: str) -> None:
        if self._feature is not None:
            self.run = WatchedRun(self.asker, project, self._feature)
            try:
                await self.run.watch()
            finally:  # After Ctrl-C, too: it goes on at the service.
                seen = (self.run.dispatched, self.run.running)
                self.answers += [answer for answer in seen if answer is not None]
                self.findings += self.run.findings()
            if isinstance(self.run.error, TransportError | ServerError | RateLimitedError):
                self._codes.add(ExitCode.UNREACHABLE)
        runs = await self._check(Endpoints.LIST_RUNS.request(project=project))
        if runs is not None and runs.error is None:
            request = Endpoints.LIST_RUNS.request(project=project, query={"limit": 1})
            if (limited := await self._ask(request)) is not None:
                self.findings += lists.about_runs(runs, limited)
        run_id = (self.run and self.run.run_id) or self._run_id or lists.sample_run(rows_of(runs))
        if run_id is None:
            why = "no run is known: --run FEATURE makes one, --run-id ID names one"
            self.findings += [unchecked(name, why) for name in _OF_RUNS]
        else:
            for endpoint in (
                Endpoints.GET_RUN,
                Endpoints.DIAGNOSE_RUN,
                Endpoints.GET_RUN_ARTIFACTS,
            ):
                await self._check(endpoint.request(project=project, run=run_id))
        unknown = await self._ask(Endpoints.GET_RUN.request(project=project, run=NO_RUN))
        if unknown is not None:
            self.findings += lists.about_errors(unknown)

    async def _read_feature(self, project: str, features: list[Feature]) -> None:
        sample = lists.sample_feature(features)
        feature: int | str | None = sample.id if sample else self._feature
        if feature is None:
            why = "no feature is known: the project lists none"
            self.findings += [unchecked(name, why) for name in _OF_FEATURES]
            return
        for endpoint in (
            Endpoints.GET_FEATURE,
            Endpoints.GET_GENERATION_STATUS,
            Endpoints.GET_GENERATION_LOG,
        ):
            await self._check(endpoint.request(project=project, feature=feature))
        for name, what in lists.names_to_try(features):
            answer = await self._ask(Endpoints.GET_FEATURE.request(project=project, feature=name))
            if answer is not None:
                self.findings.append(lists.about_name(answer, what))

    async def _read_files(self, project: str) -> None:
        files = await self._check(Endpoints.LIST_FILES.request(project=project))
        paths = [row.path for row in rows_of(files)]
        path = paths[0] if paths and DEFAULT_FILE not in paths else DEFAULT_FILE
        answer = await self._ask(Endpoints.READ_FILE.request(project=project, query={"path": path}))
        if answer is not None and isinstance(answer.error, NotFoundError) and answer.error.code:
            self.findings.append(unchecked("read_file", "no file is known that the project has"))
        elif answer is not None:
            await self._keep(answer)
        await self._check(Endpoints.LIST_CONFIGS.request(project=project))

    async def _check(self, request: Request[Any]) -> Answer | None:
        """Ask, and say how the answer holds against the contract; None where none came."""
        answer = await self._ask(request)
        if answer is not None:
            await self._keep(answer)
        return answer

    async def _keep(self, answer: Answer) -> None:
        """Say how an answer holds; for a list in pages, ask for the second one."""
        self.answers.append(answer)
        self.findings += findings_of(answer)
        if answer.following is None:
            return
        page = None
        if not isinstance(answer.following, str):
            page = await self._ask(answer.following)
        self.findings.append(lists.about_pages(answer, page))

    async def _ask(self, request: Request[Any]) -> Answer | None:
        """Ask; None where no answer came, which is said.

        Raises:
            _StopError: There was none twice in a row.
        """
        try:
            answer = judge(*await self.asker.read(request))
        except VibeError as error:
            self._codes.add(exit_code_of(error))
            self.findings.append(
                unchecked(request.endpoint.name, "no answer came", quoted=reason(error))
            )
            self._failed += 1
            if self._failed > 1:
                raise _StopError("the service has stopped answering") from error
            return None
        self._failed = 0
        if isinstance(answer.error, ServerError | RateLimitedError):
            self._codes.add(ExitCode.UNREACHABLE)
        return answer
