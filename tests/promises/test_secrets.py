"""The API key is sent in one header to one host, and is to be seen nowhere else.

A text fails that holds eight characters of the key in a row. The signature of a link is tested in
`artifacts/test_links`. Frames of aiohttp hold the headers of a request among their locals, and so
does a frame of the caller that made the client: a traceback that shows locals is safe in the frames
of this package alone.
"""

import asyncio
import gc
import json
import logging
import pickle
import traceback
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import testvibe_async
from tests.conftest import client_of
from tests.promises import test_errors
from tests.support.peer import hooks_into, http, peer
from tests.support.raising import raised
from testvibe_async import Client, Ref, RunOperation, errors
from testvibe_async.reports import to_ctrf, to_html, to_junit, to_markdown
from testvibe_async.testing import Emulator, Fault, Scenario

KEY = "tvb_Aq7Zx3Lm9Kt2Wb8Rn5Yc4Vd6Pf1GhJsEuTiOoQa0XkU"


PART = 8


PARTS = [KEY[start : start + PART] for start in range(4, len(KEY) - PART + 1)]


PACKAGE = str(Path(testvibe_async.__file__).parent)


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """The service, with a key whose parts occur in no other text."""
    async with Emulator(api_key=KEY, scenario=Scenario(failing_runs=1)) as emulator:
        yield emulator


def shows(text: str) -> bool:
    """Say whether a text shows the key, or a part of it."""
    return any(part in text for part in PARTS)


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield all that an error, and what it came of, can be turned into."""
    yield "".join(traceback.format_exception(error))
    for one in test_errors.chain(error):
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
        yield from map(repr, vars(one).values())


def texts_of_logs(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """Yield all lines of all loggers, as they are written and as they were called."""
    yield caplog.text
    for record in caplog.records:
        yield from (record.getMessage(), repr(record.args), repr(vars(record)))


def own_locals(error: BaseException) -> Iterator[str]:
    """Yield the locals of our frames, as a traceback shows them."""
    for one in test_errors.chain(error):
        shown = traceback.TracebackException.from_exception(one, capture_locals=True, compact=True)
        for frame in shown.stack:
            if frame.filename.startswith(PACKAGE):
                yield repr(frame.locals)


def assert_hidden(error: errors.VibeError, caplog: pytest.LogCaptureFixture) -> None:
    """Expect no text of an error, in no form, and no log to show the key."""
    assert not any(map(shows, texts_of(error)))
    assert not any(map(shows, own_locals(error)))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert not shows(pickle.dumps(error, protocol).decode("latin-1"))
    assert not shows(json.dumps(error.to_dict()))
    assert not any(map(shows, texts_of_logs(caplog)))


def test_the_search_finds_a_part_of_the_key() -> None:
    """The tests below would fail where a log showed the middle of the key."""
    assert shows(f"Authorization: ...{KEY[20:30]}...")
    assert shows(repr({"headers": {"Authorization": f"Bearer {KEY}"}}))
    assert not shows("Bearer tvb_... of tvb_")


async def test_whatever_goes_well_shows_no_key(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that a client gives shows it: handles, values, refs, files, reports, events, logs."""
    caplog.set_level(logging.DEBUG)
    events: list[object] = []
    async with client_of(emulator, hooks=hooks_into(events)) as client:
        project = client.project()
        items = await project.run_features(["Checkout", "Returns", "none"])
        operation = await project.run_feature("Checkout")
        changes = [change async for change in operation.updates()]
        given: list[Any] = [
            *(client, project, operation, vars(client), vars(project), changes, items, events),
            client.attach(Ref.from_json(operation.ref.to_json())),
            *(operation.ref.to_json(), await operation.diagnose(), await operation.artifacts()),
            [value.to_dict() for value in (*items, *changes, operation.ref)],
            *(render(items) for render in (to_ctrf, to_html, to_junit, to_markdown)),
        ]
        paths = await operation.download_artifacts(tmp_path)
        assert not any(shows(f"{one} {one!r}") for one in given)
    assert paths
    assert not any(shows(path.read_bytes().decode("latin-1")) for path in paths)
    assert len(events) > 20
    assert not any(map(shows, texts_of_logs(caplog)))


async def test_links_to_itself(emulator: Emulator, operation: RunOperation, tmp_path: Path) -> None:
    """An artifact's link that leads to the API is fetched without the key, and so is refused."""

    def misled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"url": f"{emulator.url}/api/v1/ops/projects"} for row in rows]

    await operation
    emulator.fail("get_run_artifacts", Fault.edit(misled))
    error = await raised(errors.ResponseError, operation.download_artifacts(tmp_path))
    assert error.status == 401
    misled_requests = [one for one in emulator.requests if one.operation == "list_projects"]
    assert misled_requests
    assert not any("Authorization" in request.headers for request in misled_requests)


async def test_a_redirect_leaves_the_key_where_it_is(emulator: Emulator) -> None:
    """The target of a redirect gets no request, also through a passed-in session."""
    async with Emulator(api_key=KEY) as elsewhere:
        target = f"{elsewhere.url}/api/v1/ops/projects"
        redirect = Fault.status(307)
        assert redirect.answer is not None
        redirect.answer.headers["Location"] = target  # type: ignore[index]
        emulator.fail("list_projects", redirect)
        session = aiohttp.ClientSession()
        async with session, client_of(emulator, session=session) as client:
            await raised(errors.ResponseError, client.list_projects(), match="not followed")
            assert not shows(repr(dict(session.headers)))
        assert elsewhere.requests == []


async def test_an_open_client(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """Neither our warning nor those of aiohttp and asyncio show it."""
    reported: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(repr(context)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = client_of(emulator)
        await client.list_projects()
        del client
        for _ in range(2):  # a warning holds what it warns of
            gc.collect()
            reported += [f"{warning.message} {warning.source!r}" for warning in caught]
            caught.clear()
    await asyncio.sleep(20)  # Nothing is left that would look after its requests.
    assert [line for line in reported if "Client of" in line]
    assert [line for line in reported if "Unclosed client session" in line]
    assert not any(map(shows, reported))
    assert not any(map(shows, texts_of_logs(caplog)))


HERE = "https://testvibe.example"
REFUSED = [
    *((HERE, key) for key in (f"{KEY}\n{KEY}", f"Bearer {KEY}", f"{KEY}é", f"{KEY}\x00", "")),
    *((url, KEY) for url in (f"https://{KEY}@testvibe.example", f"{HERE}/{KEY}", f"{KEY}://x")),
]


@pytest.mark.parametrize(("server", "key"), REFUSED)
def test_a_key_that_is_refused_is_not_shown(server: str, key: str) -> None:
    """Neither one that can't be sent nor one in the server's address is repeated by the error."""
    with pytest.raises(errors.ConfigError) as caught:
        Client(server, api_key=key)
    assert not any(map(shows, texts_of(caught.value)))


async def test_whatever_goes_wrong_shows_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """No error of the tree, no event and no log shows it, in no form, nor a local of our frames."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    events: list[object] = []
    seen = 0
    for kind in test_errors.CASES:
        async with Emulator(api_key=KEY) as fresh:
            error = await test_errors.raised(kind, fresh, hooks=hooks_into(events))
        assert type(error) is kind
        assert list(own_locals(error)) or kind is errors.ConfigError
        assert_hidden(error, caplog)
        seen += len(caplog.records)
        caplog.clear()
    assert len(events) > 50
    assert not any(shows(f"{event} {event!r}") for event in events)
    assert seen > 50


def key_in(request: bytes) -> bytes:
    """Return the line of a request that holds the key."""
    return next(line for line in request.split(b"\r\n") if b"tvb_" in line)


def cut(answer: bytes) -> Callable[[bytes], bytes]:
    """Return what repeats the key in an answer, whose connection is lost then."""
    return lambda request: answer % key_in(request).split()[-1]


ECHOES: dict[str, Callable[[bytes], bytes]] = {
    "message": lambda request: http(400, b'{"error": "x", "message": "' + key_in(request) + b'"}'),
    "code": lambda request: http(400, b'{"error": "' + key_in(request) + b'", "message": "m"}'),
    "500-body": lambda request: http(500, request),
    "200-body": lambda request: http(200, request),
    "field": lambda request: http(200, b'{"id": "' + key_in(request) + b'", "runId": 1}'),
    "location": lambda request: http(
        302, b"", "Location: /login/" + key_in(request).decode().split()[-1]
    ),
    "status-line": lambda request: b"HTTP/1.1 4xx " + key_in(request) + b"\r\n\r\n",
    "no-http": lambda request: key_in(request) + b"\r\n\r\n",
    "header": lambda request: (
        b"HTTP/1.1 200 OK\r\n" + key_in(request).replace(b":", b"") + b"\r\n\r\n"
    ),
    "length": lambda request: (
        b"HTTP/1.1 200 OK\r\nContent-Length: " + key_in(request) + b"\r\n\r\n"
    ),
    "cut head": cut(b"HTTP/1.1 200 OK\r\nX-Echo: %b\r\nY: b\r\n"),
    "cut status line": cut(b"HTTP/1.1 200 %b"),
    "cut body": cut(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n%b"),
    "cut chunk": cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n%b"),
    "cut chunk size": cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n"),
    "cut gzip": cut(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 47\r\n\r\n%b"),
}


@pytest.mark.parametrize("answer", ECHOES.values(), ids=ECHOES)
async def test_an_echo_of_the_key_is_not_shown(
    answer: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever a server repeats the key, no error, cause, log or dict has it, whole or in part."""
    caplog.set_level(logging.DEBUG)
    async with peer(answer) as service, service.client(api_key=KEY) as client:
        error = await raised(errors.VibeError, client.project().get_feature("Checkout"))
        assert KEY in service.requests[0].decode()
    assert isinstance(error, errors.ResponseError | errors.OutcomeUnknownError)
    assert_hidden(error, caplog)
    assert str(error).isprintable()
    assert len(str(error)) < 500


async def test_a_short_key_is_not_searched_for_in_answers() -> None:
    """A key that may be part of a word damages no answer."""
    body = b'[{"id": "7f3c", "name": "test"}]'
    async with peer(http(200, body)) as service, service.client(api_key="test") as client:
        (project,) = await client.list_projects()
    assert project.name == "test"
