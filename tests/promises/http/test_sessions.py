"""The aiohttp session: one that was passed in, and one that the client makes."""

from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.conftest import Received, Send, Sent, client_of, client_through
from tests.support.once_only import ONCE_ONLY
from tests.support.peer import ONCE
from tests.support.timing import now
from testvibe_async import (
    ConfigError,
    NotFoundError,
    OutcomeUnknownError,
    Project,
    RateLimitedError,
    ResponseError,
    ServerError,
    UnauthorizedError,
)
from testvibe_async.testing import Emulator, Fault


async def test_a_session_of_the_caller_is_used_and_left_open(emulator: Emulator) -> None:
    """A session that was passed in carries the calls, and is open and usable afterwards."""
    async with aiohttp.ClientSession(headers={"X-Team": "shop"}) as session:
        async with client_of(emulator, session=session) as client:
            await client.list_projects()
        assert not session.closed
        async with session.get(emulator.url) as response:
            assert response.status == 401
    assert emulator.requests[0].headers["X-Team"] == "shop"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientSession]:
    """The sessions that are made from now on."""
    made: list[aiohttp.ClientSession] = []
    create = aiohttp.ClientSession

    def keep(**options: Any) -> aiohttp.ClientSession:
        made.append(create(**options))
        return made[-1]

    monkeypatch.setattr(aiohttp, "ClientSession", keep)
    return made


async def test_an_own_session_is_closed(
    emulator: Emulator, made: list[aiohttp.ClientSession]
) -> None:
    """The one session that the client makes, at the first call, is closed with it."""
    async with client_of(emulator) as client:
        assert made == []
        await client.list_projects()
        await client.list_projects()
    assert [session.closed for session in made] == [True]


async def test_an_own_session_keeps_no_cookies(
    emulator: Emulator, made: list[aiohttp.ClientSession]
) -> None:
    """A cookie of the service is not sent back."""
    async with client_of(emulator) as client:
        await client.list_projects()
        (session,) = made
        service = URL("https://testvibe.example")
        session.cookie_jar.update_cookies({"a": "b"}, service)
        assert not session.cookie_jar.filter_cookies(service)


async def test_a_closed_session_is_refused(emulator: Emulator) -> None:
    """A passed-in session that is closed is a ConfigError that says so, without retries."""
    session = aiohttp.ClientSession()
    await session.close()
    async with client_of(emulator, session=session) as client:
        with pytest.raises(ConfigError, match="session"):
            await client.list_projects()
    assert emulator.count() == 0
    assert now() == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, UnauthorizedError), (404, NotFoundError), (429, RateLimitedError), (500, ServerError)],
)
async def test_a_session_that_raises_for_status_changes_nothing(
    emulator: Emulator, status: int, kind: type[ResponseError]
) -> None:
    """A session with raise_for_status raises the client's errors, with all their fields."""
    emulator.fail("list_projects", Fault.status(status, retry_after=3))
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        client_of(emulator, session=session, retry=ONCE) as client,
    ):
        with pytest.raises(ResponseError) as caught:
            await client.list_projects()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.retry_after) == (status, 3.0)
    assert caught.value.code is not None


@pytest.mark.parametrize("operation", ["write_file", "delete_feature", "list_files"])
async def test_a_sessions_own_middlewares_are_kept(emulator: Emulator, operation: str) -> None:
    """A session's own middleware sees every request, and a write is still sent once."""
    seen: list[str] = []

    async def note(request: Sent, handler: Send) -> Received:
        seen.append(request.method)
        return await handler(request)

    async def list_files(project: Project) -> object:
        return await project.list_files()

    call = list_files if operation == "list_files" else ONCE_ONLY[operation]
    async with client_through(note, emulator, retry=ONCE) as client:
        await client.list_projects()
        emulator.fail(operation, Fault.reset())
        with pytest.raises(OutcomeUnknownError):
            await call(client.project())
    assert set(seen) == {request.method for request in emulator.requests}
    assert emulator.count(operation) == (2 if operation == "list_files" else 1)


async def test_a_session_with_its_own_time_out_and_base_changes_nothing(emulator: Emulator) -> None:
    """A passed-in session's time-out and base URL do not take the place of the client's."""
    emulator.fail("list_projects", Fault.delay(10.0))
    async with (
        aiohttp.ClientSession(
            base_url="http://127.0.0.1:9/x/", timeout=aiohttp.ClientTimeout(total=1.0)
        ) as session,
        client_of(emulator, session=session) as client,
    ):
        assert await client.list_projects()
