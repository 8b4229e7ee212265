"""Faults that leave a caller without an answer, by whether the service acted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testvibe_async._wire.endpoints import custom_request
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from testvibe_async import Project


ANSWER_LOST = [
    Fault.lost(),
    Fault.truncated(),
    Fault.edit(lambda _: {"unexpected": True}),
]
"""The service acts, and its answer does not arrive whole."""


NOTHING_DONE = [
    Fault.reset(),
    Fault.hang(),
    Fault.garbage(),
    Fault.status(500),
    Fault.status(502, body=b"<html>bad gateway</html>"),
    Fault.status(503, retry_after=1),
]
"""The service did not act, and the caller can't know that."""


async def list_run_rows(project: Project) -> list[dict[str, Any]]:
    """Return the answer to `list_runs` as it is on the wire."""
    rows: list[dict[str, Any]] = await project._transport.call(
        custom_request("GET", f"/projects/{project.id}/runs")
    )
    return rows
