"""The public names: which they are, and where they are."""

import ast
import importlib
import inspect

import pytest

import testvibe_async

NAMES = [
    *("Artifact", "Batch", "BatchItem", "BatchSummary", "CaseResult", "Client"),
    *("ClientClosedError", "Config", "ConfigError", "ConflictError", "ContradictionError"),
    "Diagnosis",
    *("DispatchUnknownError", "DownloadProgress", "EndpointNotFoundError", "Feature"),
    *("FeatureBusyError", "FeatureNotGeneratedError", "FeatureStatus", "ForbiddenError"),
    *("Generation", "GenerationCancelledError", "GenerationFailedError"),
    *("GenerationInProgressError", "GenerationLog", "GenerationOperation", "GenerationRef"),
    *("Hooks", "IncompleteListError", "InvalidRequestError", "Ledger", "LedgerError", "Listing"),
    *("MalformedResponseError", "MemoryLedger", "NotFoundError", "NotSentError"),
    *("ObservationError", "Operation"),
    *("OperationNotFoundError", "OperationSupersededError", "OutcomeError", "OutcomeUnknownError"),
    *("Phase", "Project", "ProjectFile", "ProjectInfo", "Quarantined", "RateLimitedError"),
    *("Ref", "ResponseError", "RetryPolicy", "Run", "RunFailedError"),
    *("RunOperation", "RunRef", "RunStatus", "RunSummary", "Section", "SectionLog", "ServerError"),
    *("SqliteLedger", "StoredBatch"),
    *("Transition", "TransportError", "UnauthorizedError", "UndocumentedStatusError", "Verdict"),
    *("VibeError", "WaitTimeoutError", "__version__"),
]


def test_the_public_names_are_these() -> None:
    """`__all__` is the list above: adding or losing a name is a decision, not an accident."""
    assert testvibe_async.__all__ == NAMES
    assert all(hasattr(testvibe_async, name) for name in NAMES)


def test_all_that_the_package_imports_is_public() -> None:
    """The package holds no public name that is not in `__all__`, except its own modules."""
    names = {
        name
        for name, value in vars(testvibe_async).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert names <= set(NAMES)


def test_no_public_name_is_collected_by_pytest() -> None:
    """No public name begins with Test, which pytest would collect from a user's test module."""
    assert not [name for name in NAMES if name.lower().startswith("test")]


def test_each_name_is_where_type_checkers_find_it() -> None:
    """The imports that type checkers see, and those that happen at first use, are the same."""
    tree = ast.parse(inspect.getsource(testvibe_async))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    homes: dict[str, str] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module is not None
        names = [alias.name for alias in node.names]
        if names == ["*"]:
            names = importlib.import_module(node.module).__all__
        homes |= dict.fromkeys(names, node.module.removeprefix("testvibe_async."))
    for name, home in homes.items():
        found = getattr(importlib.import_module(f"testvibe_async.{home}"), name)
        assert getattr(testvibe_async, name) is found
    assert sorted(["__version__", *homes]) == NAMES
    assert dir(testvibe_async) == NAMES


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """A name that the package does not have raises AttributeError, as for any module."""
    with pytest.raises(AttributeError, match=r"module 'testvibe_async' has no attribute 'Clint'"):
        getattr(testvibe_async, "Clint")  # noqa: B009 - type checkers know that it is not there
