"""One project and its operations, under the service's own names.

Most methods are one call of the service. The exceptions are dispatches (through `_dispatch`, so
that nothing is done twice), batches (through `_batch`), the two waits, and the downloads. This
module decides neither the meaning of an answer nor the time of a poll.
"""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args, overload

from testvibe_async._core.batch import EntrySource, Features, JobSource, Limits, Plan, Workers
from testvibe_async._core.config import (
    require_choice,
    require_count,
    require_site,
    require_text,
    require_timeout,
)
from testvibe_async._core.dispatch import GenerateConflict, RunConflict, Starter
from testvibe_async._core.http import call_through_outage
from testvibe_async._core.wire import Endpoints
from testvibe_async.batch import Batch
from testvibe_async.errors import ConfigError
from testvibe_async.models import Feature, Generation, Run
from testvibe_async.operations import (
    GenerationOperation,
    PendingOperation,
    RunOperation,
    awaited,
)
from testvibe_async.refs import RunRef

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from testvibe_async._core.dispatch import Dispatcher
    from testvibe_async._core.wire import Endpoint
    from testvibe_async.errors import KindName
    from testvibe_async.models import (
        Artifact,
        Config,
        Diagnosis,
        DownloadProgress,
        GenerationLog,
        Listing,
        ProjectFile,
    )
    from testvibe_async.operations import ClientParts

__all__ = ["Features", "GenerateConflict", "Project", "RunConflict"]

T = TypeVar("T")

_SURROGATES = re.compile("[\ud800-\udfff]")


class Project:
    """A project of the service. Made by `client.project(id)`, without I/O; it need not be closed.

    A `feature` is its id (an `int`), its name (a `str`, in any case), or a listed `Feature`. The
    service reads a name that consists of digits as an id.

    All methods raise `TransportError` if no answer came, `ResponseError` if the service refused
    (`NotFoundError` if the project, feature or run does not exist), and `ClientClosedError` once
    the client is closed.
    """

    def __init__(self, project_id: str, *, parts: ClientParts, dispatcher: Dispatcher) -> None:
        self.id = project_id
        """The project's public id."""
        self._parts = parts
        self._transport = parts.transport
        self._dispatcher = dispatcher
        self._starter = Starter(dispatcher, parts)

    def __repr__(self) -> str:
        """Return the project's id."""
        return f"<Project {self.id}>"

    async def list_features(self, *, max_outage: float | None = None) -> Listing[Feature]:
        """List the project's features, without their Gherkin; see `Listing.is_complete`.

        Args:
            max_outage: Seconds of uninterrupted failures after which the last failure is raised,
                for a call at start-up that should be as patient as a wait. None for the retries of
                the client's `RetryPolicy`.

        Raises:
            ConfigError: `max_outage` is not a number of seconds above 0.
        """
        return await self._call(Endpoints.LIST_FEATURES, max_outage=max_outage)

    async def get_feature(self, feature: int | str | Feature) -> Feature:
        """Read one feature."""
        return await self._call(Endpoints.GET_FEATURE, feature=_named(feature))

    async def create_feature(self, name: str, gherkin: str) -> Feature:
        """Add a feature. This does not generate its tests.

        The service does not document this call.

        Raises:
            EndpointNotFoundError: The service does not have this call.
        """
        return await self._call(Endpoints.CREATE_FEATURE, body={"name": name, "gherkin": gherkin})

    async def update_feature(
        self, feature: int | str | Feature, *, name: str | None = None, gherkin: str | None = None
    ) -> None:
        """Change a feature's name, its Gherkin or both. This does not generate its tests again.

        Raises:
            FeatureBusyError: Its generation is in flight.
            ConfigError: Neither was given.
        """
        if name is None and gherkin is None:
            raise ConfigError("update_feature changes nothing without a name or a gherkin")
        await self._call(
            Endpoints.UPDATE_FEATURE,
            feature=_named(feature),
            body={"name": name, "gherkin": gherkin},
        )

    async def delete_feature(self, feature: int | str | Feature) -> None:
        """Delete a feature. The service does not document this call.

        Raises:
            EndpointNotFoundError: The service does not have this call.
            FeatureBusyError: Its generation is in flight.
        """
        await self._call(Endpoints.DELETE_FEATURE, feature=_named(feature))

    @awaited
    def generate_feature(
        self,
        feature: int | str | Feature,
        *,
        site_url: str | None = None,
        on_conflict: GenerateConflict = "raise",
        key: str | None = None,
    ) -> PendingOperation[GenerationOperation]:
        """Dispatch the generation of a feature's tests. It takes minutes and costs credits.

        Await the result for the operation, or its `wait()` for the outcome. A dispatch is sent
        again only if it provably had no effect. The feature's latest generation is read first, so
        that the operation of a lost answer can be found.

        Args:
            feature: The feature's id or name.
            site_url: The site to explore; None for the project's own.
            on_conflict: The reaction to a generation that is already in flight: `raise`, `attach`
                to it, or `wait` for its end and then dispatch.
            key: See `run_feature`.

        Raises:
            GenerationInProgressError: A generation is in flight; `ref` names it, if it could be
                observed.
            DispatchUnknownError: The answer was lost, or did not come before the client closed, and
                no new generation was found.
        """

        async def dispatch() -> GenerationOperation:
            self._transport.bind()
            require_choice("on_conflict", on_conflict, get_args(GenerateConflict))
            new = self._new("generation", feature, key, site_url=site_url)
            return await self._starter.generate(new, on_conflict=on_conflict)

        return PendingOperation(dispatch(), f"generate_feature({feature!r})")

    async def get_generation_status(
        self, feature: int | str | Feature, *, max_outage: float | None = None
    ) -> Generation:
        """Read the status of a feature's latest generation.

        Args:
            feature: The feature's id or name.
            max_outage: See `list_features`.

        Raises:
            ConfigError: `max_outage` is not a number of seconds above 0.
        """
        return await self._call(
            Endpoints.GET_GENERATION_STATUS, feature=_named(feature), max_outage=max_outage
        )

    async def get_generation_log(self, feature: int | str | Feature) -> GenerationLog:
        """Read the log of a feature's latest generation."""
        return await self._call(Endpoints.GET_GENERATION_LOG, feature=_named(feature))

    async def cancel_generation(self, feature: int | str | Feature) -> None:
        """Cancel a feature's generation in flight, whichever it is.

        `GenerationOperation.cancel` first checks that it is its own. The service does not document
        this call's route.

        Raises:
            EndpointNotFoundError: The service does not have this call.
            ConflictError: No generation is in flight.
        """
        await self._call(Endpoints.CANCEL_GENERATION, feature=_named(feature))

    async def wait_for_generation(
        self, feature: int | str | Feature, *, timeout: float | None = None
    ) -> Generation:
        """Wait until a feature's latest generation has finished.

        Args:
            feature: The feature's id or name.
            timeout: Seconds to wait; 0 for one poll, None for no limit.

        Raises:
            WaitTimeoutError: The time-out passed first. Wait again to continue.
        """
        self._transport.bind()
        timeout = require_timeout(timeout)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        return await self._starter.latest_outcome(self.id, _named(feature), deadline)

    @awaited
    def run_feature(
        self,
        feature: int | str | Feature,
        *,
        config: str | None = None,
        site_url: str | None = None,
        on_conflict: RunConflict = "raise",
        key: str | None = None,
    ) -> PendingOperation[RunOperation]:
        """Dispatch a run of a feature's tests. A run takes about half a minute.

        Await the result for the operation, or its `wait()` for the outcome.

        Args:
            feature: The feature's id or name.
            config: The run configuration; None for the service's `"Default"`.
            site_url: The site to test; None for the project's own.
            on_conflict: The reaction to a feature without tests: `raise`, or `wait` for the end of
                the generation in flight, and then dispatch.
            key: Your own name for this dispatch, unique in the client's ledger, server and project;
                None for none. The same call with the same key, in any process and on any day,
                returns the same operation. A dispatch whose answer was lost is searched for; if
                that shows nothing, the call waits until the request has expired (a minute, or twice
                the client's `timeout`), and then dispatches again. Without a key, it raises
                `DispatchUnknownError` after a few seconds.

        Raises:
            FeatureNotGeneratedError: The feature has no tests, and none is being generated; or the
                generation waited for failed, for the reason in the cause.
            DispatchUnknownError: The answer was lost, or did not come before the client closed, and
                the run was not found.
        """

        async def dispatch() -> RunOperation:
            self._transport.bind()
            require_choice("on_conflict", on_conflict, get_args(RunConflict))
            new = self._new("run", feature, key, site_url=site_url, config=_checked_config(config))
            return await self._starter.run(new, on_conflict=on_conflict)

        return PendingOperation(dispatch(), f"run_feature({feature!r})")

    @awaited
    def run_features(  # noqa: PLR0913 - each by name, and each with a default
        self,
        features: Features | None = None,
        *,
        config: str | Sequence[str | None] | None = None,
        site_url: str | None = None,
        max_in_flight: int = 100,
        max_unread: int | None = None,
        on_conflict: RunConflict | None = None,
        timeout: float | None = None,
        stop_on_failure: bool | int = False,
        attempts: int | None = None,
        repeat: int = 1,
        key: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Batch[Run]:
        """Run many features at once. Await the batch, or open it with `async with` and iterate.

        This is a plain function: nothing is sent before the batch is awaited or opened. A batch
        runs once.

        Args:
            features: Names, ids or `Feature` values; None for all features with tests. An item of
                an earlier batch runs again with its own configuration. A generator, asynchronous or
                not, is read only as slots become free; with a key, it is read first. If the batch
                ends early, it stays open for its caller, as after any loop. A feature named twice,
                even in another case or by its id, runs once, with a warning.
            config: The run configuration; None for the service's `"Default"`. With several, each
                feature runs with each of them.
            site_url: The site to test; None for the project's own.
            max_in_flight: Maximum number of dispatched, unfinished runs, 1 or more.
            max_unread: Number of finished items that `async for` may leave unread, 0 or more. Each
                further one takes the place of a run in flight, so that a slow reader slows the
                batch down. None for no limit.
            on_conflict: The reaction to a feature without tests: `raise` makes an item with the
                error; `wait` waits for the end of the generation in flight, and then dispatches.
                None for that of the batch's first call, or else `raise`.
            timeout: Seconds after which nothing more is dispatched or waited for; None for no
                limit. Operations in flight keep running at the service. Only the answers to sent
                dispatches are awaited for up to 10 s longer, so that no id is lost.
            stop_on_failure: True to stop dispatching once a feature did not succeed; a number to do
                so once that many did not. The batch still waits for the operations in flight.
            attempts: Maximum number of runs of a feature in total, 1 or more; None for that of the
                batch's first call, or else 1. Only a failed run is followed by another, before the
                next feature is dispatched. The item has all of them, and is `is_flaky` if a later
                one passed.
            repeat: Number of items of each feature and configuration, 1 or more: the feature runs
                as often, whatever the results, which shows how stable it is.
            key: Your own name for this batch, unique in the client's ledger, server and project;
                None for none. The same call with the same key, in any process and on any day,
                resumes the batch: operations that were dispatched are attached, lost answers are
                settled, and the rest is dispatched. Then name the same features, or none.
            options: Values that are kept with a new key, plain JSON; see `Batch.options`.

        Returns:
            A batch with `repeat` items for each feature and configuration. A feature that can't be
            dispatched is an item with its error.

        Raises:
            ConfigError: An argument is wrong, or the key has another request.
            VibeError: The features must be listed, and `list_features` fails. Awaiting or opening
                the batch raises this.
        """
        if on_conflict is not None:
            require_choice("on_conflict", on_conflict, get_args(RunConflict))
        configs = [config] if config is None or isinstance(config, str) else list(config)
        if not configs:
            raise ConfigError(
                "config names no configuration: pass one, several, or None for the default"
            )
        configs = [_checked_config(each) for each in configs]
        return self._batch(
            "run",
            self._jobs(
                features,
                configs,
                default=lambda feature: feature.has_tests,
                repeat=require_count("repeat", repeat),
            ),
            Limits(max_in_flight, timeout, stop_on_failure, max_unread),
            key=key,
            options=options,
            on_conflict=on_conflict,
            site_url=site_url,
            attempts=attempts,
        )

    @awaited
    def generate_features(  # noqa: PLR0913 - each by name, and each with a default
        self,
        features: Features | None = None,
        *,
        site_url: str | None = None,
        max_in_flight: int = 10,
        on_conflict: GenerateConflict | None = None,
        timeout: float | None = None,
        stop_on_failure: bool | int = False,
        missing_only: bool = False,
        key: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Batch[Generation]:
        """Generate the tests of many features at once. Each costs credits.

        Args:
            features: See `run_features`; None for all features without tests, except suggestions.
            site_url: The site to explore; None for the project's own.
            max_in_flight: Maximum number of dispatched generations that are unfinished, or whose
                item `async for` has not read yet, 1 or more: if the loop's body is slow or ends
                early, no further credits are spent.
            on_conflict: The reaction to a generation in flight: `raise` makes an item with the
                error, `attach` joins it, `wait` waits for its end and then dispatches. None for
                that of the batch's first call, or else `raise`.
            timeout: See `run_features`.
            stop_on_failure: See `run_features`.
            missing_only: True to generate nothing of a feature that has tests by the time of its
                dispatch: its latest generation is the outcome. A feature whose status can't be read
                is not dispatched. It is kept with the key, and always true if no features are
                named.
            key: See `run_features`.
            options: See `run_features`.

        Returns:
            A batch with one item for each feature. A feature that can't be dispatched is an item
            with its error.

        Raises:
            ConfigError: See `run_features`, also for the errors of the batch itself.
        """
        if on_conflict is not None:
            require_choice("on_conflict", on_conflict, get_args(GenerateConflict))
        return self._batch(
            "generation",
            self._jobs(features, None, default=lambda feature: feature.needs_tests),
            Limits(max_in_flight, timeout, stop_on_failure, max_unread=0),
            key=key,
            options=options,
            on_conflict=on_conflict,
            site_url=site_url,
            missing_only=missing_only,
        )

    async def list_runs(
        self, *, feature: int | str | Feature | None = None, limit: int | None = None
    ) -> Listing[Run]:
        """List runs, newest first, without tests, artifacts and log.

        The service does not document this call.

        Args:
            feature: The feature whose runs to list; None for all features.
            limit: Maximum number of runs; None for the service's default.

        Returns:
            The runs; `is_complete` is False if the service reports that it has more.

        Raises:
            EndpointNotFoundError: The service does not have this call.
        """
        return await self._call(
            Endpoints.LIST_RUNS, query={"feature": _named(feature), "limit": limit}
        )

    async def get_run(self, run_id: int) -> Run:
        """Read a run's digest."""
        return await self._call(Endpoints.GET_RUN, run=run_id)

    async def wait_for_run(self, run_id: int, *, timeout: float | None = None) -> Run:
        """Wait until a run has finished, also a run that another client dispatched.

        Args:
            run_id: The service's `runId`.
            timeout: Seconds to wait; 0 for one poll, None for no limit.

        Raises:
            WaitTimeoutError: The time-out passed first. Wait again to continue.
        """
        return await self.run_operation(run_id).wait(timeout=timeout)

    def run_operation(self, run_id: int) -> RunOperation:
        """Return a handle on a run by its bare id. Does no I/O, so the run need not exist.

        Args:
            run_id: The service's `runId`.

        Raises:
            ConfigError: The id is not a whole number from 1, or the client belongs to another event
                loop.
            ClientClosedError: The client is closed.
        """
        require_count("run_id", run_id)
        self._transport.bind()
        ref = RunRef(server=self._transport.server, project=self.id, run_id=run_id)
        return RunOperation(ref, self._parts)

    async def diagnose_run(self, run_id: int) -> Diagnosis:
        """Read the diagnosis of a failed run."""
        return await self._call(Endpoints.DIAGNOSE_RUN, run=run_id)

    async def get_run_artifacts(self, run_id: int) -> Listing[Artifact]:
        """List the files of a run. The links expire soon: list them right before each download."""
        return await self._call(Endpoints.GET_RUN_ARTIFACTS, run=run_id)

    async def download_artifacts(
        self,
        run_id: int,
        directory: str | os.PathLike[str],
        *,
        kinds: Collection[str] | None = None,
        on_progress: Callable[[DownloadProgress], None] | None = None,
        max_at_once: int = 4,
    ) -> list[Path]:
        """Download the files of a run, and return their paths, in the service's order.

        Each file is written to a temporary file in its folder, and moved to its path once it is
        complete. An existing file is downloaded again and replaced, since its size does not prove
        that it belongs to this run; use a directory for each run. After a lost connection, the
        download restarts, as the client's `RetryPolicy` allows. An expired link is renewed.

        The service's paths are kept if they are plain, such as `trace/locked-out-user.zip`. With
        any path, nothing is written outside of the directory, no existing symbolic link in it is
        followed, and no artifact replaces another. The host of the files receives neither the API
        key, nor the headers, cookies and proxies of a session that was passed in.

        The first failure ends the other downloads, as a cancellation does. Complete files are kept,
        and all others are removed.

        Args:
            run_id: The service's `runId`.
            directory: The directory for the files; it is created for the first file.
            kinds: The kinds to download, such as `{"trace", "screenshot"}`; None for all. A kind
                that is neither documented (`trace`, `screenshot`, `video`, `report`) nor listed is
                refused.
            on_progress: Called in the event loop about every 64 KiB, and when a file is complete.
                If it raises, the downloads end, and the error is raised here. None for no calls.
            max_at_once: Maximum number of concurrent downloads, 1 or more.

        Raises:
            ConfigError: The run is still in flight, and has no artifacts yet; or a kind is unknown.
            TransportError: The host could not be reached, or the connection was lost.
            ResponseError: The host refused, even with new links.
            MalformedResponseError: A file has another size than announced, or a link is not usable:
                no URL, or plain HTTP to another host, which only a client of an `http://` service
                with `allow_http=True` accepts.
            OSError: The disk is full, a file occupies a directory's path, and so on.
        """
        return await self._parts.downloader.download(
            directory,
            project=self.id,
            run_id=run_id,
            kinds=kinds,
            on_progress=on_progress,
            max_at_once=max_at_once,
        )

    async def list_files(self) -> Listing[ProjectFile]:
        """List the project's files, without their content. The service does not document this call.

        Raises:
            EndpointNotFoundError: The service does not have this call.
        """
        return await self._call(Endpoints.LIST_FILES)

    async def read_file(self, path: str) -> ProjectFile:
        """Read one file; a template if the project has no content of its own at the path."""
        return await self._call(Endpoints.READ_FILE, query={"path": path})

    async def write_file(self, path: str, content: str) -> None:
        """Write one whole file.

        Args:
            path: A path below `Features/` or `Configurations/`; others belong to the service.
            content: The whole text, of at most 256 KB.
        """
        await self._call(Endpoints.WRITE_FILE, body={"path": path, "content": content})

    async def list_configs(self, *, max_outage: float | None = None) -> Listing[Config]:
        """List the run configurations. The service does not document this call's route.

        Args:
            max_outage: See `list_features`.

        Raises:
            EndpointNotFoundError: The service does not have this call.
            ConfigError: `max_outage` is not a number of seconds above 0.
        """
        return await self._call(Endpoints.LIST_CONFIGS, max_outage=max_outage)

    def _batch(  # noqa: PLR0913 - each by name
        self,
        kind: KindName,
        source: JobSource,
        limits: Limits,
        *,
        key: str | None,
        on_conflict: str | None,
        site_url: str | None,
        options: Mapping[str, Any] | None,
        attempts: int | None = None,
        missing_only: bool = False,
    ) -> Batch[Any]:
        """Create a batch; None stands for what its first call said."""
        said: dict[str, Any] = {}
        if attempts is not None:
            said["attempts"] = require_count("attempts", attempts)
        if on_conflict is not None:
            said["on_conflict"] = on_conflict
        if missing_only:
            said["missing_only"] = True
        plan = Plan(
            kind=kind,
            server=self._transport.server,
            project=self.id,
            key=_checked_key(key) or self._dispatcher.new_key(),
            is_keyed=key is not None,
            site_url=require_site(site_url),
            options=_checked_options(options),
            said=said,
            **said,
        )
        entries = EntrySource(plan, source, self._dispatcher.ledger)
        return Batch(Workers(limits, entries, self._starter))

    def _jobs(
        self,
        features: Features | None,
        configs: Sequence[str | None] | None,
        *,
        default: Callable[[Feature], bool],
        repeat: int = 1,
    ) -> JobSource:
        """Return the jobs of a batch; `default` selects the features if none are named."""
        if isinstance(features, str):
            raise ConfigError(f"features must be several, not {features!r}: pass [{features!r}]")
        # The start is as patient as the batch.
        max_outage = self._parts.transport.availability.max_outage
        list_features = partial(self.list_features, max_outage=max_outage)
        return JobSource(
            features, configs, list_features=list_features, default=default, repeat=repeat
        )

    def _new(
        self,
        kind: KindName,
        feature: int | str | Feature,
        key: str | None,
        *,
        site_url: str | None,
        **values: str | None,
    ) -> Any:  # noqa: ANN401 - a dispatch of the kind
        """Create a dispatch; sends nothing."""
        return self._dispatcher.new(
            kind,
            self._dispatcher.new_record(_checked_key(key)),
            project=self.id,
            parts=self._parts,
            is_persistent=key is not None,
            feature=_named(feature),
            name=feature.name if isinstance(feature, Feature) else None,
            site_url=require_site(site_url),
            **values,
        )

    async def _call(
        self,
        endpoint: Endpoint[T],
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
        max_outage: float | None = None,
        **parameters: str | int,
    ) -> T:
        """Call an operation of this project, through an outage if requested."""
        request = endpoint.request(project=self.id, query=query, body=body, **parameters)
        return await call_through_outage(self._transport, request, max_outage=max_outage)


@overload
def _named(feature: int | str | Feature) -> int | str: ...
@overload
def _named(feature: int | str | Feature | None) -> int | str | None: ...
def _named(feature: int | str | Feature | None) -> int | str | None:
    """Return what to call a feature."""
    return feature.id if isinstance(feature, Feature) else feature


def _checked_config(config: str | None) -> str | None:
    """Return the name of one configuration; None for the default.

    Raises:
        ConfigError: It is not a text, or blank.
    """
    if config is None:
        return None
    if not isinstance(config, str):
        raise ConfigError(
            f"config must be the name of one configuration, not {config!r}; "
            "run_features takes several"
        )
    return require_text("config", config)


def _checked_key(key: str | None) -> str | None:
    """Return a caller's key.

    Raises:
        ConfigError: It is not a text, blank, or has half of a character, which no file can keep.
    """
    is_text = isinstance(key, str) and key.strip() and not _SURROGATES.search(key)
    if key is not None and not is_text:
        raise ConfigError(f"a key is a text of your own, such as 'pr-123', not {key!r}")
    return key


def _checked_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of a batch.

    Raises:
        ConfigError: They are not a JSON object.
    """
    try:
        json.dumps(dict(options or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the options of a batch must be a JSON object: {error}") from error
    return dict(options or {})
