"""The public names: which they are, that they are explained, and what importing them costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import testvibe_async

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = [
    "Artifact",
    "Batch",
    "BatchItem",
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
    "VibeError",
    "WaitTimeoutError",
    "__version__",
]
CLASSES = [name for name in NAMES if name != "__version__"]

OPERATIONS = {
    "list_features",
    "get_feature",
    "create_feature",
    "update_feature",
    "delete_feature",
    "generate_feature",
    "get_generation_status",
    "get_generation_log",
    "cancel_generation",
    "wait_for_generation",
    "run_feature",
    "list_runs",
    "get_run",
    "wait_for_run",
    "diagnose_run",
    "get_run_artifacts",
    "list_files",
    "read_file",
    "write_file",
    "list_configs",
}


def test_the_public_names_are_these() -> None:
    """`__all__` is the list above: adding or losing a name is a decision, not an accident."""
    assert testvibe_async.__all__ == NAMES
    assert all(hasattr(testvibe_async, name) for name in NAMES)


def test_all_that_the_package_imports_is_public() -> None:
    """The package holds no public name that is not in `__all__`, but for its own modules."""
    names = {
        name
        for name, value in vars(testvibe_async).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert names <= set(NAMES)


def test_no_public_name_is_collected_by_pytest() -> None:
    """No public name begins with Test, which pytest would collect from a user's test module."""
    assert not [name for name in NAMES if name.lower().startswith("test")]


def test_the_operations_have_the_services_names() -> None:
    """Client and Project have all 22 operations of the service under its own names."""
    assert len(OPERATIONS) == 20
    assert set(vars(testvibe_async.Project)) >= OPERATIONS
    assert set(vars(testvibe_async.Client)) >= {"list_projects", "get_project"}
    for name in OPERATIONS:
        assert inspect.iscoroutinefunction(getattr(testvibe_async.Project, name))


def members(kind: type) -> Iterator[tuple[str, object]]:
    """Return the functions and properties that a class itself defines and shows."""
    for name, member in vars(kind).items():
        is_shown = not name.startswith("_")
        inner: Any = member.fget if isinstance(member, property) else member
        inner = getattr(inner, "__func__", inner)  # of a class or static method
        is_ours = inspect.isfunction(inner) and inner.__module__.startswith("testvibe_async")
        if is_shown and is_ours:
            yield name, inner


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_thing_is_explained(name: str) -> None:
    """Every public class has a docstring of its own, and so has each public method of it."""
    kind = getattr(testvibe_async, name)
    assert kind.__dict__.get("__doc__")
    unexplained = [member for member, inner in members(kind) if not inspect.getdoc(inner)]
    assert unexplained == []


def test_the_check_for_docstrings_sees_methods_and_properties() -> None:
    """The check above looks at methods, class methods and properties."""
    assert {"wait", "poll", "updates", "status"} <= dict(members(testvibe_async.Operation)).keys()
    assert {"to_json", "from_json"} <= dict(members(testvibe_async.Ref)).keys()


def test_every_error_is_public() -> None:
    """Every class of the error tree can be imported from the package."""
    from testvibe_async import errors  # noqa: PLC0415 - the one test that needs the module

    assert set(errors.__all__) <= set(NAMES)


def test_the_version_is_one() -> None:
    """`__version__` is a version."""
    parts = testvibe_async.__version__.split(".")
    assert len(parts) >= 3
    assert parts[0].isdigit()


def test_importing_the_package_imports_no_extra() -> None:
    """`import testvibe_async` brings the core's four libraries and none of an extra or a test."""
    code = "import json, sys, testvibe_async; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own words
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    modules = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert {"testvibe_async", "aiohttp", "attrs", "cattrs", "anyio"} <= modules
    assert not modules & {
        "cyclopts",
        "rich",
        "platformdirs",
        "pytest",
        "_pytest",
        "mcp",
        "hypothesis",
        "dbos",
        "orjson",
        "aioresponses",
        "opentelemetry",
    }
    own = {name for name in json.loads(done.stdout) if name.startswith("testvibe_async.")}
    assert not [
        name
        for name in own
        if name.split(".")[1] in {"testing", "cli", "pytest_plugin", "mcp_server", "adapters"}
    ]
