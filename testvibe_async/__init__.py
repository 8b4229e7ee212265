"""An asyncio SDK for TestVibe: dispatch runs and generations, and await what they come to.

Each name is imported from its module when it is first used, so that a program that only might need
the package, such as pytest with its plugin, does not pay for it.
"""

import importlib
import typing

from testvibe_async._version import __version__

if typing.TYPE_CHECKING:
    from testvibe_async._policy import PollPlan, RetryPolicy
    from testvibe_async.batch import Batch
    from testvibe_async.client import Client
    from testvibe_async.errors import (
        ClientClosedError,
        ConfigError,
        ConflictError,
        DispatchUnknownError,
        FeatureBusyError,
        FeatureNotGeneratedError,
        ForbiddenError,
        GenerationCancelledError,
        GenerationFailedError,
        GenerationInProgressError,
        InvalidRequestError,
        MalformedResponseError,
        NotFoundError,
        NotSentError,
        ObservationError,
        OperationNotFoundError,
        OperationSupersededError,
        OutcomeError,
        OutcomeUnknownError,
        RateLimitedError,
        ResponseError,
        RunFailedError,
        ServerError,
        TransportError,
        UnauthorizedError,
        VibeError,
        WaitTimeoutError,
    )
    from testvibe_async.events import (
        Dispatched,
        Event,
        Hooks,
        ListRested,
        LookFailed,
        Paused,
        RequestFinished,
        RetryScheduled,
        StatusChanged,
    )
    from testvibe_async.models import (
        Artifact,
        CaseResult,
        Config,
        Diagnosis,
        DownloadProgress,
        Feature,
        FeatureStatus,
        Generation,
        GenerationLog,
        Phase,
        ProjectFile,
        ProjectInfo,
        Run,
        RunStatus,
        RunSummary,
        Section,
        SectionLog,
        Transition,
    )
    from testvibe_async.operations import GenerationOperation, Operation, RunOperation
    from testvibe_async.outcomes import BatchItem, BatchSummary, Verdict
    from testvibe_async.project import Project
    from testvibe_async.refs import GenerationRef, Ref, RunRef

__all__ = [
    "Artifact",
    "Batch",
    "BatchItem",
    "BatchSummary",
    "CaseResult",
    "Client",
    "ClientClosedError",
    "Config",
    "ConfigError",
    "ConflictError",
    "Diagnosis",
    "DispatchUnknownError",
    "Dispatched",
    "DownloadProgress",
    "Event",
    "Feature",
    "FeatureBusyError",
    "FeatureNotGeneratedError",
    "FeatureStatus",
    "ForbiddenError",
    "Generation",
    "GenerationCancelledError",
    "GenerationFailedError",
    "GenerationInProgressError",
    "GenerationLog",
    "GenerationOperation",
    "GenerationRef",
    "Hooks",
    "InvalidRequestError",
    "ListRested",
    "LookFailed",
    "MalformedResponseError",
    "NotFoundError",
    "NotSentError",
    "ObservationError",
    "Operation",
    "OperationNotFoundError",
    "OperationSupersededError",
    "OutcomeError",
    "OutcomeUnknownError",
    "Paused",
    "Phase",
    "PollPlan",
    "Project",
    "ProjectFile",
    "ProjectInfo",
    "RateLimitedError",
    "Ref",
    "RequestFinished",
    "ResponseError",
    "RetryPolicy",
    "RetryScheduled",
    "Run",
    "RunFailedError",
    "RunOperation",
    "RunRef",
    "RunStatus",
    "RunSummary",
    "Section",
    "SectionLog",
    "ServerError",
    "StatusChanged",
    "Transition",
    "TransportError",
    "UnauthorizedError",
    "Verdict",
    "VibeError",
    "WaitTimeoutError",
    "__version__",
]

_NAMES = {
    "_policy": ("PollPlan", "RetryPolicy"),
    "batch": ("Batch",),
    "client": ("Client",),
    "errors": (
        "ClientClosedError",
        "ConfigError",
        "ConflictError",
        "DispatchUnknownError",
        "FeatureBusyError",
        "FeatureNotGeneratedError",
        "ForbiddenError",
        "GenerationCancelledError",
        "GenerationFailedError",
        "GenerationInProgressError",
        "InvalidRequestError",
        "MalformedResponseError",
        "NotFoundError",
        "NotSentError",
        "ObservationError",
        "OperationNotFoundError",
        "OperationSupersededError",
        "OutcomeError",
        "OutcomeUnknownError",
        "RateLimitedError",
        "ResponseError",
        "RunFailedError",
        "ServerError",
        "TransportError",
        "UnauthorizedError",
        "VibeError",
        "WaitTimeoutError",
    ),
    "events": (
        "Dispatched",
        "Event",
        "Hooks",
        "ListRested",
        "LookFailed",
        "Paused",
        "RequestFinished",
        "RetryScheduled",
        "StatusChanged",
    ),
    "models": (
        "Artifact",
        "CaseResult",
        "Config",
        "Diagnosis",
        "DownloadProgress",
        "Feature",
        "FeatureStatus",
        "Generation",
        "GenerationLog",
        "Phase",
        "ProjectFile",
        "ProjectInfo",
        "Run",
        "RunStatus",
        "RunSummary",
        "Section",
        "SectionLog",
        "Transition",
    ),
    "operations": ("GenerationOperation", "Operation", "RunOperation"),
    "outcomes": ("BatchItem", "BatchSummary", "Verdict"),
    "project": ("Project",),
    "refs": ("GenerationRef", "Ref", "RunRef"),
}
"""The module of each name; the imports above say the same to type checkers."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
