"""What an artifact host sees of a client, and what errors, events and logs say of a link."""

import gzip
import logging
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.artifact_host import host, http
from tests.support.finished_run import SECRET, downloads, finished_run, on_real_time
from testvibe_async import Hooks, ResponseError, VibeError
from testvibe_async.events import RequestFinished, RetryScheduled
from testvibe_async.testing import Fault


@on_real_time
async def test_the_key_never_goes_to_the_host(tmp_path: Path) -> None:
    """Neither the key nor anything of a session that was passed in is sent with a download."""
    headers = {"Authorization": "Bearer tvb_session", "X-Api-Key": "tvb_session"}
    cookies = {"session": "tvb_session"}
    async with (
        aiohttp.ClientSession(headers=headers, cookies=cookies) as session,
        finished_run(tmp_path, session=session) as case,
    ):
        await case.download()
        assert downloads(case) == 3
        for request in case.emulator.artifact_requests:
            assert request.status == 200
            assert "tvb_" not in repr((request.path, request.query, dict(request.headers)))
            assert request.headers.keys().isdisjoint({"Authorization", "Cookie", "Referer"})
            assert request.headers["Accept-Encoding"] == "identity"
        assert not session.closed


@on_real_time
async def test_a_host_sets_no_cookies(tmp_path: Path) -> None:
    """A cookie that an answer sets is not sent with the next request."""
    answer = http(200, b"x", "Set-Cookie: session=one; Path=/")
    async with finished_run(tmp_path) as case, host(answer) as origin:
        origin.url = origin.url.replace("127.0.0.1", "localhost")  # an address has no cookies
        case.serve(origin, 1, "a", "b")
        await case.download(max_at_once=1)
        assert ["cookie" in request.headers for request in origin.requests] == [False, False]


@on_real_time
async def test_a_compressed_file_is_kept_as_it_is(tmp_path: Path) -> None:
    """A file that is stored compressed stays so, with the size that the service declares."""
    content = gzip.compress(b"x" * 1000)
    answer = http(200, content, "Content-Encoding: gzip")
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(content))
        await case.download()
        assert case.files() == {"a.zip": content}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@on_real_time
async def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    """A redirect of the host raises an error that says so, and is not followed."""
    async with finished_run(tmp_path) as case, host(http(200, b"x")) as elsewhere:
        redirect = http(status, b"", f"Location: {elsewhere.url}/?{SECRET}")
        async with host(redirect) as origin:
            case.serve(origin, 1)
            with pytest.raises(ResponseError, match="not followed") as caught:
                await case.download()
        assert caught.value.status == status
        assert elsewhere.requests == []
        assert case.files() == {}


@pytest.mark.parametrize(
    "answer",
    [
        http(400, SECRET.encode()),
        http(403, SECRET.encode()),
        http(500, SECRET.encode()),
        http(302, b"", f"Location: /?{SECRET}"),
        http(200, b"x" * 9),
        http(200, b"x", length=2),
        b"",
        b"\x15 no HTTP " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nno chunk " + SECRET.encode(),
    ],
)
@on_real_time
async def test_a_signature_is_never_shown(
    tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A link's query is in no message, traceback, event or log, even where the host repeats it."""
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []
    hooks = Hooks(on_request=seen.append, on_retry=seen.append)
    async with finished_run(tmp_path, hooks=hooks) as case, host(answer) as origin:
        case.serve(origin, 2)
        with pytest.raises(VibeError) as caught:
            await case.download(on_progress=seen.append)
        assert origin.requests
        assert SECRET in origin.requests[0].target
        shown = [*traceback.format_exception(caught.value), repr(caught.value), str(seen)]
        assert "TheSignature" not in "".join([*shown, caplog.text])
        assert repr(vars(caught.value)).count(f"{origin.url}/0") == 1


@on_real_time
async def test_downloads_are_reported_to_hooks(tmp_path: Path) -> None:
    """Every request to the host is an event, and so is every retry."""
    seen: list[RequestFinished | RetryScheduled] = []
    hooks = Hooks(on_request=seen.append, on_retry=seen.append)
    async with finished_run(tmp_path, hooks=hooks) as case:
        case.emulator.fail("download", Fault.status(503), times=1)
        case.emulator.fail("download", Fault.truncated(), times=1)
        seen.clear()
        await case.download(kinds={"report"})
        of_downloads = [event for event in seen if event.operation == "download_artifacts"]
        requests = [event for event in of_downloads if isinstance(event, RequestFinished)]
        retries = [event for event in of_downloads if isinstance(event, RetryScheduled)]
        assert [event.status for event in requests] == [503, None, 200]
        assert {event.url.partition("/artifacts")[0] for event in requests} == {
            case.emulator.artifact_url
        }
        assert [event.attempt for event in retries] == [1, 2]
