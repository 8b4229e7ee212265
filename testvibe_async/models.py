"""The values that the service's answers hold, as frozen attrs classes.

They say what a document means, never how it is read: `_wire` does that. All values stand on this
one page, and half of it is their documentation. Names are the service's own, in snake case;
instants are aware datetimes in UTC and end in `_at`; what the service left out or answered with
null is None, or empty where it is a list. Fields that this release does not know are kept in
`extra`, under their wire names; so are those that it can't read, such as a duration that is no
number, and their own field is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime  # noqa: TC003 - cattrs reads the annotations at run time
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - get_type_hints of these classes has to find it
from typing import Any, Generic, NoReturn, Self, TypeAlias, TypeVar

from attrs import field, frozen
from attrs.validators import min_len

from testvibe_async._util import plain
from testvibe_async._util.serialization import NotSent, Serializable
from testvibe_async.errors import IncompleteListError, VibeError

__all__ = [
    "Artifact",
    "CaseResult",
    "Config",
    "Diagnosis",
    "DownloadProgress",
    "Feature",
    "FeatureStatus",
    "Generation",
    "GenerationCancelledError",
    "GenerationFailedError",
    "GenerationLog",
    "Listing",
    "OutcomeError",
    "Phase",
    "ProjectFile",
    "ProjectInfo",
    "Run",
    "RunFailedError",
    "RunStatus",
    "RunSummary",
    "Section",
    "SectionLog",
    "Transition",
    "UndocumentedStatusError",
]

ItemT = TypeVar("ItemT")
SnapshotT_co = TypeVar("SnapshotT_co", covariant=True)


DEFAULT_CONFIG = "Default"
"""The service's name for the run configuration of a run that did not ask for one."""


class Phase(StrEnum):
    """How far an operation is, derived from what the service says."""

    QUEUED = "queued"
    ACTIVE = "active"
    FINISHED = "finished"


class RunStatus(StrEnum):
    """The documented statuses of a run, in any case. An undocumented one stays a plain string."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


class FeatureStatus(StrEnum):
    """The documented statuses of a feature, in any case. Another one stays a plain string."""

    GENERATING = "generating"
    GENERATED = "generated"
    FAILED = "failed"
    CANCELLED = "cancelled"


class _NoExtra(Mapping[str, Any]):
    """No unknown fields: one for all values, since a dict for each is an eighth of a run's size."""

    __slots__ = ()

    def __getitem__(self, name: str) -> NoReturn:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "_NO_EXTRA"


_NO_EXTRA = _NoExtra()


class _NoText(str, NotSent):
    """The empty text of a name that the service did not send."""

    __slots__ = ()


_NO_TEXT = _NoText()


def _extra() -> Any:  # noqa: ANN401 - what attrs.field returns is the field's own type
    return field(default=_NO_EXTRA, kw_only=True, repr=False, eq=False)


class Listing(list[ItemT]):
    """The rows of a list, with whether they are all rows that the service has.

    It is a `list`. Pages that the service splits a list into are put together.
    """

    def __init__(
        self,
        rows: Iterable[ItemT] = (),
        *,
        unreadable: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(rows)
        self.unreadable: Sequence[str] = unreadable
        """What was wrong with the rows that could not be read and are missing, and where."""
        self.incomplete: IncompleteListError | None = None
        """Why rows are missing; None where none are."""
        self.extra: Mapping[str, Any] = extra or {}
        """What stood around the rows in the first answer, such as `total`."""

    @property
    def is_complete(self) -> bool:
        """Whether no rows are missing, as far as the service says.

        With a `limit` they are missing where the service has more than were asked for.
        """
        return self.incomplete is None

    def require_complete(self) -> Self:
        """Return the list, if no rows are missing.

        Raises:
            IncompleteListError: Some are.
        """
        if self.incomplete is not None:
            raise self.incomplete
        return self


@frozen
class ProjectInfo(Serializable):
    """A project of the workspace that the API key is bound to."""

    id: str
    """The public id, a GUID."""

    name: str | None = None
    base_url: str | None = None
    """The address of the site under test."""

    extra: Mapping[str, Any] = _extra()


DRAFT = "draft"
"""The status of a feature that was never generated. Assumed: the documentation shows none."""


@frozen
class Feature(Serializable):
    """A feature: Gherkin text, from which tests are generated."""

    id: int
    name: str = _NO_TEXT
    """Its name; empty where the service left it out."""

    kind: str | None = None
    """`feature`, or `suggestion` for one that the service proposes."""

    status: FeatureStatus | str | None = None
    gherkin: str | None = field(default=None, repr=False)
    """The Gherkin text; None in a list, which leaves it out."""

    rationale: str | None = field(default=None, repr=False)
    """Why the service suggests it; None on other features."""

    updated_at: datetime | None = None
    extra: Mapping[str, Any] = _extra()

    @property
    def is_suggestion(self) -> bool:
        """Whether the service only proposes it."""
        return self.kind == "suggestion"

    @property
    def has_tests(self) -> bool:
        """Whether it has tests to run."""
        return self.status == FeatureStatus.GENERATED

    @property
    def needs_tests(self) -> bool:
        """Whether it has no tests, and none are being made.

        False where its status is not documented: a misreading could cost credits.
        """
        is_made = self.status in {FeatureStatus.GENERATED, FeatureStatus.GENERATING}
        return not is_made and not self.has_undocumented_status

    @property
    def has_undocumented_status(self) -> bool:
        """Whether its status is an undocumented word.

        A feature that was never generated has none, or `draft`, which is assumed.
        """
        return self.status is not None and self.status.casefold() not in {*FeatureStatus, DRAFT}


_NOT_EXECUTED = {"skipped", "pending", "fixme", "todo"}
"""The statuses of a test that was not executed, in Playwright and other runners."""


class _NoCount(int, NotSent):
    """The zero of a count that the service did not send."""

    __slots__ = ()


_NO_COUNT = _NoCount()


@frozen
class RunSummary(Serializable):
    """How many tests of a run ended how."""

    total: int = _NO_COUNT
    passed: int = _NO_COUNT
    failed: int = _NO_COUNT
    other: int = _NO_COUNT
    extra: Mapping[str, Any] = _extra()


@frozen
class CaseResult(Serializable):
    """One test of a run."""

    name: str = _NO_TEXT
    """Its name; empty where the service left it out."""

    status: str | None = None
    """`passed` or `failed`, or the runner's own word; None while it has none."""

    duration_ms: float | None = None
    error: str | None = None
    """Playwright's error; None where the test passed."""

    extra: Mapping[str, Any] = _extra()


@frozen
class Artifact(Serializable):
    """A file that a run left behind."""

    kind: str
    """`trace`, `screenshot`, `video` or `report`."""

    path: str
    """The service's name for it. It comes from outside: never use it as a local path as it is."""

    size_bytes: int | None = None
    url: str | None = field(default=None, repr=False)
    """A signed link on another host that soon expires; None where the answer holds none."""

    extra: Mapping[str, Any] = _extra()


@frozen
class Run(Serializable):
    """A run: in flight, or the outcome. Source: get_run, list_runs."""

    run_id: int
    status: RunStatus | str
    feature_id: int | None = None
    feature_name: str | None = None
    config: str | None = None
    """The run configuration."""

    site_url: str | None = None
    """The site that was tested."""

    created_at: datetime | None = None
    """When it was dispatched, by the service's clock, in UTC."""

    started_at: datetime | None = None
    """When it left the queue; None until then."""

    finished_at: datetime | None = None
    """When it ended; None until then."""

    summary: RunSummary | None = None
    tests: tuple[CaseResult, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    log: str | None = field(default=None, repr=False)
    """An excerpt from the runner's log, of a run that failed."""

    extra: Mapping[str, Any] = _extra()

    @property
    def phase(self) -> Phase:
        """How far it is: queued until `startedUtc` is set."""
        if self.is_finished:
            return Phase.FINISHED
        is_started = self.started_at is not None or bool(
            self.extra and self.extra.get("startedUtc")
        )
        return Phase.ACTIVE if is_started else Phase.QUEUED

    @property
    def is_finished(self) -> bool:
        """Whether it is over. A status that is not documented is over once `finishedUtc` is set."""
        if isinstance(self.status, RunStatus):
            return self.status is not RunStatus.RUNNING
        return self.finished_at is not None or bool(self.extra and self.extra.get("finishedUtc"))

    @property
    def executed_nothing(self) -> bool:
        """Whether it passed, and the service reports that no test was executed."""
        if self.status is not RunStatus.PASSED:
            return False
        if self.summary is not None and (self.summary.passed or self.summary.failed):
            return False
        if self.tests:
            return all((test.status or "").casefold() in _NOT_EXECUTED for test in self.tests)
        return self.summary is not None

    @property
    def is_success(self) -> bool:
        """Whether it is over and all of it passed. A run that executed no test shows nothing."""
        return self.status is RunStatus.PASSED and not self.executed_nothing

    @property
    def is_failure(self) -> bool:
        """Whether it is over and failed, or passed without executing a test.

        An undocumented status is neither success nor failure.
        """
        return self.status is RunStatus.FAILED or self.executed_nothing

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The tests that failed."""
        return tuple(test for test in self.tests if test.status == "failed")

    def raise_for_status(self) -> Self:
        """Return the run, if it passed or is still in flight.

        Raises:
            RunFailedError: It is over and failed.
            UndocumentedStatusError: It is over, and its status is no documented one.
        """
        if not self.is_finished or self.is_success:
            return self
        if not self.is_failure:
            raise _undocumented(f"run {self.run_id} of {_named(self)}", self)
        what = f"run {self.run_id} of {_named(self)} {plain(self.status)}"
        first = ""
        if self.executed_nothing:
            what = f"{what}, but executed no test"
        if failures := self.failures:
            error = (failures[0].error or "no error given").strip().partition("\n")[0]
            what = f"{what}, {len(failures)} of {len(self.tests)} tests failed"
            first = f"; first {plain(failures[0].name)!r}: {plain(error)}"
        raise RunFailedError(f"{what}: {RunFailedError.advice}{first}", outcome=self)


@frozen
class Diagnosis(Serializable):
    """What there is to know about a run that failed. Source: diagnose_run.

    Only the fields up to `failures` are documented.
    """

    run_id: int
    status: RunStatus | str
    verdict: str | None = None
    feature_id: int | None = None
    feature_name: str | None = None
    config: str | None = None
    site_url: str | None = None
    finished_at: datetime | None = None
    summary: RunSummary | None = None
    failures: tuple[CaseResult, ...] = ()
    gherkin: str | None = field(default=None, repr=False)
    """The feature's Gherkin as it is now."""

    specs: tuple[ProjectFile, ...] = field(default=(), repr=False)
    """The Playwright sources that were executed."""

    artifacts: tuple[Artifact, ...] = ()
    log: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = _extra()


@frozen
class Section(Serializable):
    """One part of a generation."""

    section: str = _NO_TEXT
    status: str | None = None
    conclusion: str | None = None
    updated_at: datetime | None = None
    extra: Mapping[str, Any] = _extra()


@frozen
class Generation(Serializable):
    """A feature's latest generation: in flight, or the outcome. Source: get_generation_status.

    For a feature that was never generated most fields are None.
    """

    feature_id: int | None = None
    feature_name: str | None = None
    feature_status: FeatureStatus | str | None = None
    request_id: str | None = None
    runner_started: bool | None = None
    """False while the sandbox is warming up, True once it is at work."""

    overall_status: str | None = None
    overall_conclusion: str | None = None
    updated_at: datetime | None = None
    sections: tuple[Section, ...] = ()
    extra: Mapping[str, Any] = _extra()

    @property
    def status(self) -> FeatureStatus | str | None:
        """The service's word for how it stands: `feature_status`."""
        return self.feature_status

    @property
    def phase(self) -> Phase:
        """How far it is: queued until `runner_started`."""
        if self.is_finished:
            return Phase.FINISHED
        return Phase.ACTIVE if self.runner_started else Phase.QUEUED

    @property
    def is_finished(self) -> bool:
        """Whether it is over. An unknown status is over once `overall_conclusion` is set."""
        if isinstance(self.feature_status, FeatureStatus):
            return self.feature_status is not FeatureStatus.GENERATING
        return self.overall_conclusion is not None

    @property
    def is_success(self) -> bool:
        """Whether it is over and made tests."""
        return self.feature_status is FeatureStatus.GENERATED

    @property
    def is_failure(self) -> bool:
        """Whether it failed or was cancelled; an undocumented status says neither."""
        return self.feature_status in {FeatureStatus.FAILED, FeatureStatus.CANCELLED}

    def raise_for_status(self) -> Self:
        """Return the generation, if it made tests or is still in flight.

        Raises:
            GenerationCancelledError: It was cancelled.
            GenerationFailedError: It is over and made no tests.
            UndocumentedStatusError: It is over, and its status is no documented one.
        """
        if not self.is_finished or self.is_success:
            return self
        if not self.is_failure:
            raise _undocumented(f"the generation of {_named(self)}", self)
        message = f"the generation of {_named(self)} {plain(str(self.status))}"
        if self.feature_status is FeatureStatus.CANCELLED:
            raise GenerationCancelledError(
                f"{message} (it was cancelled): {GenerationCancelledError.advice}", outcome=self
            )
        raise GenerationFailedError(f"{message}: {GenerationFailedError.advice}", outcome=self)


Snapshot: TypeAlias = Run | Generation
"""What is seen of an operation: in flight, or its outcome."""


@frozen
class SectionLog(Serializable):
    """The log of one part of a generation."""

    section: str = _NO_TEXT
    title: str | None = None
    state: str | None = None
    conclusion: str | None = None
    status_reason: str | None = None
    """Why it stands as it does. Look here and at the last lines of `log` first."""

    log: tuple[str, ...] = field(default=(), repr=False)
    """Its lines, oldest first, of at most 600 characters each."""

    extra: Mapping[str, Any] = _extra()


@frozen
class GenerationLog(Serializable):
    """The log of a feature's latest generation. Source: get_generation_log."""

    feature_id: int | None = None
    feature_name: str | None = None
    request_id: str | None = None
    sections: tuple[SectionLog, ...] = ()
    extra: Mapping[str, Any] = _extra()


@frozen
class ProjectFile(Serializable):
    """A file of a project."""

    path: str
    kind: str | None = None
    source: str | None = None
    """`template` where the project has no content of its own under this path."""

    content: str | None = field(default=None, repr=False)
    """The whole text; None in a list, which leaves it out."""

    extra: Mapping[str, Any] = _extra()


@frozen
class Config(Serializable):
    """A run configuration of a project, such as `Default`."""

    name: str
    path: str | None = None
    extra: Mapping[str, Any] = _extra()


@frozen
class Transition(Serializable, Generic[SnapshotT_co]):
    """A change of an operation's phase or status, as it was observed."""

    phase: Phase
    status: str | None
    observed_at: datetime
    """When this client saw it, by the local clock, in UTC."""

    snapshot: SnapshotT_co | None = None
    """All that was seen then; None for the dispatch itself, whose answer is only an id."""

    def __str__(self) -> str:
        """Return it in a few words, such as `active running`."""
        return f"{self.phase} {plain(self.status or 'unknown')}"


@frozen
class DispatchedRun(Serializable):
    """The answer to run_feature."""

    run_id: int
    feature_id: int | None = None
    extra: Mapping[str, Any] = _extra()


@frozen
class DispatchedGeneration(Serializable):
    """The answer to generate_feature."""

    request_id: str = field(validator=min_len(1))
    feature_id: int
    extra: Mapping[str, Any] = _extra()


@frozen(kw_only=True)
class DownloadProgress(Serializable):
    """How far the download of one artifact is."""

    artifact: Artifact
    path: Path
    """Where it will be, or is."""

    done_bytes: int
    """It falls back to 0 when a download has to start over."""

    total_bytes: int | None
    """None where neither the service nor the host says."""

    is_finished: bool = False
    """Whether the file is whole, and in its place."""


class OutcomeError(VibeError):
    """An operation ended, and not well. Raised by `raise_for_status()` and nothing else."""

    def __init__(self, what: str, *, outcome: Snapshot) -> None:
        super().__init__(what)
        self.outcome = outcome
        """The `Run` or `Generation` that ended so."""


class RunFailedError(OutcomeError):
    """The run ended and at least one of its tests failed, or it could not be executed."""

    advice: str = "error.outcome.failures and diagnose_run say why"
    outcome: Run  # pyright: ignore[reportIncompatibleVariableOverride]


class GenerationFailedError(OutcomeError):
    """The generation ended without tests; its log says why."""

    advice: str = "get_generation_log says why"
    outcome: Generation  # pyright: ignore[reportIncompatibleVariableOverride]


class GenerationCancelledError(OutcomeError):
    """The generation was cancelled."""

    advice: str = "generate_feature starts another"
    outcome: Generation  # pyright: ignore[reportIncompatibleVariableOverride]


class UndocumentedStatusError(OutcomeError):
    """The operation is over with a status that is not documented: neither success nor failure."""

    advice: str = "decide by error.outcome"


def _undocumented(what: str, outcome: Snapshot) -> UndocumentedStatusError:
    """Return the error for an operation that ended with a word that nobody knows."""
    return UndocumentedStatusError(
        f"{what} is over with the status {plain(str(outcome.status))!r}, which is not documented: "
        f"{UndocumentedStatusError.advice}; it is neither success nor failure",
        outcome=outcome,
    )


def _named(outcome: Snapshot) -> str:
    """Return the name of a feature for a message, or its id where it has none."""
    return repr(plain(outcome.feature_name) if outcome.feature_name else outcome.feature_id)
