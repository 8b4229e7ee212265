"""Links to artifacts: which are taken, what their host sees, and what follows when they expire."""

import logging
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.finished_run import PATHS, SECRET, Case, downloads, finished_run
from tests.support.peer import http, peer
from tests.support.raising import raised
from testvibe_async import Hooks, errors
from testvibe_async.testing import Fault


@pytest.mark.parametrize(
    "link",
    [
        *(None, "", "/relative", "ftp://blobs.example/x", "file:///etc/passwd", "https://"),
        *("https://blobs.example:99999/x", "https://user:word@blobs.example/x"),
        *("https://@blobs.example/x", "https://blobs.example/x y", "https://blöbs.example/x"),
        "https://blobs.example/x\r\nX-Injected: 1",
        *(f"https://{'x' * 70}.example/x", "https://blobs..example/x"),
        *("http://blobs.example/x", "http://10.0.0.1/x"),
    ],
)
async def test_an_unsafe_link_is_refused(case: Case, link: str | None) -> None:
    """A missing link, or one without a valid encrypted address, is refused unsent."""
    case.list_as({"path": "a.zip", "url": link and f"{link}?{SECRET}"})
    with pytest.raises(errors.MalformedResponseError, match=r"link.*, at 'a\.zip'") as caught:
        await case.download()
    assert caught.value.url.endswith("/artifacts")
    assert SECRET not in str(caught.value)
    assert case.files() == {}


async def test_a_link_is_sent_as_it_is(case: Case) -> None:
    """A link is sent with its characters unchanged, as its signature demands."""
    path = "/a%2fb%7E+c/%C3%BC?x=%2B%2f&sig=a+b%20c=&y=~"
    async with peer(http(200, b"x")) as origin:
        case.list_as({"path": "a", "url": origin.url + path})
        await case.download()
        assert [request.target for request in origin.requests] == [path]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_link_that_has_expired_is_fetched_anew(case: Case, status: int) -> None:
    """Links that are refused are fetched anew, once for all of them."""

    def expired(artifacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"url": row["url"].partition("?")[0] + "?sig=old"} for row in artifacts]

    case.emulator.fail("get_run_artifacts", Fault.edit(expired), times=1)
    is_old = case.emulator.fail(
        "download", Fault.status(status), when=lambda request: request.query["sig"] == "old"
    )
    await case.download(max_at_once=3)
    assert case.files().keys() == set(PATHS)
    assert case.emulator.count("get_run_artifacts") == 2
    assert is_old.hits in {1, 2, 3}
    assert downloads(case) == 3 + is_old.hits


@pytest.mark.parametrize(
    ("status", "of_list"), [(404, Fault.edit(lambda _: list[object]())), (403, Fault.status(404))]
)
async def test_a_download_without_a_new_link(case: Case, status: int, of_list: Fault) -> None:
    """It is that of the old link if the artifact is no longer listed, or else that of the list."""
    case.emulator.fail("download", Fault.status(status))
    case.emulator.fail("get_run_artifacts", of_list, skip=1)
    error = await raised(errors.NotFoundError, case.download(kinds={"trace"}))
    assert error.url.startswith(case.emulator.url) == (of_list.kind == "answer")


async def test_the_key_never_goes_to_the_host(tmp_path: Path) -> None:
    """Neither the key nor anything of a session that was passed in is sent with a download."""
    headers = {"Authorization": "Bearer tvb_session", "X-Api-Key": "tvb_session"}
    cookies = {"session": "tvb_session"}
    session = aiohttp.ClientSession(headers=headers, cookies=cookies)
    async with session, finished_run(tmp_path, session=session) as case:
        await case.download()
        assert downloads(case) == 3
        for request in case.emulator.artifact_requests:
            assert request.status == 200
            assert "tvb_" not in repr((request.path, request.query, dict(request.headers)))
            assert request.headers.keys().isdisjoint({"Authorization", "Cookie", "Referer"})
            assert request.headers["Accept-Encoding"] == "identity"
        assert not session.closed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(case: Case, status: int) -> None:
    """A redirect of the host raises an error that says so, and is not followed."""
    async with peer(http(200, b"x")) as elsewhere:
        redirect = http(status, b"", f"Location: {elsewhere.url}/?{SECRET}")
        async with case.serving(redirect, 1):
            error = await raised(errors.ResponseError, case.download(), match="not followed")
        assert error.status == status
        assert elsewhere.requests == []
        assert case.files() == {}


@pytest.mark.parametrize(
    "answer",
    [
        *(http(status, SECRET.encode()) for status in (400, 403, 500)),
        http(302, b"", f"Location: /?{SECRET}"),
        http(200, b"x" * 9),
        http(200, b"x", length=2),
        b"",
        b"\x15 no HTTP " + SECRET.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nno chunk " + SECRET.encode(),
    ],
)
async def test_the_query_of_a_link_is_shown_nowhere(
    tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A link's query is in no message, traceback, event or log, even where the host repeats it."""
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []
    hooks = Hooks(on_request=seen.append, on_retry=seen.append)
    async with finished_run(tmp_path, hooks=hooks) as case, case.serving(answer, 2) as origin:
        error = await raised(errors.VibeError, case.download(on_progress=seen.append))
        assert origin.requests
        assert SECRET in origin.requests[0].target
        shown = [*traceback.format_exception(error), repr(error), str(seen)]
        assert "TheSignature" not in "".join([*shown, caplog.text])
        assert repr(vars(error)).count(f"{origin.url}/0") == 1
