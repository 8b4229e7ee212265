"""OpenTelemetry's API alone, without an SDK: spans are begun, and cost nothing."""

import asyncio
from importlib.util import find_spec

from opentelemetry import trace

from testvibe_async import Client
from testvibe_async._core.telemetry import telemetry
from testvibe_async.testing import Emulator

SPEED = 200.0


async def main() -> None:
    """Run a feature below a span of the application."""
    async with (
        Emulator(speed=SPEED) as service,
        Client(service.url, api_key=service.api_key, poll_interval=3 / SPEED) as client,
    ):
        with trace.get_tracer("app").start_as_current_span("deploy"):
            run = await (await client.project(service.project_id).run_feature("Checkout"))
    assert run.is_finished


assert find_spec("opentelemetry.sdk") is None
assert type(telemetry()).__name__ == "OpenTelemetry"
asyncio.run(main())
print("a run is traced")
