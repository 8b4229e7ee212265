"""The checks, in their order: each route that reads, and a run if asked to.

It decides which request follows from what was seen, and where there is no use in going on. One
failure does not end the others: only where the service can't be reached, is another, or refuses the
key, nothing more is asked. What an answer means is decided in `judging`, `contact` and `lists`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from testvibe_async import MalformedResponseError, TransportError
from testvibe_async._wire import Endpoints
from testvibe_async.cli.doctor import contact, lists
from testvibe_async.cli.doctor.answers import judge, rows_of
from testvibe_async.cli.doctor.record import Record, StopError
from testvibe_async.cli.doctor.watching import WatchedRun
from testvibe_async.cli.exits import ExitCode, exit_code_of

if TYPE_CHECKING:
    from testvibe_async import Feature, Run
    from testvibe_async._config import Settings
    from testvibe_async.cli.doctor.asking import Asker

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
        self.record: Record = Record(asker)
        """What was found."""
        self.run: WatchedRun | None = None
        """The run that was dispatched; None where none was."""
        self.project_name: str | None = None
        self._settings = settings
        self._feature = feature
        self._run_id = run_id

    async def perform(self) -> None:
        """Make all checks that can be made; the first Ctrl-C ends them, and what is known stays."""
        try:
            project = await self._contact()
            if project is not None:
                await self._read_project(project)
        except StopError as stop:
            self._skip_rest(str(stop))
        except asyncio.CancelledError:
            self._skip_rest("stopped by Ctrl-C")
            self.record.codes.add(ExitCode.INTERRUPTED)
        self.record.findings += lists.about_words(self.record.answers)
        self.record.findings += lists.about_encoding(self.record.answers)
        self.record.findings += lists.about_limits(self.record.asker.limits)

    def _skip_rest(self, why: str) -> None:
        """Say of what was not checked why it was not."""
        seen = {finding.subject for finding in self.record.findings}
        self.record.skip([name for name in _ALL if name not in seen], why)

    async def _contact(self) -> str | None:
        """List the projects; return the one to read, None where there is none.

        Raises:
            StopError: It is not the service, or it refuses the key.
        """
        request = Endpoints.LIST_PROJECTS.request()
        try:
            answer = judge(*await self.record.asker.read(request))
        except (TransportError, MalformedResponseError) as error:
            self.record.codes.add(exit_code_of(error))
            self.record.findings.append(contact.about_no_answer(error))
            raise StopError("the service can't be reached") from error
        if (instead := contact.what_is_there_instead(answer)) is not None:
            assert answer.error is not None
            self.record.codes.add(exit_code_of(answer.error))
            self.record.findings.append(instead)
            what = "the key" if instead.subject == "key" else "the server"
            raise StopError(f"that waits for {what} to be right")
        self.record.findings += contact.about_address(self._settings)
        if answer.error is None:
            self.record.findings.append(contact.about_key(self._settings))
        self.record.findings.append(contact.about_clock(answer))
        await self.record.keep(answer)
        choice = contact.choose_project(self._settings.project, answer)
        self.project_name = choice.name
        self.record.findings += choice.findings
        if choice.id is None:
            self._skip_rest("no project is known")
        elif not choice.is_listed:
            await self._require(choice.id)
        return choice.id

    async def _require(self, project: str) -> None:
        """Require that a project is there: its 404 would be taken for that of a missing route.

        Raises:
            StopError: A route that is documented is not there either.
        """
        answer = await self.record.ask(Endpoints.LIST_FEATURES.request(project=project))
        if answer is not None and answer.is_not_there:
            raise StopError("there is no such project")

    async def _read_project(self, project: str) -> None:
        await self.record.check(Endpoints.GET_PROJECT.request(project=project))
        features = await self.record.check(Endpoints.LIST_FEATURES.request(project=project))
        feature = await self._read_runs(project)
        await self._read_feature(project, rows_of(features), feature)
        await self._read_files(project)

    async def _read_runs(self, project: str) -> int | str | None:
        """Read all about runs, and one of them; return the feature that it is of."""
        await self._run_feature(project)
        runs = await self.record.check(Endpoints.LIST_RUNS.request(project=project))
        if runs is not None and runs.error is None:
            request = Endpoints.LIST_RUNS.request(project=project, query={"limit": 1})
            if (limited := await self.record.ask(request)) is not None:
                self.record.findings += lists.about_runs(runs, limited)
        run_id = (self.run and self.run.run_id) or self._run_id or lists.sample_run(rows_of(runs))
        feature = await self._read_run(project, run_id)
        unknown = await self.record.ask(Endpoints.GET_RUN.request(project=project, run=NO_RUN))
        if unknown is not None:
            self.record.findings += lists.about_errors(unknown)
        return self._feature or feature

    async def _read_run(self, project: str, run_id: int | None) -> int | None:
        """Read a run; return the feature that it is of."""
        if run_id is None:
            why = "no run is known: --run FEATURE makes one, --run-id ID names one"
            self.record.skip(_OF_RUNS, why)
            return None
        digest = await self.record.ask(Endpoints.GET_RUN.request(project=project, run=run_id))
        if digest is not None and run_id == self._run_id and digest.is_not_there:
            self.record.skip(_OF_RUNS, "there is no such run")
            self.record.codes.add(ExitCode.REFUSED)
            return None
        if digest is not None:
            await self.record.keep(digest)
        await self.record.check(Endpoints.DIAGNOSE_RUN.request(project=project, run=run_id))
        await self.record.check(Endpoints.GET_RUN_ARTIFACTS.request(project=project, run=run_id))
        run: Run | None = None if digest is None else digest.value
        return None if run is None else run.feature_id

    async def _run_feature(self, project: str) -> None:
        """Run the feature that was named, if one was, and watch that."""
        if self._feature is None:
            return
        self.run = WatchedRun(self.record.asker, project, self._feature)
        try:
            await self.run.watch()
        finally:  # After Ctrl-C, too: it goes on at the service.
            seen = (self.run.dispatched, self.run.running)
            self.record.answers += [answer for answer in seen if answer is not None]
            self.record.findings += self.run.findings()
        if self.run.failure is not None:
            self.record.codes.add(exit_code_of(self.run.failure))

    async def _read_feature(
        self, project: str, features: list[Feature], feature: int | str | None
    ) -> None:
        """Read a feature: one of the list, or one that is known otherwise."""
        if (sample := lists.sample_feature(features)) is not None:
            feature = sample.id
        if feature is None:
            why = "no feature is known: --run FEATURE names one, and so does --run-id ID"
            if "list_features" in {each.operation.name for each in self.record.usable}:
                why = "the project has no features"
            self.record.skip(_OF_FEATURES, why)
            return
        for endpoint in (
            Endpoints.GET_FEATURE,
            Endpoints.GET_GENERATION_STATUS,
            Endpoints.GET_GENERATION_LOG,
        ):
            await self.record.check(endpoint.request(project=project, feature=feature))
        for name, what in lists.names_to_try(features):
            answer = await self.record.ask(
                Endpoints.GET_FEATURE.request(project=project, feature=name)
            )
            if answer is not None:
                self.record.findings.append(lists.about_name(answer, what))

    async def _read_files(self, project: str) -> None:
        files = await self.record.check(Endpoints.LIST_FILES.request(project=project))
        paths = [row.path for row in rows_of(files)]
        path = paths[0] if paths and DEFAULT_FILE not in paths else DEFAULT_FILE
        answer = await self.record.ask(
            Endpoints.READ_FILE.request(project=project, query={"path": path})
        )
        if answer is not None and answer.is_not_there:
            self.record.skip(["read_file"], "no file is known that the project has")
        elif answer is not None:
            await self.record.keep(answer)
        await self.record.check(Endpoints.LIST_CONFIGS.request(project=project))
