"""The library alone: a run, a batch on a ledger file, reports; the command says what it lacks."""

import asyncio
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import testvibe_async
from testvibe_async import Client, ConfigError
from testvibe_async.reports import write_report
from testvibe_async.testing import Emulator

SPEED = 200.0


async def main() -> None:
    """Use it on an emulator."""
    async with (
        Emulator(speed=SPEED) as service,
        Client(
            service.url, api_key=service.api_key, poll_interval=3 / SPEED, ledger="ledger.sqlite"
        ) as client,
    ):
        project = client.project(service.project_id)
        run = await (await project.run_feature("Checkout"))
        assert run.is_finished
        items = await project.run_features(["Returns", "Wishlist"], key="nightly")
        for name in ("junit.xml", "ctrf.json", "summary.md"):
            write_report(name, items)
            assert Path(name).stat().st_size
        refusal = ""
        try:
            write_report("report.html", items)
        except ConfigError as error:
            refusal = str(error)
        assert "jinja2" in refusal


def refusal_of(module: str) -> str:
    """Return the error of a module that needs an extra."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        return str(error)
    return ""


assert "site-packages" in (testvibe_async.__file__ or "")
assert not {name for name in ("cyclopts", "mcp", "pytest") if find_spec(name)}
asyncio.run(main())
assert "pip install 'testvibe-async[mcp]'" in refusal_of("testvibe_async.mcp_server")
command = Path(sys.executable).with_name("testvibe-async")
refused = subprocess.run([command], capture_output=True, text=True, check=False)
assert refused.returncode == 2, refused
assert "needs" in refused.stderr
assert "Traceback" not in refused.stderr
print(f"run, batch, ledger, reports with {version('testvibe-async')}")
