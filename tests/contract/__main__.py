"""Record the documented service, and three dialects of it: `doctor --record`, and a generation."""

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import settings_of
from tests.support.dialects import DIALECTS, Dialect
from testvibe_async import Client
from testvibe_async._core.config import load_settings
from testvibe_async.cli.doctor.examination import Examination
from testvibe_async.cli.doctor.recording import disguised
from testvibe_async.testing import Emulator, Outcome, Scenario, VirtualTimeLoop

FOLDER = Path(__file__).parent / "recordings"
RECORDED = ("paged-by-cursor", "dispatch-lag", "documented-routes-404")
"""Those that a recording could show otherwise than the emulator does: by time, page and route."""

SCENARIO = Scenario(
    failing_runs=0,
    failing_generations=0,
    outcomes={"Returns": Outcome(run_status="failed", error="Error: no refund")},
)


async def record(name: str, dialect: Dialect) -> None:
    """Record one service: its lists, a run that fails, and a generation."""
    async with Emulator(**dialect.options, shop=False, scenario=SCENARIO) as emulator:
        for feature in ("Checkout", "Returns", "Wishlist", "Gift cards", "Search", "Sign in"):
            emulator.add_feature(feature)
        emulator.add_feature("Loyalty points", status="draft")
        os.environ.update(settings_of(emulator))
        async with Client(max_connections=1) as client:
            examination = Examination(client, load_settings(), "Returns")
            await examination.perform()
            project = client.project()
            await project.get_generation_status("Loyalty points")
            await (await project.generate_feature("Loyalty points")).wait()
        recording, _ = disguised(examination.tap)
        recording.save(FOLDER / f"{name}.json")


def main() -> None:
    """Record all of them."""
    with TemporaryDirectory() as home:
        os.environ.update(HOME=home, XDG_CONFIG_HOME=home, XDG_STATE_HOME=home)
        for name in ("as-documented", *RECORDED):
            with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
                runner.run(record(name, DIALECTS.get(name, Dialect())))


if __name__ == "__main__":
    main()
