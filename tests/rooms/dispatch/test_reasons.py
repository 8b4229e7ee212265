"""Answers that come from a cache on the way."""

from typing import Any

from attrs import evolve

from tests.promises.dispatch.test_lost_runs import _unknown
from testvibe_async import Client
from testvibe_async.testing import Emulator, Fault


async def test_a_list_from_a_cache_is_not_believed(emulator: Emulator, client: Client) -> None:
    """An answer that a cache has kept is asked for again, and proves nothing."""
    seen: list[str] = []
    fetch = client._transport.fetch

    async def cached(request: Any, **options: Any) -> Any:
        response = await fetch(request, **options)
        if request.is_uncached:
            seen.append(request.endpoint.name)
            return evolve(response, headers={**response.headers, "Age": "30"})
        return response

    client._transport.fetch = cached  # type: ignore[method-assign]
    emulator.fail("run_feature", Fault.lost())
    error = await _unknown(client.project())
    assert seen == ["list_runs"] * 3
    assert error.reason == "unseen"
    assert "it comes from a cache on the way (Age: 30)" in str(error)
    headers = emulator.requests[-1].headers
    assert headers["Cache-Control"] == "no-cache"
