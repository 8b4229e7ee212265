"""The values that the service's answers hold, as frozen attrs classes.

They define the meaning of a document; `_core.wire` reads it. Names are the service's own, in snake
case. Instants are aware datetimes in UTC, and their names end in `_at`. A value that the service
omitted or answered with null is None, or empty if it is a list. Fields that this release does not
know are kept in `extra`, under their wire names. So are fields that it can't read, such as a
duration that is not a number; their own attribute is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime  # noqa: TC003 - cattrs reads the annotations at run time
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - get_type_hints of these classes has to find it
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeAlias, TypeVar

from attrs import field, frozen
from attrs.validators import min_len

from testvibe_async._core.util import plain
from testvibe_async._core.util.serialization import NotSent, Serializable
from testvibe_async.errors import IncompleteListError, KindName, VibeError

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
"""The service's name for the configuration of a run that requested none."""


class Phase(StrEnum):
    """The progress of an operation, derived from the service's answer."""

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


class _NoExtra(NotSent, Mapping[str, Any]):
    """The mapping without unknown fields; shared, since a dict takes an eighth of a run's size."""

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


@frozen
class _Answer(Serializable):
    """The base of values that an answer holds."""

    extra: Mapping[str, Any] = field(default=_NO_EXTRA, kw_only=True, repr=False, eq=False)
    """Fields that this release does not know, or can't read, under their wire names."""


class Listing(list[ItemT]):
    """The rows of a list, and the reason if rows are missing.

    It is a `list`, and like any list it can't be hashed. It holds the rows of all pages.
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
        """The problems of the rows that could not be read and are missing."""
        self.incomplete: IncompleteListError | None = None
        """The reason why rows are missing; None if none are."""
        self.extra: Mapping[str, Any] = extra or {}
        """Further fields of the first answer, such as `total`."""

    @property
    def is_complete(self) -> bool:
        """True if no rows are missing, as far as the service shows.

        With a `limit`, rows are missing if the service has more than requested.
        """
        return self.incomplete is None

    def require_complete(self) -> Self:
        """Return the list, if no rows are missing.

        Raises:
            IncompleteListError: Rows are missing.
        """
        if self.incomplete is not None:
            raise self.incomplete
        return self


@frozen
class ProjectInfo(_Answer):
    """A project of the workspace that the API key is bound to."""

    id: str
    """The public id, a GUID."""

    name: str | None = None
    """The name; None if the service omitted it."""

    base_url: str | None = None
    """The address of the site under test."""


DRAFT = "draft"
"""The status of a feature that was never generated. Assumed: the documentation shows none."""


@frozen
class Feature(_Answer):
    """A feature: Gherkin text, from which tests are generated."""

    id: int
    """The service's id of the feature."""

    name: str = _NO_TEXT
    """The name; empty if the service omitted it."""

    kind: str | None = None
    """`feature`, or `suggestion` for one that the service proposes."""

    status: FeatureStatus | str | None = None
    """The status; an undocumented one is a plain string."""

    gherkin: str | None = field(default=None, repr=False)
    """The Gherkin text; None in a list, which omits it."""

    rationale: str | None = field(default=None, repr=False)
    """The service's reason for suggesting it; None on other features."""

    updated_at: datetime | None = None
    """The time of its last change, by the service's clock, in UTC."""

    @property
    def is_suggestion(self) -> bool:
        """True if the service only suggests it."""
        return self.kind == "suggestion"

    @property
    def has_tests(self) -> bool:
        """True if it has tests to run."""
        return self.status == FeatureStatus.GENERATED

    @property
    def needs_tests(self) -> bool:
        """True if it has no tests, and none are being generated.

        False if its status is undocumented, since a misreading could cost credits.
        """
        is_made = self.status in {FeatureStatus.GENERATED, FeatureStatus.GENERATING}
        return not is_made and not self.has_undocumented_status

    @property
    def has_undocumented_status(self) -> bool:
        """True if its status is an undocumented word.

        A feature that was never generated has no status, or `draft`, which is assumed.
        """
        return self.status is not None and self.status.casefold() not in {*FeatureStatus, DRAFT}


_NOT_EXECUTED = {"skipped", "pending", "fixme", "todo"}
"""The statuses of a test that was not executed, in Playwright and other runners."""


class _NoCount(int, NotSent):
    """The zero of a count that the service did not send."""

    __slots__ = ()


_NO_COUNT = _NoCount()


@frozen
class RunSummary(_Answer):
    """The number of a run's tests with each result."""

    total: int = _NO_COUNT
    """All tests."""

    passed: int = _NO_COUNT
    """Passed tests."""

    failed: int = _NO_COUNT
    """Failed tests."""

    other: int = _NO_COUNT
    """Tests with another result, such as skipped ones."""


@frozen
class CaseResult(_Answer):
    """One test of a run."""

    name: str = _NO_TEXT
    """The name; empty if the service omitted it."""

    status: str | None = None
    """`passed`, `failed` or the runner's own word; None if it has none yet."""

    duration_ms: float | None = None
    """The duration in milliseconds; None if the service reports none."""

    error: str | None = None
    """Playwright's error; None if the test passed."""

    @property
    def is_failure(self) -> bool:
        """True if it failed. With an undocumented status, a test that has an error failed."""
        return self.status == "failed" or bool(self.error and self.status != "passed")


@frozen
class Artifact(_Answer):
    """A file that a run produced."""

    kind: str
    """`trace`, `screenshot`, `video` or `report`."""

    path: str
    """The service's name for the file. It is untrusted: never use it as a local path."""

    size_bytes: int | None = None
    """The size in bytes; None if the answer has none."""

    url: str | None = field(default=None, repr=False)
    """A signed link to another host, which expires soon; None if the answer has none."""


@frozen
class Run(_Answer):
    """A run, in flight or finished. Source: get_run, list_runs."""

    kind: ClassVar[KindName] = "run"
    """The kind of the operation."""

    run_id: int
    """The service's `runId`."""

    status: RunStatus | str
    """The status; an undocumented one is a plain string."""

    feature_id: int | None = None
    """The feature's id."""

    feature_name: str | None = None
    """The feature's name."""

    config: str | None = None
    """The run configuration."""

    site_url: str | None = None
    """The tested site."""

    created_at: datetime | None = None
    """The time of its dispatch, by the service's clock, in UTC."""

    started_at: datetime | None = None
    """The time when it left the queue; None until then."""

    finished_at: datetime | None = None
    """The time of its end; None until then."""

    summary: RunSummary | None = None
    """The number of tests with each result; None if the service reports none."""

    tests: tuple[CaseResult, ...] = ()
    """The tests, with their results; empty if the answer has none."""

    artifacts: tuple[Artifact, ...] = ()
    """The files that it produced; empty if the answer has none."""

    log: str | None = field(default=None, repr=False)
    """An excerpt of the runner's log, for a failed run."""

    @property
    def phase(self) -> Phase:
        """The phase: queued until `startedUtc` is set."""
        if self.is_finished:
            return Phase.FINISHED
        is_started = self.started_at is not None or bool(
            self.extra and self.extra.get("startedUtc")
        )
        return Phase.ACTIVE if is_started else Phase.QUEUED

    @property
    def is_finished(self) -> bool:
        """True once it has finished; an undocumented status counts once `finishedUtc` is set."""
        if isinstance(self.status, RunStatus):
            return self.status is not RunStatus.RUNNING
        return self.finished_at is not None or bool(self.extra and self.extra.get("finishedUtc"))

    @property
    def has_results(self) -> bool:
        """True if the service reports tests, or their number."""
        return self.summary is not None or bool(self.tests)

    @property
    def executed_nothing(self) -> bool:
        """True if it passed, and the service reports that no test was executed."""
        if self.status is not RunStatus.PASSED or not self.has_results:
            return False
        if self.summary is not None and (self.summary.passed or self.summary.failed):
            return False
        return all((test.status or "").casefold() in _NOT_EXECUTED for test in self.tests)

    @property
    def is_success(self) -> bool:
        """True if it passed, and the service reports neither that a test failed nor that none ran.

        In a batch, a run without any results fails.
        """
        return self.status is RunStatus.PASSED and not self.is_failure

    @property
    def is_failure(self) -> bool:
        """True if it failed, or passed although no test was executed or one failed.

        An undocumented status is neither success nor failure.
        """
        if self.status is not RunStatus.PASSED:
            return self.status is RunStatus.FAILED
        has_failed = self.summary is not None and self.summary.failed > 0
        return has_failed or self.executed_nothing or bool(self.failures)

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The failed tests."""
        return tuple([test for test in self.tests if test.status != "passed" and test.is_failure])

    def raise_for_status(self) -> Self:
        """Return the run, if it passed or is still in flight.

        Raises:
            RunFailedError: It failed.
            UndocumentedStatusError: It finished with an undocumented status.
        """
        if not self.is_finished or self.is_success:
            return self
        if not self.is_failure:
            raise _undocumented(f"run {self.run_id} of {_named(self)}", self)
        fact, first = f"run {self.run_id} of {_named(self)} {plain(self.status)}", ""
        if self.executed_nothing:
            fact = f"{fact}, but executed no test"
        if failures := self.failures:
            error = (failures[0].error or "no error given").strip().partition("\n")[0]
            but = "but " if self.status is RunStatus.PASSED else ""
            fact = f"{fact}, {but}{len(failures)} of {len(self.tests)} tests failed"
            first = f"first {plain(failures[0].name)!r}: {plain(error)}"
        raise RunFailedError(fact, first, outcome=self)


@frozen
class Diagnosis(_Answer):
    """The diagnosis of a failed run. Source: diagnose_run.

    Only the fields up to `failures` are documented.
    """

    run_id: int
    """The service's `runId`."""

    status: RunStatus | str
    """The run's status."""

    verdict: str | None = None
    """The service's word for the result."""

    feature_id: int | None = None
    """The feature's id."""

    feature_name: str | None = None
    """The feature's name."""

    config: str | None = None
    """The run configuration."""

    site_url: str | None = None
    """The tested site."""

    finished_at: datetime | None = None
    """The time of the run's end."""

    summary: RunSummary | None = None
    """The number of tests with each result."""

    failures: tuple[CaseResult, ...] = ()
    """The failed tests."""

    gherkin: str | None = field(default=None, repr=False)
    """The feature's current Gherkin."""

    specs: tuple[ProjectFile, ...] = field(default=(), repr=False)
    """The Playwright sources that were executed."""

    artifacts: tuple[Artifact, ...] = ()
    """The files that the run produced."""

    log: str | None = field(default=None, repr=False)
    """An excerpt of the runner's log."""


@frozen
class Section(_Answer):
    """One part of a generation."""

    section: str = _NO_TEXT
    """The service's name of the part."""

    status: str | None = None
    """The service's word for its progress."""

    conclusion: str | None = None
    """The service's word for its result; None until it has ended."""

    updated_at: datetime | None = None
    """The time of its last change."""


@frozen
class Generation(_Answer):
    """A feature's latest generation, in flight or finished. Source: get_generation_status.

    For a feature that was never generated, most fields are None.
    """

    kind: ClassVar[KindName] = "generation"
    """The kind of the operation."""

    feature_id: int | None = None
    """The feature's id."""

    feature_name: str | None = None
    """The feature's name."""

    feature_status: FeatureStatus | str | None = None
    """The feature's status; an undocumented one is a plain string."""

    request_id: str | None = None
    """The service's `requestId`, which identifies the generation."""

    runner_started: bool | None = None
    """False while the sandbox starts, then True."""

    overall_status: str | None = None
    """The service's word for its progress."""

    overall_conclusion: str | None = None
    """The service's word for its result; None until it has ended."""

    updated_at: datetime | None = None
    """The time of its last change."""

    sections: tuple[Section, ...] = ()
    """Its parts."""

    @property
    def status(self) -> FeatureStatus | str | None:
        """The status in the service's word: `feature_status`."""
        return self.feature_status

    @property
    def phase(self) -> Phase:
        """The phase: queued until `runner_started`."""
        if self.is_finished:
            return Phase.FINISHED
        return Phase.ACTIVE if self.runner_started else Phase.QUEUED

    @property
    def is_finished(self) -> bool:
        """True once it has finished; an unknown status counts once `overall_conclusion` is set."""
        if isinstance(self.feature_status, FeatureStatus):
            return self.feature_status is not FeatureStatus.GENERATING
        return self.overall_conclusion is not None

    @property
    def is_success(self) -> bool:
        """True if it made tests."""
        return self.feature_status is FeatureStatus.GENERATED

    @property
    def is_failure(self) -> bool:
        """True if it failed or was cancelled. An undocumented status is neither."""
        return self.feature_status in {FeatureStatus.FAILED, FeatureStatus.CANCELLED}

    def raise_for_status(self) -> Self:
        """Return the generation, if it made tests or is still in flight.

        Raises:
            GenerationCancelledError: It was cancelled.
            GenerationFailedError: It failed.
            UndocumentedStatusError: It finished with an undocumented status.
        """
        if not self.is_finished or self.is_success:
            return self
        if not self.is_failure:
            raise _undocumented(f"the generation of {_named(self)}", self)
        fact = f"the generation of {_named(self)} {plain(str(self.status))}"
        if self.feature_status is FeatureStatus.CANCELLED:
            raise GenerationCancelledError(f"{fact} (it was cancelled)", outcome=self)
        raise GenerationFailedError(fact, outcome=self)


Snapshot: TypeAlias = Run | Generation
"""An observation of an operation: in flight, or its outcome."""


@frozen
class SectionLog(_Answer):
    """The log of one part of a generation."""

    section: str = _NO_TEXT
    """The service's name of the part."""

    title: str | None = None
    """The name of the part for people."""

    state: str | None = None
    """The service's word for its progress."""

    conclusion: str | None = None
    """The service's word for its result; None until it has ended."""

    status_reason: str | None = None
    """The reason for the status. Read it and the last lines of `log` first."""

    log: tuple[str, ...] = field(default=(), repr=False)
    """The lines, oldest first, each of at most 600 characters."""


@frozen
class GenerationLog(_Answer):
    """The log of a feature's latest generation. Source: get_generation_log."""

    feature_id: int | None = None
    """The feature's id."""

    feature_name: str | None = None
    """The feature's name."""

    request_id: str | None = None
    """The service's `requestId` of the generation."""

    sections: tuple[SectionLog, ...] = ()
    """The logs of its parts."""


@frozen
class ProjectFile(_Answer):
    """A file of a project."""

    path: str
    """The path in the project."""

    kind: str | None = None
    """The service's word for the kind of file."""

    source: str | None = None
    """`template` if the project has no content of its own at this path."""

    content: str | None = field(default=None, repr=False)
    """The whole text; None in a list, which omits it."""


@frozen
class Config(_Answer):
    """A run configuration of a project, such as `"Default"`."""

    name: str
    """The name, for `run_feature`."""

    path: str | None = None
    """The path of its file in the project."""


@frozen
class Transition(Serializable, Generic[SnapshotT_co]):
    """An observed change of an operation's phase or status."""

    phase: Phase
    """The phase from then on."""

    status: str | None
    """The status from then on, in the service's word."""

    observed_at: datetime
    """The time of the observation, by the local clock, in UTC."""

    snapshot: SnapshotT_co | None = None
    """The whole observation; None for the dispatch itself, whose answer is only an id."""

    def __str__(self) -> str:
        """Return the phase and the status, such as `active running`."""
        return f"{self.phase} {plain(self.status or 'unknown')}"


@frozen
class DispatchedRun(_Answer):
    """The answer to run_feature."""

    run_id: int
    feature_id: int | None = None


@frozen
class DispatchedGeneration(_Answer):
    """The answer to generate_feature."""

    request_id: str = field(validator=min_len(1))
    feature_id: int


@frozen(kw_only=True)
class DownloadProgress(Serializable):
    """The progress of the download of one artifact."""

    artifact: Artifact
    """The file at the service."""

    path: Path
    """The path of the finished file."""

    done_bytes: int
    """Number of bytes so far; it returns to 0 if the download restarts."""

    total_bytes: int | None
    """The size; None if neither the service nor the host reports it."""

    is_finished: bool = False
    """True once the file is complete, and at its path."""


class OutcomeError(VibeError):
    """An operation ended without success. Raised by `raise_for_status()` alone."""

    def __init__(self, fact: str, what: str = "", *, outcome: Snapshot) -> None:
        super().__init__(fact, what)
        self.outcome = outcome
        """The finished `Run` or `Generation`."""


class RunFailedError(OutcomeError):
    """A test of the run failed, or the run could not be executed."""

    advice: str = "error.outcome.failures and diagnose_run say why"
    outcome: Run  # pyright: ignore[reportIncompatibleVariableOverride]


class GenerationFailedError(OutcomeError):
    """The generation ended without tests; see its log."""

    advice: str = "get_generation_log says why"
    outcome: Generation  # pyright: ignore[reportIncompatibleVariableOverride]


class GenerationCancelledError(OutcomeError):
    """The generation was cancelled."""

    advice: str = "generate_feature starts another"
    outcome: Generation  # pyright: ignore[reportIncompatibleVariableOverride]


class UndocumentedStatusError(OutcomeError):
    """The operation ended with an undocumented status, neither success nor failure."""

    advice: str = "decide by error.outcome"


def _undocumented(what: str, outcome: Snapshot) -> UndocumentedStatusError:
    """Return the error for an operation that ended with an unknown word."""
    return UndocumentedStatusError(
        f"{what} ended with the undocumented status {plain(str(outcome.status))!r}",
        "it is neither success nor failure",
        outcome=outcome,
    )


def _named(outcome: Snapshot) -> str:
    """Return the name of a feature for a message, or its id if it has no name."""
    return repr(plain(outcome.feature_name) if outcome.feature_name else outcome.feature_id)
