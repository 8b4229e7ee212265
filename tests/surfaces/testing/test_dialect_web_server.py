"""What a dialect's web server answers before the service: redirects, logins, missing routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from testvibe_async.testing import Dialect, Emulator, FaultProxy, Scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller, Reply

OPS = "/api/v1/ops"
ASSUMED = [
    ("GET", ""),
    ("POST", "/features"),
    ("DELETE", "/features/Checkout"),
    ("POST", "/features/Checkout/generation/cancel"),
    ("GET", "/runs"),
    ("GET", "/files"),
    ("GET", "/configs"),
]
DOCUMENTED = [
    ("GET", "/features"),
    ("GET", "/features/Checkout"),
    ("PATCH", "/features/Checkout"),
    ("POST", "/features/Checkout/generate"),
    ("GET", "/features/Checkout/generation"),
    ("GET", "/features/Checkout/generation/log"),
    ("POST", "/features/Returns/run"),
    ("GET", "/runs/214"),
    ("GET", "/runs/214/diagnosis"),
    ("GET", "/runs/214/artifacts"),
    ("GET", "/files/content?path=package.json"),
    ("PUT", "/files/content"),
]


def is_bare(reply: Reply, status: int) -> bool:
    """Return True for an answer that no service wrote: a status without body and type."""
    return (reply.status, reply.body) == (status, b"") and "Content-Type" not in reply.headers


async def send(call: Caller, method: str, path: str, **headers: str) -> Reply:
    """Send to a raw path of the host, with the key and an empty object."""
    port = call.emulator.url.split(":")[2].split("/")[0]
    headers["Authorization"] = f"Bearer {call.emulator.api_key}"
    return await call.send(method, f"http://127.0.0.1:{port}{path}", body=b"{}", headers=headers)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 202),
        (b"{}", "Application/JSON; charset=utf-8", 202),
        (b"{}", "text/plain", 415),
        (b"{}", None, 415),
        (b"", "application/json", 415),
        (b"", None, 415),
    ],
)
async def test_a_post_needs_a_json_body(
    emulate: Callable[..., Awaitable[Caller]], body: bytes, content_type: str | None, status: int
) -> None:
    """Without a body, or with one of another type, a POST is answered with 415, and not done."""
    call = await emulate(scenario={"dialect": Dialect(requires_json_body=True)})
    headers = {"Authorization": f"Bearer {call.emulator.api_key}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    path = f"{OPS}/projects/{call.emulator.project_id}/features/Checkout"
    async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session:
        for tail in ("/run", "/generate", "/generation/cancel"):
            url = call.emulator.url + path + tail
            async with session.post(url, data=body, headers=headers) as reply:
                assert reply.status == (200 if status == 202 and "cancel" in tail else status)
    assert len(call.emulator.runs) == (status == 202)


async def test_only_a_post_needs_a_body(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """GET and DELETE have none; a wrong key is refused before the missing body is."""
    call = await emulate(scenario={"dialect": Dialect(requires_json_body=True)})
    assert (await call("GET", "")).status == 200
    assert (await call("DELETE", "/features/Checkout")).status == 200
    assert (await call.send("POST", f"{OPS}/projects/x/features/1/run")).status == 401


async def test_the_service_may_be_below_a_path(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """`url` has the prefix; outside of it there is nothing, not even the service's own 404."""
    call = await emulate(scenario={"dialect": Dialect(path_prefix="/test/vibe")})
    assert call.emulator.url.endswith("/test/vibe")
    assert (await call("GET", "/features/Checkout")).status == 200
    assert call.emulator.requests[-1].operation == "get_feature"
    assert (await call("GET", "/nothing")).error == (404, "not_found")
    for path in (f"{OPS}/projects", "/", "/test/vibe", f"/test/vibes{OPS}/projects"):
        assert is_bare(await send(call, "GET", path), 404)
        assert call.emulator.requests[-1].operation is None


async def test_before_the_start_there_is_no_url(emulate: Callable[..., Awaitable[Caller]]) -> None:
    """A path alone is no URL; a proxy in front has the path of its server."""
    scenario = Scenario(dialect=Dialect(path_prefix="/testvibe"))
    assert Emulator(scenario=scenario).url == ""
    call = await emulate(scenario=scenario)
    proxy = FaultProxy(call.emulator.url)
    assert proxy.url == ""
    async with proxy:
        assert proxy.url.endswith("/testvibe")
        url = f"{proxy.url}{OPS}/projects"
        headers = {"Authorization": f"Bearer {call.emulator.api_key}"}
        assert (await call.send("GET", url, headers=headers)).status == 200


async def test_slashes_may_be_decoded_before_routing(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A name with a slash has no route; its id, and names without one, have."""
    call = await emulate(scenario={"dialect": Dialect(decodes_slashes=True)})
    feature = call.emulator.add_feature("a/b")
    for segment in ("a%2Fb", "a%2fb"):
        assert is_bare(await call("GET", f"/features/{segment}"), 404)
        assert is_bare(await call("POST", f"/features/{segment}/run", {}), 404)
    assert (await call("GET", f"/features/{feature.id}")).status == 200
    assert (await call("GET", "/features/Login%20Functionality")).status == 200
    assert (await call("GET", "/nothing")).error == (404, "not_found")
    # Another route is a route, even if the client did not mean it.
    assert (await call("POST", f"/features/{feature.id}%2Frun", {})).status == 202
    # A slash in the query is none of a path.
    assert (await call("GET", "/files/content?path=Features%2FCheckout.feature")).status == 200


async def test_a_slash_may_be_added_by_a_redirect(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Each path without a slash at its end is redirected; the one with it is served."""
    call = await emulate(scenario={"dialect": Dialect(adds_slash=True, path_prefix="/x")})
    base = f"/x{OPS}/projects/{call.emulator.project_id}"
    for tail, location in (
        ("/features/Checkout/run", "/features/Checkout/run/"),
        ("/runs?limit=5&feature=a+b", "/runs/?limit=5&feature=a+b"),
    ):
        reply = await send(call, "POST", base + tail)
        assert (reply.status, reply.body) == (308, b"")
        assert reply.headers["Location"] == base + location
    assert not call.emulator.runs
    assert (await send(call, "POST", f"{base}/features/Checkout/run/")).status == 202
    assert call.emulator.requests[-1].operation == "run_feature"
    assert (await send(call, "GET", f"{base}/nothing/")).error == (404, "not_found")


@pytest.mark.parametrize(("method", "path"), [*ASSUMED, *DOCUMENTED])
async def test_a_login_page_may_answer_everything(
    emulate: Callable[..., Awaitable[Caller]], method: str, path: str
) -> None:
    """Whatever is asked, the answer is 200 and a form to sign in; nothing is done."""
    call = await emulate(scenario={"dialect": Dialect(login="page")})
    reply = await call(method, path, {})
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Sign in</title>" in reply.body
    assert b"<form" in reply.body
    assert not call.emulator.runs
    assert not call.emulator.generations


async def test_a_redirect_may_lead_to_a_login_page(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Each request is answered with 302 to the page, which needs no key."""
    call = await emulate(scenario={"dialect": Dialect(login="redirect", path_prefix="/x")})
    reply = await call("POST", "/features/Checkout/run", {})
    location = reply.headers["Location"]
    assert reply.status == 302
    assert location.startswith("/x/account/login?ReturnUrl=%2Fx%2Fapi%2Fv1%2Fops%2Fprojects%2F")
    assert not call.emulator.runs
    page = await send(call, "GET", location)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Sign in</title>" in page.body


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(("method", "path"), ASSUMED)
async def test_assumed_routes_may_be_missing(
    emulate: Callable[..., Awaitable[Caller]], method: str, path: str, status: int
) -> None:
    """None of them does anything; the web server answers, without a code of the service."""
    dialect = Dialect(assumed_routes="404" if status == 404 else "405")
    call = await emulate(scenario={"dialect": dialect})
    await call.generate()
    before = dict(call.emulator.features)
    assert is_bare(await call(method, path, {"name": "New", "gherkin": "Feature: New"}), status)
    assert call.emulator.features == before
    assert call.emulator.features["Checkout"].status == "generating"


@pytest.mark.parametrize(("method", "path"), DOCUMENTED)
async def test_documented_routes_are_never_missing(
    emulate: Callable[..., Awaitable[Caller]], method: str, path: str
) -> None:
    """All of them are served, and so is the list of projects."""
    call = await emulate(scenario={"dialect": Dialect(assumed_routes="404")})
    await call.run()
    body = {"gherkin": "Feature: x", "path": "Features/x", "content": "x"}
    assert (await call(method, path, None if method == "GET" else body)).status in {200, 202}
    assert (await send(call, "GET", f"{OPS}/projects")).status == 200


@pytest.mark.parametrize(("unrouted", "mark"), [("iis", b"Server Error"), ("nginx", b"nginx/1.")])
async def test_what_has_no_route_may_have_a_page(
    emulate: Callable[..., Awaitable[Caller]], unrouted: Any, mark: bytes
) -> None:
    """Missing routes, decoded slashes, and paths outside of the prefix have the same page."""
    dialect = Dialect(
        unrouted=unrouted, path_prefix="/x", decodes_slashes=True, assumed_routes="405"
    )
    call = await emulate(scenario={"dialect": dialect})
    replies = [
        await call("GET", "/features/a%2Fb"),
        await send(call, "GET", f"{OPS}/projects"),
        await call("GET", "/runs"),
    ]
    assert [reply.status for reply in replies] == [404, 404, 405]
    for reply in replies:
        assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
        assert mark in reply.body
    assert (await call("GET", "/features/Nowhere")).error == (404, "not_found")
