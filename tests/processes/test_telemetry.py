"""Telemetry in a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import testvibe_async


def test_a_provider_that_is_not_installed() -> None:
    """A client works without telemetry, and a warning says why."""
    code = (
        "import logging, os; logging.basicConfig();"
        "from testvibe_async import Client;"
        "Client('https://testvibe.example', api_key='tvb_' + 'k' * 43, project='p');"
        "print('works')"
    )
    environment = {"OTEL_PYTHON_TRACER_PROVIDER": "nowhere", "PATH": ""}
    ended = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert ended.stdout == "works\n"
    assert "OpenTelemetry can't be used" in ended.stderr


def test_the_page_prints_a_trace() -> None:
    """The function of the page shows a run and its requests on the console of a real program."""
    page = Path(testvibe_async.__file__).parent / "_telemetry" / "README.md"
    block = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    code = block + (
        "\nprint_traces()\n"
        "import asyncio\n"
        "from testvibe_async import Client\n"
        "from testvibe_async.testing import Emulator\n"
        "async def main():\n"
        "    async with Emulator(speed=100) as emulator, Client(\n"
        "        emulator.url, api_key=emulator.api_key, project=emulator.project_id\n"
        "    ) as client:\n"
        "        await client.project().run_features(['Checkout'])\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    names = set(re.findall(r'"name": "([^"]+)"', ended.stdout))
    assert {"testvibe batch", "testvibe run", "transition", "POST", "GET"} <= names
