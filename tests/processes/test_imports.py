"""What an import brings, in a new Python."""

from __future__ import annotations

import json
import subprocess
import sys

UTILITIES = ("_util", "_util.text", "_util.version")


def modules_after(statement: str) -> set[str]:
    """Return what a fresh interpreter has imported after a statement."""
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own words
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


def test_the_package_alone_imports_nothing() -> None:
    """`import testvibe_async` brings its version and no library: names come when they are used."""
    modules = modules_after("import testvibe_async")
    loaded = {name for name in modules if name.startswith("testvibe_async")}
    assert loaded == {"testvibe_async", *(f"testvibe_async.{name}" for name in UTILITIES)}
    assert not modules & {"aiohttp", "asyncio", "attrs", "cattrs", "anyio"}


def test_values_and_errors_import_no_client() -> None:
    """The values, the refs and the errors, with their `to_dict`, bring attrs and no more."""
    names = ", ".join(f"testvibe_async.{name}" for name in ("errors", "outcomes"))
    modules = modules_after(f"import {names}")
    assert {"testvibe_async.models", "testvibe_async.refs"} <= modules
    assert not modules & {"aiohttp", "asyncio", "cattrs", "anyio"}
    assert not [name for name in modules if name.endswith("._wire")]


def test_importing_the_client_imports_no_extra() -> None:
    """`Client` brings the core's four libraries and none of an extra or a test."""
    loaded = modules_after("from testvibe_async import Client")
    modules = {name.partition(".")[0] for name in loaded}
    assert {"testvibe_async", "aiohttp", "attrs", "cattrs", "anyio"} <= modules
    assert not modules & {
        "cyclopts",
        "rich",
        "platformdirs",
        "pytest",
        "_pytest",
        "mcp",
        "hypothesis",
        "sqlalchemy",
        "orjson",
        "aioresponses",
        "opentelemetry",
    }
    own = {name for name in loaded if name.startswith("testvibe_async.")}
    assert not [
        name
        for name in own
        if name.split(".")[1] in {"testing", "cli", "pytest_plugin", "mcp_server", "adapters"}
    ]
