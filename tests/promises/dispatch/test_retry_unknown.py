"""`retry_unknown=True`: one second try of a run, and what stays unknown after it."""

import asyncio
import errno

import aiohttp
import pytest

from tests.conftest import Received, Send, Sent, client_of, client_through
from testvibe_async import DispatchUnknownError, Project, RetryPolicy
from testvibe_async.testing import Emulator, Fault


class TestRetryUnknown:
    @pytest.mark.parametrize("second", [Fault.status(409), Fault.status(401), Fault.reset()])
    async def test_a_refused_second_try_stays_unknown(
        self, emulator: Emulator, second: Fault
    ) -> None:
        """A refusal of the second POST does not prove what the first one did."""
        async with client_of(emulator) as client:
            emulator.fail("list_runs", Fault.status(404))
            emulator.fail("run_feature", Fault.lost(), times=1)
            emulator.fail("run_feature", second)

            with pytest.raises(DispatchUnknownError, match="the answer was lost"):
                await client.project().run_feature("Checkout", retry_unknown=True)

        assert len(emulator.runs) == 1
        assert emulator.count("run_feature") == 2

    async def test_the_second_try_waits_as_long_as_the_service_asks(
        self, emulator: Emulator, project: Project
    ) -> None:
        """After a 503 with Retry-After the second POST is sent no sooner than that."""
        emulator.fail("list_runs", Fault.status(404))
        emulator.fail("run_feature", Fault.status(503, retry_after=20), times=1)

        await project.run_feature("Checkout", retry_unknown=True)

        first, second = (each.at for each in emulator.requests if each.method == "POST")
        assert second - first >= 20

    async def test_an_unsent_second_try_stays_unknown(self, emulator: Emulator) -> None:
        """A second POST without a connection does not prove what the first one did."""
        posts = 0

        async def refuse_the_second_post(request: Sent, send: Send) -> Received:
            nonlocal posts
            posts += request.method == "POST"
            if posts > 1:
                raise aiohttp.ClientConnectorError(
                    request.connection_key, OSError(errno.ECONNREFUSED, "refused")
                )
            return await send(request)

        once = RetryPolicy(attempts=1)
        async with client_through(refuse_the_second_post, emulator, retry=once) as client:
            emulator.fail("list_runs", Fault.status(404))
            emulator.fail("run_feature", Fault.lost(), times=1)
            with pytest.raises(DispatchUnknownError, match=r"second try failed: .*not connect"):
                await client.project().run_feature("Checkout", retry_unknown=True)

        assert posts == 2
        assert len(emulator.runs) == 1

    @pytest.mark.parametrize("end", ["close", "cancel", "session"])
    async def test_an_interrupted_second_try_stays_unknown(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture, end: str
    ) -> None:
        """A close, a cancellation or a closed session does not prove what the first POST did."""
        session = aiohttp.ClientSession()
        client = client_of(emulator, session=session)
        emulator.fail("list_runs", Fault.edit(lambda _: []))
        emulator.fail("run_feature", Fault.lost(), times=1)
        emulator.fail("run_feature", Fault.status(429, retry_after=60))
        caller = asyncio.ensure_future(client.project().run_feature("Checkout", retry_unknown=True))
        await asyncio.sleep(5 if end == "session" else 10)
        if end == "close":
            await client.aclose()
        elif end == "session":
            await session.close()
        else:
            caller.cancel()
        (result,) = await asyncio.gather(caller, return_exceptions=True)
        await client.aclose()
        await session.close()

        if end == "cancel":
            assert isinstance(result, asyncio.CancelledError)
            assert "may have taken effect" in caplog.text
        else:
            assert isinstance(result, DispatchUnknownError)
        assert len(emulator.runs) == 1

    async def test_an_unknown_run_is_sent_once_more(
        self, emulator: Emulator, project: Project
    ) -> None:
        """retry_unknown=True sends a run that could not be reconciled once more, and only once."""
        emulator.fail("run_feature", Fault.reset(), times=1)
        operation = await project.run_feature("Checkout", retry_unknown=True)
        assert not operation.adopted

        emulator.fail("run_feature", Fault.reset())
        with pytest.raises(DispatchUnknownError):
            await project.run_feature("Checkout", retry_unknown=True)

        assert emulator.count("run_feature") == 4


async def test_two_lost_tries_are_judged_by_the_first(emulator: Emulator) -> None:
    """That the second try shows nothing says nothing of the first, which may be one of two runs."""
    emulator.fail("run_feature", Fault.lost(), times=2)
    emulator.fail("run_feature", Fault.reset())
    async with client_of(emulator) as client, client_of(emulator) as other:
        results = await asyncio.gather(
            client.project().run_feature("Checkout", retry_unknown=True),
            other.project().run_feature("Checkout"),
            return_exceptions=True,
        )
    assert [getattr(error, "reason", None) for error in results] == ["ambiguous", "ambiguous"]
    assert len(getattr(results[0], "candidates", ())) == 2
