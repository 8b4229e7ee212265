"""What comes between a client and the service: faults, a middleware, a limit of the rate."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import pytest
from attrs import evolve

from tests.surfaces.testing.conftest import Caller, Emulate
from testvibe_async.testing import Answer, Emulator, Fault, Middleware, RecordedRequest


def misspelt(_: object) -> bool:
    raise AttributeError("no attribute 'featrue'")


def emptied(document: dict[str, Any]) -> None:
    document.clear()


@pytest.mark.parametrize(
    ("fault", "when", "error"),
    [
        (Fault.edit(emptied), None, "get_project returned None"),
        (Fault.edit(misspelt), None, "no attribute 'featrue'"),
        (Fault.reset(), misspelt, "no attribute 'featrue'"),
    ],
    ids=["edit without a result", "edit", "when"],
)
async def test_an_error_of_a_function_is_named(
    call: Caller,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    when: Callable[[object], bool] | None,
    error: str,
) -> None:
    """The answer to the request has the error of the test's own function, the log its traceback."""
    rule = call.emulator.fail("get_project", fault, when=when)
    reply = await call("GET", "")

    assert reply.error == (500, "internal_error")
    assert error in reply.document["message"]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert call.emulator.requests[-1].status == 500
    rule.remove()
    assert (await call("GET", "")).status == 200


async def test_a_star_is_any_request_to_the_api(call: Caller) -> None:
    """`"*"` matches unknown routes, without a key too, but not the second origin: "download"."""
    run_id = await call.run()
    await asyncio.sleep(60)
    link = (await call.get(f"/runs/{run_id}/artifacts"))[0]["url"]
    rule = call.emulator.fail("*", Fault.status(500))
    assert (await call.send("GET", "/unknown")).status == 500
    assert (await call.send("GET", link)).status == 200
    rule.remove()
    call.emulator.fail("download", Fault.truncated())
    with pytest.raises(aiohttp.ClientPayloadError):
        await call.send("GET", link)
    assert (await call("GET", "")).status == 200
    assert call.emulator.count("download") == 2


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


async def test_a_middleware_stands_before_the_service(emulate: Emulate) -> None:
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
