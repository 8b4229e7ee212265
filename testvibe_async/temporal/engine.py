"""The connection to the engine, configured as that of the command `temporal` is."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from typing import Any

from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError

from testvibe_async.errors import ConfigError

_USUAL_NAMES = {
    "TEMPORAL_TLS_CLIENT_CERT_PATH": "TEMPORAL_TLS_CERT",
    "TEMPORAL_TLS_CLIENT_KEY_PATH": "TEMPORAL_TLS_KEY",
}
"""Variables of the command `temporal`, and the names that they had before."""

ANSWER_SECONDS = timedelta(seconds=5)
"""Seconds in which the engine must answer."""


@cache
def _runtime() -> Runtime:
    """Return a runtime that does not print each retry of a call to standard output."""
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter="error")))


async def connect(address: str | None = None, *, namespace: str | None = None) -> Client:
    """Connect to the engine, by arguments, variables and the file of the command `temporal`.

    Args:
        address: Host and port; None for those of `TEMPORAL_ADDRESS`, or of the file.
        namespace: The namespace; None for that of `TEMPORAL_NAMESPACE`, or of the file, or
            `default`.

    Raises:
        ConfigError: No address is set, or a setting is wrong.
        RuntimeError: The engine does not answer, or refuses.
    """
    before = {new: os.environ[old] for new, old in _USUAL_NAMES.items() if old in os.environ}
    options = {"target_host": address, "namespace": namespace}
    try:
        found = ClientConfig.load_client_connect_config(override_env_vars={**before, **os.environ})
    except Exception as error:
        raise ConfigError(f"the settings of Temporal can't be read: {error}") from error
    settings: dict[str, Any] = {**found, **{n: value for n, value in options.items() if value}}
    if not settings.get("target_host"):
        raise ConfigError("no address of Temporal: pass --address, or set TEMPORAL_ADDRESS")
    return await Client.connect(**settings, connect_timeout=ANSWER_SECONDS, runtime=_runtime())


async def failure_of(engine: Client) -> str | None:
    """Return why the engine does not answer; None if it does."""
    try:
        await engine.service_client.check_health(timeout=ANSWER_SECONDS)
    except RPCError as error:
        return error.message
    return None
