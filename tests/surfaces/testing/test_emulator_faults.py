"""Faults of the emulator, and the rules for them."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conftest import client_of
from testvibe_async import RetryPolicy, ServerError
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from testvibe_async.testing import Emulator

    from .conftest import Caller


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, "invalid_request"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (409, "conflict"),
        (418, "invalid_request"),
        (429, "rate_limited"),
        (500, "internal_error"),
        (503, "internal_error"),
    ],
)
async def test_a_status_comes_in_place_of_the_answer(call: Caller, code: int, error: str) -> None:
    """The error has the documented shape, and the service does not act."""
    call.emulator.fail("run_feature", Fault.status(code))
    assert (await call("POST", "/features/Checkout/run", {})).error == (code, error)
    assert call.emulator.requests[-1].status == code
    assert not call.emulator.runs


@pytest.mark.parametrize(("retry_after", "header"), [(3, "3"), (0.5, "0.5"), ("soon", "soon")])
async def test_a_status_may_ask_to_wait(
    call: Caller, retry_after: float | str, header: str
) -> None:
    """`Retry-After` is sent only if given, and unchanged."""
    call.emulator.fail("get_run", Fault.status(429, retry_after=retry_after), times=1)
    call.emulator.fail("get_run", Fault.status(429))
    assert (await call("GET", "/runs/1")).headers["Retry-After"] == header
    assert "Retry-After" not in (await call("GET", "/runs/1")).headers


async def test_a_status_may_have_another_body(call: Caller) -> None:
    """A given page in HTML is sent unchanged."""
    call.emulator.fail("*", Fault.status(502, body=b"<h1>Bad gateway</h1>"))
    reply = await call("GET", "")
    assert (reply.status, reply.body) == (502, b"<h1>Bad gateway</h1>")
    assert reply.headers["Content-Type"] == "text/html"


async def test_another_body_comes_in_place_of_the_answer(call: Caller) -> None:
    """A success may have a body that is no JSON; the service does not act."""
    call.emulator.fail("run_feature", Fault.body(b"{", status=202))
    reply = await call("POST", "/features/Checkout/run", {})
    assert (reply.status, reply.body) == (202, b"{")
    assert not call.emulator.runs


@pytest.mark.parametrize(("fault", "runs"), [(Fault.reset(), 0), (Fault.lost(), 1)])
async def test_a_reset_comes_before_or_after_acting(call: Caller, fault: Fault, runs: int) -> None:
    """The connection is reset; only a lost answer leaves a run."""
    call.emulator.fail("run_feature", fault)
    with pytest.raises(aiohttp.ClientOSError) as caught:
        await call("POST", "/features/Checkout/run", {})
    assert caught.value.errno == errno.ECONNRESET
    assert len(call.emulator.runs) == runs
    assert call.emulator.requests[-1].status is None


async def test_a_truncated_answer_promises_more_than_it_has(call: Caller) -> None:
    """The run is dispatched, and half of the answer arrives."""
    call.emulator.fail("run_feature", Fault.truncated())
    with pytest.raises(aiohttp.ClientPayloadError):
        await call("POST", "/features/Checkout/run", {})
    assert len(call.emulator.runs) == 1
    assert call.emulator.requests[-1].status is None


async def test_garbage_is_no_http(call: Caller) -> None:
    """The client can't parse it, and the service does not act."""
    call.emulator.fail("run_feature", Fault.garbage())
    with pytest.raises(aiohttp.ClientResponseError):
        await call("POST", "/features/Checkout/run", {})
    assert not call.emulator.runs


async def test_a_hanging_request_is_never_answered(call: Caller) -> None:
    """No answer comes for hours; other requests are served, and closing does not wait."""
    call.emulator.fail("run_feature", Fault.hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10_000):
            await call("POST", "/features/Checkout/run", {})
    hanging = asyncio.ensure_future(call("POST", "/features/Checkout/run", {}))
    await asyncio.sleep(1)
    assert (await call("GET", "")).status == 200
    assert not call.emulator.runs
    await call.emulator.aclose()
    with pytest.raises(aiohttp.ClientOSError):
        await hanging


async def test_a_delayed_request_is_done_late(call: Caller) -> None:
    """The run is dispatched and answered after the delay."""
    call.emulator.fail("run_feature", Fault.delay(7))
    dispatch = asyncio.ensure_future(call("POST", "/features/Checkout/run", {}))
    await asyncio.sleep(6.9)
    assert not call.emulator.runs
    assert (await dispatch).status == 202
    assert call.emulator.runs[214].created_at == 7


async def test_closing_does_not_wait_for_a_delay(call: Caller) -> None:
    """A delayed request is cut when the emulator closes, and has no effect."""
    call.emulator.fail("run_feature", Fault.delay(1000))
    dispatch = asyncio.ensure_future(call("POST", "/features/Checkout/run", {}))
    await asyncio.sleep(1)
    await call.emulator.aclose()
    assert call.emulator.now() < 2
    with pytest.raises(aiohttp.ClientOSError):
        await dispatch
    assert not call.emulator.runs


async def test_an_edit_changes_the_document_of_a_success(call: Caller) -> None:
    """The document of a success is changed; errors are not."""

    def archived(document: dict[str, Any]) -> object:
        return document | {"status": "archived"}

    call.emulator.fail("get_run", Fault.edit(archived))
    call.emulator.fail("get_run", Fault.edit(lambda document: [document]))
    run_id = await call.run()
    (document,) = await call.get(f"/runs/{run_id}")
    assert (document["runId"], document["status"]) == (run_id, "archived")
    assert (await call("GET", "/runs/1")).error == (404, "not_found")


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


@pytest.mark.parametrize("document", [{}, [], False, 0, ""])
async def test_an_edit_may_return_an_empty_document(call: Caller, document: object) -> None:
    """Whatever is not None is sent, also what counts as false."""
    call.emulator.fail("get_project", Fault.edit(lambda _: document))
    assert (await call.get("")) == document


async def test_the_error_of_a_client_names_the_mistake_in_an_edit(emulator: Emulator) -> None:
    """A test that uses the SDK reads the sentence in the error that it gets."""
    emulator.fail("get_feature", Fault.edit(lambda document: document.update(name="Other")))
    async with client_of(emulator, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(ServerError, match=r"Fault\.edit for get_feature returned None"):
            await client.project().get_feature("Checkout")


async def test_delays_and_edits_go_together_with_other_faults(call: Caller) -> None:
    """Delays add up; of the faults that end a request, only the first applies."""
    call.emulator.fail("get_project", Fault.delay(2))
    ending = call.emulator.fail("get_project", Fault.status(500), times=1)
    hidden = call.emulator.fail("*", Fault.status(503), times=1)
    call.emulator.fail("*", Fault.delay(3))
    assert (await call("GET", "")).status == 500
    assert call.emulator.now() == 5
    assert (ending.hits, hidden.hits) == (1, 0)
    assert (await call("GET", "")).status == 503
    assert (await call("GET", "")).status == 200


async def test_a_rule_skips_applies_and_passes(call: Caller) -> None:
    """`skip` lets the first requests pass, `times` limits the others, `hits` counts."""
    rule = call.emulator.fail("get_project", Fault.status(500), skip=1, times=2)
    statuses = [(await call("GET", "")).status for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]
    assert rule.hits == 2


async def test_a_rule_can_be_removed(call: Caller) -> None:
    """A removed rule no longer applies, and may be removed again."""
    rule = call.emulator.fail("*", Fault.status(500))
    assert (await call("GET", "")).status == 500
    rule.remove()
    rule.remove()
    assert (await call("GET", "")).status == 200


async def test_a_rule_is_for_an_operation_and_a_condition(call: Caller) -> None:
    """Other operations pass, and so do requests for which `when` is false."""
    first, second = await call.run("Checkout"), await call.run("Wishlist")
    call.emulator.fail("get_run", Fault.status(500), when=lambda request: request.run_id == second)
    assert (await call("GET", f"/runs/{first}")).status == 200
    assert (await call("GET", f"/runs/{second}")).status == 500
    assert (await call("GET", f"/runs/{second}/artifacts")).status == 200


async def test_a_star_is_any_request_to_the_api(call: Caller) -> None:
    """`"*"` matches unknown routes too, but not the second origin, which is `"download"`."""
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


async def test_a_rule_applies_before_the_key_is_checked(call: Caller) -> None:
    """A fault applies to requests without a key too."""
    call.emulator.fail("*", Fault.status(503))
    assert (await call.send("GET", "/api/v1/ops/projects")).status == 503


@pytest.mark.parametrize("fault", [Fault.reset(), Fault.garbage(), Fault.truncated(), Fault.hang()])
async def test_a_client_that_has_left_does_no_harm(
    call: Caller, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault is silent if the client has left before."""
    call.emulator.fail("*", Fault.delay(10))
    call.emulator.fail("*", fault)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await call("GET", "")
    await asyncio.sleep(10)
    await call.emulator.aclose()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_request_that_breaks_off_does_no_harm(
    call: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves in the middle of its body is not recorded, and nothing is logged."""
    host, _, port = call.emulator.url.removeprefix("http://").partition(":")
    for rest in (
        b"Content-Length: 9\r\n\r\nx",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + rest)
        await asyncio.sleep(1)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(1)
    assert not call.emulator.requests
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_body_that_can_not_be_unpacked_is_cut(call: Caller) -> None:
    """An invalid HTTP message is not recorded, and its connection is reset."""
    headers = {"Content-Encoding": "deflate"}
    with pytest.raises(aiohttp.ClientOSError):
        await call.send("POST", "/", body=b"not deflated", headers=headers)
    assert not call.emulator.requests
