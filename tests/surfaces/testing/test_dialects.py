"""The dialects of our tests: each differs from the documented service in the way that it names."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.dialects import DIALECTS
from testvibe_async.testing import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller, Reply

OUTCOME = {"Checkout": Outcome(run_status="failed", generation_status="failed")}

EVIDENCE = {
    "paged-by-link": r'/features\?x=1 200 .*Link: <http://\S+x=1&cursor=after-5>; rel="next"',
    "paged-by-cursor": r'/features\?x=1 200 .*\{"items":\[.*"nextCursor":"after-5"\}',
    "paged-by-next-link": r'/features\?x=1 200 .*\{"value":\[.*"nextLink":"http\S+=after-5"\}',
    "cut-with-has-more": r'/features\?x=1 200 .*\{"items":\[.*"hasMore":true\}',
    "cut-with-total": r'/features\?x=1 200 .*\{"items":\[.*"total":18\}',
    "oldest-first": r'/runs\?limit=1 200 .*\[\{"runId":214,',
    "limit-refused": r"/runs\?limit=1 400 ",
    "title-case": r'"status":"Failed".*"kind":"Trace".*"overallStatus":"InProgress"',
    "upper-case": r'"status":"FAILED".*"kind":"TRACE".*"overallStatus":"IN_PROGRESS"',
    "other-end-words": r'/runs/215 200 .*"status":"timed_out".*"finishedUtc":"2026',
    "other-end-words-alone": r'/runs/215 200 .*"status":"timed_out".*"finishedUtc":null',
    "ids-as-text": r'"runId":"215".*"featureId":"\d+"',
    "request-id-as-number": r'"requestId":\d+,',
    "dispatch-in-data": r'/run 202 .*\{"data":\{"runId":215,',
    "dispatch-by-kind": r'/run 202 .*\{"run":\{"id":215,.*\{"generation":\{"id":"',
    "dispatch-without-feature-id": r'/run 202 .*\{"runId":215\}',
    "dispatch-200": r"/run 200 ",
    "dispatch-lag": r"/runs/215 404 .*/runs/215 200 ",
    "mutation-204": r"PATCH \S+ 204 ",
    "times-with-seven-digits": r'"createdUtc":"\S{19}\.1234567Z"',
    "times-with-offset": r'"createdUtc":"\S{19}\+02:00"',
    "times-without-zone": r'"createdUtc":"[^"Z]{19}"',
    "times-in-epoch-seconds": r'"createdUtc":\d{10},',
    "times-in-epoch-milliseconds": r'"createdUtc":\d{13},',
    "times-as-date-call": r'"createdUtc":"/Date\(\d{13}\)/"',
    "times-empty": r'"createdUtc":""',
    "odd-fields": r'"summary":\{"total":"\d.*"durationMs":"\d+ms","error":\{"message".*'
    r'"size":"\d+".*"log":\[\{"level":"info".*"runnerStarted":"true"',
    "errors-as-problem": r'/runs/7 404 application/problem\+json.*"detail":"This project',
    "errors-of-iis": r"/runs/7 404 text/html.*Server Error",
    "errors-of-nginx": r"/runs/7 404 text/html.*nginx/",
    "errors-nested": r'/runs/7 404 .*\{"error":\{"code":"not_found",',
    "errors-as-text": r'/runs/7 404 [^{"]*"This project has no run',
    "errors-capitalized": r'/runs/7 404 .*\{"Error":"not_found",',
    "rate-limit-403-retry-after": r' 403 [^{]*Retry-After: 1 .*"forbidden"',
    "rate-limit-403-code": r' 403 [^{]*\{"error":"rate_limited"',
    "json-body-required": r"no JSON \S+/cancel 415 ",
    "path-prefix": r"/testvibe/api/v1/ops/configs 200 .*outside 404 ",
    "slashes-decoded": r"/a%2Fb 404  ",
    "slash-added": r"/configs 308 .*Location: \S+/configs/",
    "login-page": r"/configs 200 text/html.*Sign in",
    "login-redirect": r"/configs 302 .*Location: /account/login\?ReturnUrl=",
    "documented-routes-404": r"/configs 404  ",
    "documented-routes-404-page": r"/configs 404 text/html.*Server Error",
    "documented-routes-405": r"/configs 405  ",
    "gzip": r"/configs 200 \S+ \S+ Content-Encoding: gzip",
    "byte-order-mark": "/configs 200 [^[]*\ufeff\\[",
    "text-plain": r"/configs 200 text/plain",
}
"""What of the answers shows each dialect, and is not there of the documented service."""


async def play(call: Caller) -> str:
    """Ask for one of each, and return what came: of each answer the status, headers and body."""
    told: list[str] = []

    async def ask(method: str, path: str, body: object = None) -> None:
        reply = await call(method, path, body)
        told.append(f"{method} {call.emulator.url}/api/v1/ops{path} {_shown(reply)}")

    call.emulator.add_feature("a/b")
    for method, path, body, seconds in (
        ("POST", "/features/Returns/run", {}, 40),
        ("POST", "/features/Checkout/run", {}, 0),
        ("GET", "/runs/215", None, 50),
        ("GET", "/runs/215", None, 0),
        ("GET", "/runs?limit=1", None, 0),
        ("GET", "/features?x=1", None, 0),
        ("POST", "/features/Checkout/generate", {}, 30),
        ("GET", "/features/Checkout/generation", None, 1000),
        ("PATCH", "/features/Checkout", {"gherkin": "Feature: A"}, 0),
        ("GET", "/features/a%2Fb", None, 0),
        ("GET", "/runs/7", None, 0),
        *([("GET", "/configs", None, 0)] * 8),
    ):
        await ask(method, path, body)
        await asyncio.sleep(seconds)
    await asyncio.sleep(5)
    headers = {"Authorization": f"Bearer {call.emulator.api_key}", "Content-Type": "text/plain"}
    cancel = f"/api/v1/ops/projects/{call.emulator.project_id}/features/Checkout/generation/cancel"
    reply = await call.send("POST", cancel, body=b"x", headers=headers)
    told.append(f"no JSON {cancel} {_shown(reply)}")
    outside = call.emulator.url.removesuffix("/testvibe") + "/api/v1/ops/projects"
    told.append(f"outside {_shown(await call.send('GET', outside, headers=headers))}")
    return "\n".join(told)


def _shown(reply: Reply) -> str:
    kept = ("Link", "Retry-After", "Location", "Content-Encoding")
    headers = [f"{name}: {reply.headers[name]}" for name in kept if name in reply.headers]
    kind = reply.headers.get("Content-Type", "")
    return f"{reply.status} {kind} {' '.join(headers)} {reply.body.decode()}"


@pytest.fixture
async def documented(emulate: Callable[..., Awaitable[Caller]]) -> str:
    """Return what the documented service answers."""
    return await play(await emulate(scenario={"outcomes": OUTCOME}))


def test_each_dialect_has_evidence() -> None:
    """A dialect that is added needs its row."""
    assert EVIDENCE.keys() == DIALECTS.keys()


@pytest.mark.parametrize("name", EVIDENCE)
async def test_a_dialect_differs(
    name: str, emulate: Callable[..., Awaitable[Caller]], documented: str
) -> None:
    """Its answers show the difference; those of the documented service do not."""
    dialect = DIALECTS[name]
    call = await emulate(
        scenario={"outcomes": OUTCOME},
        middleware=dialect,
        rate_limit=dialect.rate_limit,
        dispatch_lag=dialect.dispatch_lag,
    )
    assert re.search(EVIDENCE[name], await play(call), re.DOTALL)
    assert not re.search(EVIDENCE[name], documented, re.DOTALL)
