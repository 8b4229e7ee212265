"""What a program of its own meets: imports, the log, telemetry, and a loop that was closed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import testvibe_async
from testvibe_async.testing import Emulator, Fault


def run(code: str, *arguments: str, **variables: str) -> tuple[str, str]:
    """Run a program in a fresh interpreter; return what it printed, and its errors."""
    ended = subprocess.run(  # noqa: S603 - our own interpreter, our own words
        [sys.executable, "-c", code, *arguments],
        env={"PATH": "", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr


def modules_after(code: str) -> set[str]:
    """Return what a fresh interpreter has imported after some code."""
    return set(json.loads(run(f"{code}\nimport json, sys; print(json.dumps([*sys.modules]))")[0]))


def test_the_package_alone_imports_nothing() -> None:
    """`import testvibe_async` brings its version and no library: names come when they are used."""
    modules = modules_after("import testvibe_async")
    loaded = {name for name in modules if name.startswith("testvibe_async")}
    assert loaded == {"testvibe_async"} | {
        f"testvibe_async.{name}"
        for name in ("_core", "_core.util", "_core.util.text", "_core.util.version")
    }
    assert not modules & {"aiohttp", "asyncio", "attrs", "cattrs", "anyio"}


def test_values_and_errors_import_no_client() -> None:
    """The values, the refs and the errors, with their `to_dict`, bring attrs and no more."""
    modules = modules_after("import testvibe_async.errors, testvibe_async.outcomes")
    assert {"testvibe_async.models", "testvibe_async.refs"} <= modules
    assert not modules & {"aiohttp", "asyncio", "cattrs", "anyio"}
    assert not [name for name in modules if name.endswith("._core.wire")]


def test_importing_the_client_imports_no_extra() -> None:
    """`Client` brings the core's four libraries and none of an extra or a test."""
    loaded = modules_after("from testvibe_async import Client")
    modules = {name.partition(".")[0] for name in loaded}
    assert {"testvibe_async", "aiohttp", "attrs", "cattrs", "anyio"} <= modules
    assert not modules & {
        *("cyclopts", "rich", "platformdirs", "pytest", "_pytest", "mcp", "hypothesis"),
        *("orjson", "aioresponses", "opentelemetry"),
    }
    rooms = {name.split(".")[1] for name in loaded if name.startswith("testvibe_async.")}
    assert not rooms & {"testing", "cli", "pytest_plugin", "mcp_server"}


CLIENT = """
import logging, sys
from testvibe_async import Client

logging.basicConfig()
Client("https://testvibe.example", api_key="tvb_" + "k" * 43, project="p", endpoints={})
print({"tomllib", "platformdirs"} & {*sys.modules})
"""


def test_a_complete_client_needs_no_file_and_no_telemetry() -> None:
    """What reads files is not loaded for it; a provider that is not installed is a warning."""
    output, errors = run(CLIENT, OTEL_PYTHON_TRACER_PROVIDER="nowhere")
    assert output == "set()\n"
    assert "OpenTelemetry can't be used" in errors


TRACED = """
print_traces()
import asyncio
from testvibe_async import Client
from testvibe_async.testing import Emulator

async def main():
    async with Emulator(speed=100) as emulator, Client(
        emulator.url, api_key=emulator.api_key, project=emulator.project_id
    ) as client:
        await client.project().run_features(["Checkout"])

asyncio.run(main())
"""


def test_the_page_prints_a_trace() -> None:
    """The function of the page shows a run and its requests on the console of a real program."""
    page = Path(testvibe_async.__file__).parent / "_core" / "telemetry" / "README.md"
    block = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    output, _ = run(block + TRACED)
    names = set(re.findall(r'"name": "([^"]+)"', output))
    assert {"testvibe batch", "testvibe run", "transition", "POST", "GET"} <= names


LEAVES_ITS_LOOP = """
import asyncio, sys
from testvibe_async import Client

client = Client(sys.argv[1], api_key=sys.argv[2], project=sys.argv[3])

async def leave_behind():
    left = asyncio.ensure_future(client.project().run_feature("Checkout"))
    await asyncio.sleep(0.2)
    return left

loop = asyncio.new_event_loop()
left = loop.run_until_complete(leave_behind())
loop.close()
asyncio.run(asyncio.wait_for(client.aclose(), 5))
print("closed", left.done())
"""


def test_a_client_whose_loop_was_closed_can_be_closed_in_another(
    testvibe_emulator: Emulator,
) -> None:
    """A dispatch that a closed loop left behind is not waited for: nothing can end it there."""
    testvibe_emulator.fail("run_feature", Fault.hang())
    service = testvibe_emulator.url, testvibe_emulator.api_key, testvibe_emulator.project_id
    assert run(LEAVES_ITS_LOOP, *service)[0] == "closed False\n"
