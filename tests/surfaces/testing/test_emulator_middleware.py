"""What stands before the service: a middleware of the test's own, and a limit of the rate."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from testvibe_async.testing import Answer, Emulator, Fault, Middleware, RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .conftest import Caller


class Gateway(Middleware):
    """Is below a path, takes one parameter for itself, refuses deletions, and signs answers."""

    path_prefix = "/gateway"

    def inner(self, path: str, query: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        path, query = super().inner(path, query)
        return path, {name: value for name, value in query.items() if name != "trace"}

    def before(self, request: RecordedRequest) -> Answer | None:
        return Answer(405, b"no") if request.method == "DELETE" else super().before(request)

    def after(self, request: RecordedRequest, answer: Answer) -> Answer:
        return evolve(
            super().after(request, answer), headers={"X-Gateway": answer.body[:9].decode()}
        )


async def test_a_middleware_stands_before_the_service(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """It decides what the service gets, and what is sent in its place, and sees every answer."""
    call = await emulate(strict=True, middleware=Gateway())
    assert call.emulator.url.endswith("/gateway")
    reply = await call("GET", "/configs?trace=1")
    assert (reply.status, reply.headers["X-Gateway"]) == (200, '[{"name":')
    reply = await call("DELETE", "/features/Checkout")
    assert (reply.status, reply.body, reply.headers["X-Gateway"]) == (405, b"no", "no")
    assert "Checkout" in call.emulator.features
    assert [each.operation for each in call.emulator.requests] == ["list_configs", "delete_feature"]
    assert not Emulator(middleware=Gateway()).url


async def test_faults_and_a_middleware(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """It gets the answers that faults make or edit, except those with bodies of their own."""
    call = await emulate(middleware=Gateway())
    call.emulator.fail("list_configs", Fault.status(503))
    call.emulator.fail("get_project", Fault.edit(lambda _: {"edited": True}))
    call.emulator.fail("list_files", Fault.status(502, body=b"page"))
    call.emulator.fail("list_runs", Fault.body(b"[]"))
    seen = [await call("GET", path) for path in ("/configs", "", "/files", "/runs")]
    assert [each.headers.get("X-Gateway") for each in seen] == [
        '{"error":',
        '{"edited"',
        None,
        None,
    ]
    assert json.loads(seen[1].body) == {"edited": True}


@pytest.mark.parametrize(("rate", "burst"), [(3, 3), (0.3, 1)])
async def test_one_request_too_many_is_refused(
    emulate: Callable[..., Awaitable[Caller]], rate: float, burst: int
) -> None:
    """A second's worth of requests is served at once; then 429 says when the next one is."""
    call = await emulate(rate_limit=rate)
    replies = [await call("GET", "/configs") for _ in range(burst + 1)]
    assert [each.status for each in replies] == [200] * burst + [429]
    assert replies[-1].error == (429, "rate_limited")
    seconds = int(replies[-1].headers["Retry-After"])
    assert seconds == (1 if rate > 1 else 4)
    await asyncio.sleep(seconds)
    assert (await call("GET", "/configs")).status == 200


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_is_a_number_above_zero(rate: float) -> None:
    """Any other is refused when the emulator is made."""
    with pytest.raises(ValueError, match="rate_limit must be a number above 0"):
        Emulator(rate_limit=rate)


async def test_a_dispatch_is_found_some_seconds_later(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """With a lag, what was dispatched is answered with 404 at first."""
    call = await emulate(dispatch_lag=4)
    path = f"/runs/{await call.run()}"
    await call.generate()
    for seconds, status in ((3.5, 404), (1, 200)):
        await asyncio.sleep(seconds)
        assert (await call("GET", path)).status == status
        assert (await call("GET", "/features/Checkout/generation")).status == status
