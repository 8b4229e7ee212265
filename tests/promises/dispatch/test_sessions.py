"""Dispatches through a session that was passed in: its middlewares cause no second POST."""

import errno
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.peer import ONCE
from tests.support.timing import now
from testvibe_async import DispatchUnknownError, Hooks, InvalidRequestError, NotSentError
from testvibe_async.events import Dispatched
from testvibe_async.testing import Emulator, Fault


class TestRepeatingSessions:
    @pytest.mark.parametrize("dispatched", ["run_feature", "generate_feature"])
    async def test_a_session_that_retries_sends_no_dispatch_twice(
        self, emulator: Emulator, dispatched: str
    ) -> None:
        """A middleware that repeats failures sends no second POST; the first is reconciled."""

        async def retry(request: Sent, send: Send) -> Received:
            for _ in range(2):
                try:
                    return await send(request)
                except aiohttp.ClientConnectionError:
                    continue
            return await send(request)

        async with client_through(retry, emulator) as client:
            emulator.fail(dispatched, Fault.lost(), times=1)
            dispatch: Callable[..., Awaitable[Any]] = getattr(client.project(), dispatched)
            operation = await dispatch("Checkout")

        assert operation.adopted
        assert emulator.count(dispatched) == 1

    async def test_a_session_that_retries_a_5xx_sends_no_second_post(
        self, emulator: Emulator
    ) -> None:
        """A middleware that repeats a 5xx sends no second POST either."""
        tries: list[int] = []

        async def retry(request: Sent, send: Send) -> Received:
            response = await send(request)
            tries.append(response.status)
            return await send(request) if response.status >= 500 else response

        async with client_through(retry, emulator) as client:
            emulator.fail("run_feature", Fault.status(502), times=1)
            with pytest.raises(DispatchUnknownError, match="may not send it again"):
                await client.project().run_feature("Checkout")

        assert 502 in tries
        assert emulator.count("run_feature") == 1

    async def test_what_is_sent_and_then_finds_no_connection_may_have_acted(
        self, emulator: Emulator
    ) -> None:
        """A middleware's second try that finds no connection does not prove the first undone."""
        tries: list[str] = []

        async def retry(request: Sent, send: Send) -> Received:
            try:
                return await send(request)
            except aiohttp.ClientError:
                tries.append(request.method)
                raise aiohttp.ClientConnectorError(
                    SimpleNamespace(host="h", port=1, ssl=False, is_ssl=False),  # type: ignore[arg-type]
                    OSError(errno.ECONNREFUSED, "refused"),
                ) from None

        async with client_through(retry, emulator) as client:
            emulator.fail("generate_feature", Fault.lost(), times=1)
            operation = await client.project().generate_feature("Draft")

        assert tries == ["POST"]
        assert operation.adopted
        assert emulator.count("generate_feature") == 1

    async def test_a_refusal_is_not_answered_by_a_second_post(self, emulator: Emulator) -> None:
        """A middleware that answers a 401 by sending again sends nothing, and the error says so."""

        async def authorise(request: Sent, send: Send) -> Received:
            response = await send(request)
            return await send(request) if response.status == 401 else response

        emulator.fail("run_feature", Fault.status(401), times=1)
        async with client_through(authorise, emulator) as client:
            with pytest.raises(DispatchUnknownError, match="may not send it again"):
                await client.project().run_feature("Checkout")

        assert emulator.count("run_feature") == 1


async def test_a_session_that_closes_the_client_midway(emulator: Emulator) -> None:
    """A close from within a dispatch does not deadlock."""
    trace = aiohttp.TraceConfig()

    async def close(
        _session: aiohttp.ClientSession, _context: Any, end: aiohttp.TraceRequestEndParams
    ) -> None:
        if end.response.status == 400:
            await client.aclose()

    trace.on_request_end.append(close)
    emulator.fail("run_feature", Fault.status(400))
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        client = client_of(emulator, session=session)

        with pytest.raises(InvalidRequestError):
            await client.project().run_feature("Checkout")
    assert now() < 1


class TestFailingSessions:
    async def test_an_error_of_the_session_loses_no_id(self, emulator: Emulator) -> None:
        """An error of a passed-in session after the POST counts as a lost answer."""
        events: list[Dispatched] = []
        trace = aiohttp.TraceConfig()

        async def fail(
            _session: aiohttp.ClientSession, _context: Any, end: aiohttp.TraceRequestEndParams
        ) -> None:
            if end.method == "POST":
                raise ZeroDivisionError

        trace.on_request_end.append(fail)
        async with (
            aiohttp.ClientSession(trace_configs=[trace]) as session,
            client_of(
                emulator, session=session, hooks=Hooks(on_dispatched=events.append)
            ) as client,
        ):
            operation = await client.project().run_feature("Checkout")

        assert operation.adopted
        assert [event.ref.key[-1] for event in events] == list(emulator.runs)

    async def test_reconciling_can_fail_in_the_session_too(self, emulator: Emulator) -> None:
        """DispatchUnknownError is raised where the session fails while reconciling as well."""
        trace = aiohttp.TraceConfig()

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        trace.on_request_end.append(fail)
        async with (
            aiohttp.ClientSession(trace_configs=[trace]) as session,
            client_of(emulator, session=session) as client,
        ):
            with pytest.raises(DispatchUnknownError, match="the answer was lost"):
                await client.project().run_feature("Checkout")
        assert len(emulator.runs) == 1

    async def test_a_middleware_that_fails_before_the_post_sent_nothing(
        self, emulator: Emulator
    ) -> None:
        """An error of a middleware before the POST proves that nothing was sent."""

        async def refuse(*_: object) -> Received:
            raise ZeroDivisionError("it broke")

        async with client_through(refuse, emulator, retry=ONCE) as client:
            with pytest.raises(NotSentError, match=r"ZeroDivisionError\('it broke'\)"):
                await client.project().run_feature("Checkout")

    async def test_a_middleware_that_fails_after_the_post_leaves_it_unknown(
        self, emulator: Emulator
    ) -> None:
        """An error of a middleware after the POST counts as a lost answer."""

        async def drop(request: Sent, send: Send) -> Received:
            response = await send(request)
            if request.method == "POST":
                raise ZeroDivisionError("it broke")
            return response

        async with client_through(drop, emulator) as client:
            operation = await client.project().run_feature("Checkout")

        assert operation.adopted
        assert emulator.count("run_feature") == 1
