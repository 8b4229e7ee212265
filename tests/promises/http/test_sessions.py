"""The session of a client: what it sends once, whatever it does, proved by the connection."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from aioresponses import aioresponses

from tests.conftest import KEY, Received, Send, Sent, client_of, client_through
from tests.support.once_only import ONCE_ONLY, once_only
from tests.support.peer import ONCE, http, no_connection, peer
from tests.support.raising import raised
from tests.support.timing import now
from testvibe_async import Client, errors
from testvibe_async.testing import Emulator, Fault

SERVER = "https://testvibe.example"


async def test_a_session_of_the_caller_is_used_and_left_open(emulator: Emulator) -> None:
    """It carries the calls, with the client's time-out and address, and is usable afterwards."""
    emulator.fail("list_projects", Fault.delay(10.0), times=1)
    async with aiohttp.ClientSession(
        base_url="http://127.0.0.1:9/x/",
        timeout=aiohttp.ClientTimeout(total=1.0),
        headers={"X-Team": "shop"},
    ) as session:
        async with client_of(emulator, session=session) as client:
            assert await client.list_projects()
        assert not session.closed
        async with session.get(emulator.url) as response:
            assert response.status == 401
    assert emulator.requests[0].headers["X-Team"] == "shop"


async def test_a_closed_session_is_refused(emulator: Emulator) -> None:
    """A passed-in session that is closed is a ConfigError that says so, without retries."""
    session = aiohttp.ClientSession()
    await session.close()
    async with client_of(emulator, session=session) as client:
        await raised(errors.ConfigError, client.list_projects(), match="session")
    assert emulator.count() == 0
    assert now() == 0


with pytest.warns(DeprecationWarning, match="discouraged"):

    class Repeating(aiohttp.ClientSession):
        """A session that sends what failed three times, as retrying clients do."""

        async def _request(self, *args: Any, **options: Any) -> aiohttp.ClientResponse:
            for _ in range(2):
                try:
                    response = await super()._request(*args, **options)
                except aiohttp.ClientError:
                    continue
                if response.status < 500:
                    return response
            return await super()._request(*args, **options)


async def _refused(session: aiohttp.ClientSession, **options: Any) -> errors.VibeError:
    """Return what a dispatch raises whose session does not send it."""
    client = Client(SERVER, api_key=KEY, project="p", session=session, **options)
    async with session, client:
        return await raised(errors.VibeError, client.project().generate_feature("Checkout"))


class SilentResolver(AbstractResolver):
    """DNS that never answers."""

    async def resolve(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Has nothing to close."""


async def test_a_name_that_is_never_resolved() -> None:
    """DNS that never answers is NotSentError within the time-out."""
    connector = aiohttp.TCPConnector(resolver=SilentResolver())
    error = await _refused(aiohttp.ClientSession(connector=connector), retry=ONCE, timeout=20)
    assert type(error) is errors.NotSentError
    assert now() <= 2 * 20


@pytest.mark.parametrize("answer", [http(407), b""], ids=["407", "nothing"])
async def test_a_proxy_that_refuses(answer: bytes) -> None:
    """A proxy that answers 407, or closes before there is a tunnel, proves that none was seen."""
    async with peer(answer) as proxy:
        error = await _refused(aiohttp.ClientSession(proxy=proxy.url), retry=ONCE)
    assert type(error) is errors.NotSentError


async def test_a_session_with_a_netrc_is_refused(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that takes a login from .netrc can't send the key: one sentence says so."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("http_proxy", raising=False)
    session = aiohttp.ClientSession(trust_env=True)
    async with session, client_of(emulator, session=session) as client:
        for call in (client.list_projects, ONCE_ONLY["write_file"]):
            argument = () if call == client.list_projects else (client.project(),)
            with pytest.raises(errors.ConfigError, match=r"a login for 127\.0\.0\.1 of its own"):
                await call(*argument)
    assert emulator.count() == 0


@pytest.mark.parametrize("is_from_environment", [True, False])
async def test_no_key_goes_to_a_proxy_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, *, is_from_environment: bool
) -> None:
    """The key for a server on this machine is not sent to a proxy on another."""
    proxy = "http://proxy.example:3128"
    options: dict[str, Any] = {"proxy": proxy}
    if is_from_environment:
        monkeypatch.setenv("http_proxy", proxy)
        options = {"trust_env": True}
    async with aiohttp.ClientSession(**options) as session:
        with pytest.raises(errors.ConfigError, match="to a proxy, in the clear"):
            Client("http://localhost:8765", api_key=KEY, session=session)
        Client(SERVER, api_key=KEY, session=session)
        monkeypatch.setenv("no_proxy", "localhost")
        if is_from_environment:
            Client("http://localhost:8765", api_key=KEY, session=session)


@once_only
async def test_a_session_that_repeats_sends_it_once(emulator: Emulator, operation: str) -> None:
    """A session subclass that retries sends what may act once, and no answer is an error."""
    emulator.fail(operation, Fault.lost())
    async with Repeating() as session, client_of(emulator, session=session, retry=ONCE) as client:
        call = ONCE_ONLY[operation](client.project())
        result = await asyncio.gather(call, return_exceptions=True)
    assert emulator.count(operation) == 1
    assert isinstance(result[0], errors.OutcomeUnknownError) or getattr(result[0], "adopted", False)


async def test_a_refused_copy_of_the_body_is_sent_again(emulator: Emulator) -> None:
    """A session that sends bodies of its own is rate-limited as any other, and retried."""

    async def copy(request: Sent, send: Send) -> Received:
        if request.method == "POST":
            body: Any = request.body
            await request.update_body(body.decode())
        return await send(request)

    emulator.fail("run_feature", Fault.status(429, retry_after=1), times=1)
    async with client_through(copy, emulator) as client:
        operation = await client.project().run_feature("Checkout")
    assert {*emulator.runs} == {operation.run_id}
    assert emulator.count("run_feature") == 2


async def test_what_waits_for_a_connection_is_not_sent_after_a_close(emulator: Emulator) -> None:
    """A change that has its connection only after the client's close raises, unsent."""
    emulator.fail("list_projects", Fault.delay(3))
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = client_of(emulator, session=session)
        read = asyncio.create_task(client.list_projects())
        await asyncio.sleep(1)
        change = client.project().update_feature("Checkout", gherkin="Feature: Checkout")
        write = asyncio.create_task(raised(errors.ClientClosedError, change))
        await asyncio.sleep(1)
        await client.aclose()
        await asyncio.gather(read, write, return_exceptions=True)
        await write
    assert emulator.count("update_feature") == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (aiohttp.ServerDisconnectedError(), errors.DispatchUnknownError),
        (TimeoutError(), errors.DispatchUnknownError),
        (no_connection(), errors.NotSentError),
        (no_connection(aiohttp.ClientConnectorDNSError), errors.NotSentError),
    ],
)
async def test_a_mock_proves_nothing(error: Exception, kind: type[errors.VibeError]) -> None:
    """Where a mock never takes the body, an error of a connection leaves it unknown."""
    where = f"{SERVER}/api/v1/ops/projects/p/features/Checkout/run"
    with aioresponses() as forged:
        forged.post(where, exception=error, repeat=True)  # pyright: ignore[reportUnknownMemberType]
        async with Client(SERVER, api_key=KEY, project="p", retry=ONCE) as client:
            await raised(kind, client.project().run_feature("Checkout"))


async def test_what_was_written_unseen_has_its_row(emulator: Emulator) -> None:
    """A session that copies the body is no reason to dispatch a key twice."""

    async def copy(request: Sent, send: Send) -> Received:
        if request.method == "POST":
            body: Any = request.body
            await request.update_body(await body.as_bytes())
        return await send(request)

    async with client_through(copy, emulator) as client:
        operation = await client.project().run_feature("Checkout", key="pr-1")
        assert await client.project().run_feature("Checkout", key="pr-1") == operation
        (row,) = await client.ledger.rows("pr-1")
    assert row.ref == operation.ref
    assert emulator.count("run_feature") == 1
