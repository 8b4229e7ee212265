"""An asyncio SDK for TestVibe: dispatch runs and generations, and await their outcomes.

Each name is imported from its module when it is first used, so that a program that only might need
the package, such as pytest with its plugin, does not pay for it.
"""

import importlib
import typing

from testvibe_async._core.util import __version__ as __version__

if typing.TYPE_CHECKING:
    from testvibe_async._core.http import RetryPolicy as RetryPolicy
    from testvibe_async._core.ledger import MemoryLedger as MemoryLedger
    from testvibe_async._core.ledger import SqliteLedger as SqliteLedger
    from testvibe_async.batch import Batch as Batch
    from testvibe_async.batch import StoredBatch as StoredBatch
    from testvibe_async.client import Client as Client
    from testvibe_async.errors import *
    from testvibe_async.events import Hooks as Hooks
    from testvibe_async.ledger import Ledger as Ledger
    from testvibe_async.models import *
    from testvibe_async.operations import GenerationOperation as GenerationOperation
    from testvibe_async.operations import Operation as Operation
    from testvibe_async.operations import RunOperation as RunOperation
    from testvibe_async.outcomes import *
    from testvibe_async.project import Project as Project
    from testvibe_async.refs import *

_PUBLIC = {
    "client": [
        "Client",
    ],
    "ledger": [
        "Ledger",
    ],
    "_core.ledger": [
        "MemoryLedger",
        "SqliteLedger",
    ],
    "project": [
        "Project",
    ],
    "operations": [
        "GenerationOperation",
        "Operation",
        "RunOperation",
    ],
    "batch": [
        "Batch",
        "StoredBatch",
    ],
    "models": [
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
    ],
    "refs": [
        "GenerationRef",
        "Ref",
        "RunRef",
    ],
    "outcomes": [
        "BatchItem",
        "BatchSummary",
        "Quarantined",
        "Verdict",
    ],
    "errors": [
        "ClientClosedError",
        "ConfigError",
        "ConflictError",
        "ContradictionError",
        "DispatchUnknownError",
        "EndpointNotFoundError",
        "FeatureBusyError",
        "FeatureNotGeneratedError",
        "ForbiddenError",
        "GenerationInProgressError",
        "IncompleteListError",
        "InvalidRequestError",
        "LedgerError",
        "MalformedResponseError",
        "NotFoundError",
        "NotSentError",
        "ObservationError",
        "OperationNotFoundError",
        "OperationSupersededError",
        "OutcomeUnknownError",
        "RateLimitedError",
        "ResponseError",
        "ServerError",
        "TransportError",
        "UnauthorizedError",
        "VibeError",
        "WaitTimeoutError",
    ],
    "events": [
        "Hooks",
    ],
    "_core.http": [
        "RetryPolicy",
    ],
}
"""The public names, once each, by the module that defines them."""

_HOMES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [*sorted(["__version__", *_HOMES])]  # pyright: ignore[reportUnsupportedDunderAll]


# Type checkers would take any name for one of the package's.
if not typing.TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        """Import a public name at its first use (PEP 562)."""
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
