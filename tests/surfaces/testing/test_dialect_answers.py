"""Whole answers in a dialect: dispatches, mutations, errors, rate limits, encodings, faults."""

from __future__ import annotations

import asyncio
import gzip
import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from attrs import evolve

from testvibe_async.testing import DIALECTS, Dialect, Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

REQUEST_ID = "…"


@pytest.mark.parametrize(
    ("dialect", "run", "generation"),
    [
        (
            Dialect(),
            {"runId": 214, "featureId": 14},
            {"requestId": REQUEST_ID, "featureId": 14},
        ),
        (
            Dialect(dispatch_shape="data"),
            {"data": {"runId": 214, "featureId": 14}},
            {"data": {"requestId": REQUEST_ID, "featureId": 14}},
        ),
        (
            Dialect(dispatch_shape="kind"),
            {"run": {"id": 214, "featureId": 14}},
            {"generation": {"id": REQUEST_ID, "featureId": 14}},
        ),
        (Dialect(dispatch_feature_id=False), {"runId": 214}, {"requestId": REQUEST_ID}),
        (
            Dialect(dispatch_shape="kind", dispatch_feature_id=False, ids_as_text=True),
            {"run": {"id": "214"}},
            {"generation": {"id": REQUEST_ID}},
        ),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_the_answer_to_a_dispatch_has_another_shape(
    emulate: Callable[..., Awaitable[Caller]],
    dialect: Dialect,
    run: object,
    generation: object,
    status: Any,
) -> None:
    """The ids stand elsewhere, or some are missing, at the status of the dialect."""
    call = await emulate(scenario={"dialect": evolve(dialect, dispatch_status=status)})
    reply = await call("POST", "/features/Checkout/run", {})
    assert (reply.status, reply.document) == (status, run)
    reply = await call("POST", "/features/Checkout/generate", {})
    (request_id,) = call.emulator.generations
    expected = json.loads(json.dumps(generation).replace(json.dumps(REQUEST_ID)[1:-1], request_id))
    assert (reply.status, reply.document) == (status, expected)


async def test_a_status_of_dispatches_is_of_no_other_answer(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Reads, creations and refused dispatches keep their own status."""
    call = await emulate(scenario={"dialect": Dialect(dispatch_status=200, dispatch_shape="data")})
    created = await call("POST", "/features", {"name": "New", "gherkin": "Feature: New"})
    assert (created.status, created.document["name"]) == (201, "New")
    assert (await call("POST", "/features/New/run", {})).error == (409, "conflict")


async def test_a_dispatch_is_found_some_seconds_later(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Until then, all that is asked about the run or the generation is answered with 404."""
    call = await emulate(scenario={"dialect": Dialect(dispatch_lag=4)})
    before = await call.get("/features/Checkout/generation")
    run_id, request_id = await call.run(), await call.generate()
    assert before["requestId"] != request_id
    paths = [f"/runs/{run_id}{tail}" for tail in ("", "/diagnosis", "/artifacts")]
    paths += [f"/features/Checkout/generation{tail}" for tail in ("", "/log")]
    await asyncio.sleep(3.9)
    for path in paths:
        assert (await call("GET", path)).error == (404, "not_found")
    await asyncio.sleep(0.2)
    for path in paths:
        assert (await call("GET", path)).status == 200
    assert (await call.get("/features/Checkout/generation"))["requestId"] == request_id


async def test_mutations_may_have_no_body(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """They are answered with 204, all others as ever."""
    call = await emulate(scenario={"dialect": Dialect(empty_mutations=True)})
    await call.generate()
    for method, path, body in (
        ("POST", "/features/Checkout/generation/cancel", {}),
        ("PATCH", "/features/Checkout", {"gherkin": "Feature: Checkout"}),
        ("PUT", "/files/content", {"path": "Features/x", "content": "x"}),
        ("DELETE", "/features/Checkout", None),
    ):
        reply = await call(method, path, body)
        assert (reply.status, reply.body) == (204, b"")
        assert "Content-Type" not in reply.headers
    assert (await call("DELETE", "/features/Checkout")).error == (404, "not_found")


MESSAGE = "This project has no feature 'Nowhere'."


@pytest.mark.parametrize(
    ("errors", "content_type", "document"),
    [
        ("code", "application/json", {"error": "not_found", "message": MESSAGE}),
        (
            "problem",
            "application/problem+json",
            {
                "type": "https://tools.ietf.org/html/rfc9110#section-15.5",
                "title": "Not Found",
                "status": 404,
                "detail": MESSAGE,
            },
        ),
        ("nested", "application/json", {"error": {"code": "not_found", "message": MESSAGE}}),
        ("text", "application/json", MESSAGE),
        ("capitalized", "application/json", {"Error": "not_found", "Message": MESSAGE}),
    ],
)
async def test_errors_are_documents_of_another_shape(
    emulate: Callable[..., Awaitable[Caller]], errors: Any, content_type: str, document: object
) -> None:
    """The status stays; the message stands elsewhere."""
    call = await emulate(scenario={"dialect": Dialect(errors=errors)})
    reply = await call("GET", "/features/Nowhere")
    assert (reply.status, reply.document) == (404, document)
    assert reply.headers["Content-Type"] == f"{content_type}; charset=utf-8"
    assert (await call("GET", "/features/Checkout")).status == 200


@pytest.mark.parametrize(("errors", "mark"), [("iis", "Server Error"), ("nginx", "nginx/1.")])
@pytest.mark.parametrize(
    ("status", "title"),
    [(404, "404 {}Not Found"), (409, "409 {}Conflict"), (499, "499 {}Bad Request")],
)
async def test_errors_are_pages_of_the_web_server(
    emulate: Callable[..., Awaitable[Caller]], errors: Any, mark: str, status: int, title: str
) -> None:
    """The page has the status in its title, and nothing of the service's message."""
    call = await emulate(scenario={"dialect": Dialect(errors=errors)})
    call.emulator.fail("get_feature", Fault.status(status))
    reply = await call("GET", "/features/Checkout")
    assert (reply.status, reply.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    text = reply.body.decode()
    assert f"<title>{title.format('- ' if errors == 'iis' else '')}</title>" in text
    assert mark in text
    assert "emulator" not in text


async def test_a_method_that_is_not_allowed_keeps_its_header(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """`Allow` is there whatever the form of the error."""
    for errors in ("problem", "iis", "text"):
        call = await emulate(scenario={"dialect": Dialect(errors=errors)})
        reply = await call("PUT", "/features/1")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, PATCH, DELETE")


async def test_a_wrong_key_is_refused_in_the_dialect(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """The 401 has the form of every error."""
    call = await emulate(scenario={"dialect": Dialect(errors="text")})
    reply = await call.send("GET", "/api/v1/ops/projects")
    assert reply.status == 401
    assert reply.document.startswith("A valid API key is required")


@pytest.mark.parametrize(
    ("style", "status", "error", "retry_after"),
    [
        ("429", 429, "rate_limited", "1"),
        ("403_retry_after", 403, "forbidden", "1"),
        ("403_code", 403, "rate_limited", None),
    ],
)
async def test_one_request_too_many_is_refused(
    emulate: Callable[..., Awaitable[Caller]],
    style: Any,
    status: int,
    error: str,
    retry_after: str | None,
) -> None:
    """Three at once are served, then three a second; the others have the dialect's answer."""
    call = await emulate(scenario={"dialect": Dialect(rate_limit=3, rate_limit_answer=style)})
    for _ in range(3):
        assert (await call("GET", "")).status == 200
    refused = await call("POST", "/features/Checkout/run", {})
    assert refused.error == (status, error)
    assert refused.headers.get("Retry-After") == retry_after
    assert not call.emulator.runs
    await asyncio.sleep(1 / 3)
    assert [(await call("GET", "")).status for _ in range(2)] == [200, status]
    await asyncio.sleep(60)
    assert [(await call("GET", "")).status for _ in range(4)] == [200, 200, 200, status]


async def test_a_slow_rate_serves_one_request(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """Below one request a second, one is served at once; `Retry-After` is rounded up."""
    call = await emulate(scenario={"dialect": Dialect(rate_limit=0.3)})
    assert (await call("GET", "")).status == 200
    assert (await call("GET", "")).headers["Retry-After"] == "4"
    await asyncio.sleep(4)
    assert (await call("GET", "")).status == 200


@pytest.mark.parametrize(
    ("style", "status", "error", "retry_after"),
    [
        ("429", 429, "rate_limited", "7"),
        ("403_retry_after", 403, "forbidden", "7"),
        ("403_code", 403, "rate_limited", None),
    ],
)
async def test_a_fault_limits_rates_in_the_dialect(
    emulate: Callable[..., Awaitable[Caller]],
    style: Any,
    status: int,
    error: str,
    retry_after: str | None,
) -> None:
    """`Fault.status(429)` is answered as the dialect answers it; another status is not."""
    call = await emulate(scenario={"dialect": Dialect(rate_limit_answer=style)})
    call.emulator.fail("get_run", Fault.status(429, retry_after=7))
    call.emulator.fail("get_feature", Fault.status(503, retry_after=7))
    reply = await call("GET", "/runs/1")
    assert reply.error == (status, error)
    assert reply.headers.get("Retry-After") == retry_after
    assert call.emulator.requests[-1].status == status
    other = await call("GET", "/features/1")
    assert (other.status, other.headers["Retry-After"]) == (503, "7")


async def test_a_limit_by_403_always_says_when(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """A fault without `Retry-After` gets one, as without it nobody could tell what the 403 is."""
    call = await emulate(scenario={"dialect": Dialect(rate_limit_answer="403_retry_after")})
    call.emulator.fail("get_run", Fault.status(429))
    assert (await call("GET", "/runs/1")).headers["Retry-After"] == "1"


async def test_faults_with_bodies_of_their_own_are_sent_unchanged(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Whatever the dialect, `Fault.body` and a page of `Fault.status` arrive as they were given."""
    dialect = Dialect(case="upper", errors="problem", byte_order_mark=True, gzip=True)
    call = await emulate(scenario={"dialect": dialect})
    content = b'{"status":"passed"}'
    call.emulator.fail("get_run", Fault.body(content), times=1)
    call.emulator.fail("get_run", Fault.body(b'{"a":1}', status=400), times=1)
    call.emulator.fail("get_run", Fault.status(502, body=content))
    replies = [await call("GET", "/runs/1") for _ in range(3)]
    assert [reply.body for reply in replies] == [content, b'{"a":1}', content]
    assert not any("Content-Encoding" in reply.headers for reply in replies)


async def test_an_edit_comes_before_the_dialect(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """A function that knows the documented form works in any dialect; bytes stay as they are."""
    call = await emulate(scenario={"dialect": Dialect(case="upper", paging="cursor")})
    edit = call.emulator.fail("list_features", Fault.edit(itemgetter(slice(1))))
    (row,) = (await call.get("/features"))["items"]
    assert row["status"] == "DRAFT"
    edit.remove()
    call.emulator.fail("list_features", Fault.edit(lambda _: b'[{"status":"generated"}]'))
    assert await call.get("/features") == [{"status": "generated"}]


async def test_half_an_answer_is_half_of_that_of_the_dialect(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A truncated answer promises the length of the changed one."""
    call = await emulate(scenario={"dialect": Dialect(dispatch_shape="data")})
    call.emulator.fail("run_feature", Fault.truncated())
    url = f"{call.emulator.url}/api/v1/ops/projects/{call.emulator.project_id}/features/14/run"
    headers = {"Authorization": f"Bearer {call.emulator.api_key}"}
    async with call.session.post(url, data=b"{}", headers=headers) as response:
        assert response.content_length == len(b'{"data":{"runId":214,"featureId":14}}')
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_json_has_another_type_and_a_byte_order_mark(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Both apply to successes and errors, not to what has no body."""
    dialect = Dialect(content_type="text/plain", byte_order_mark=True, empty_mutations=True)
    call = await emulate(scenario={"dialect": dialect})
    for path, status in (("/features/Checkout", 200), ("/features/Nowhere", 404)):
        reply = await call("GET", path)
        assert (reply.status, reply.headers["Content-Type"]) == (status, "text/plain")
        assert reply.body.startswith(b"\xef\xbb\xbf{")
    assert (await call("DELETE", "/features/Checkout")).body == b""


async def test_a_problem_keeps_its_type(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """`content_type` is that of plain JSON; a page of HTML has no byte order mark."""
    dialect = Dialect(content_type="text/plain", byte_order_mark=True, errors="problem")
    call = await emulate(scenario={"dialect": dialect})
    reply = await call("GET", "/features/Nowhere")
    assert reply.headers["Content-Type"] == "application/problem+json; charset=utf-8"
    assert reply.body.startswith(b"\xef\xbb\xbf{")
    call = await emulate(scenario={"dialect": evolve(dialect, errors="nginx")})
    assert (await call("GET", "/features/Nowhere")).body.startswith(b"<html>")


async def test_bodies_are_compressed_for_who_accepts_it(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """`Accept-Encoding` decides; errors are compressed too, and what is empty is not."""
    call = await emulate(scenario={"dialect": Dialect(gzip=True, empty_mutations=True)})
    url = f"{call.emulator.url}/api/v1/ops/projects/{call.emulator.project_id}/features"
    key = {"Authorization": f"Bearer {call.emulator.api_key}"}
    plain = {**key, "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for path in (url, f"{url}/Nowhere"):
            async with session.get(path, headers=key) as response:
                assert response.headers["Content-Encoding"] == "gzip"
                packed = await response.read()
            async with session.get(path, headers=plain) as response:
                assert "Content-Encoding" not in response.headers
                assert gzip.decompress(packed) == await response.read()
        async with session.delete(f"{url}/Checkout", headers=key) as response:
            assert (response.status, await response.read()) == (204, b"")
            assert "Content-Encoding" not in response.headers


async def test_downloads_have_no_dialect(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """The host of artifacts is another one: its files and errors are as ever."""
    dialect = Dialect(errors="problem", gzip=True, login="page", byte_order_mark=True)
    call = await emulate(scenario={"dialect": dialect})
    reply = await call.send("GET", f"{call.emulator.artifact_url}/x")
    assert (reply.status, reply.headers["Content-Type"]) == (403, "text/plain; charset=utf-8")


@pytest.mark.parametrize("name", DIALECTS)
async def test_each_named_dialect_differs(
    emulate: Callable[..., Awaitable[Caller]], name: str
) -> None:
    """A few requests are enough to see that the service is not the documented one."""

    async def seen(dialect: Dialect) -> list[object]:
        call = await emulate(scenario={"dialect": dialect, "failing_runs": 1}, link_lifetime=9e9)
        call.emulator.add_feature("a/b")
        asked: list[tuple[str, str, object]] = [
            ("POST", "/features/Returns/run", {}),
            ("GET", "/runs/214", None),
            ("GET", "/features/Nowhere", None),
            ("GET", "/features/a%2Fb", None),
            ("POST", "/features/Checkout/generate", {}),
            ("POST", "/features/Checkout/generation/cancel", None),
            ("POST", "/features/Login%20Functionality/run", {}),
            ("GET", "/runs?limit=9", None),
            ("GET", "/features", None),
        ]
        replies = [await call(method, path, body) for method, path, body in asked]
        await asyncio.sleep(60)
        replies += [await call("GET", path) for path in ("/features/14/generation", "/runs/214")]
        names = ("Content-Type", "Content-Encoding")
        headers = [[each.headers.get(name) for name in names] for each in replies]
        return [
            urlsplit(call.emulator.url).path,
            *headers,
            *((each.status, each.body) for each in replies),
        ]

    assert await seen(DIALECTS[name]) != await seen(Dialect())
