"""Downloads: what comes of a run's artifacts on the way from their host to a directory.

Files are written in threads, which virtual time does not wait for: these tests run on real time,
and wait for nothing.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import gzip
import logging
import os
import re
import sys
import threading
import traceback
import zipfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import aiohttp
import anyio
import pytest
from attrs import define, field

from tests.conftest import client_of
from testvibe_async import (
    Client,
    ClientClosedError,
    ConfigError,
    Hooks,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    RequestFinished,
    ResponseError,
    RetryPolicy,
    RetryScheduled,
    RunOperation,
    ServerError,
    TransportError,
    VibeError,
)
from testvibe_async._artifacts import download as _download
from testvibe_async._artifacts import part_file as _part_file
from testvibe_async._artifacts import transfer as _transfer
from testvibe_async._artifacts.host import ArtifactHost
from testvibe_async.testing import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from testvibe_async import DownloadProgress

P = ParamSpec("P")

AT_ONCE = RetryPolicy(base_delay=0)
SECRET = "sig=TheSignature"
TAG = 'ETag: "one"'
PATHS = ["trace/locked-out.zip", "screenshots/locked-out.png", "report/index.html"]


def on_real_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run a test on an ordinary event loop, and see to it that no task is left."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())

    return run


@define
class Request:
    """What the host was asked for."""

    target: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        """Where the range begins; 0 without one."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


@define
class Host:
    """An artifact host that does as it is told: it answers each request, and closes."""

    answer: Callable[[Request], bytes | None]
    """Gives what is sent; None for nothing, with the connection left open."""
    url: str = ""
    heard: list[Request] = field(factory=list[Request])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(ConnectionError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            request = Request(first.split(" ")[1], headers)
            self.heard.append(request)
            answer = self.answer(request)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def host(answer: bytes | Callable[[Request], bytes | None]) -> AsyncGenerator[Host]:
    """Start a host that gives this answer to all requests, or what the function returns."""
    made = Host(answer if callable(answer) else lambda _: answer)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


def http(status: int, body: bytes, *lines: str, length: int | None = None) -> bytes:
    """Return an answer as it is on the wire."""
    length = len(body) if length is None else length
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", "Connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(body: bytes) -> bytes:
    """Return an answer that does not tell its length before its end."""
    head = b"HTTP/1.1 200 X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def part_of(content: bytes, request: Request, *lines: str) -> bytes:
    """Return the part of a file that was asked for."""
    span = f"Content-Range: bytes {request.start}-{len(content) - 1}/{len(content)}"
    return http(206, content[request.start :], span, *lines)


@define
class Case:
    """A run that is over, and where its artifacts go."""

    emulator: Emulator
    client: Client
    run: RunOperation
    directory: Path

    def list_as(self, *rows: dict[str, Any]) -> None:
        """Let the service tell of these artifacts and no others."""
        plain = {"kind": "trace", "size": None, "url": None}
        self.emulator.fail("get_run_artifacts", Fault.edit(lambda _: [plain | r for r in rows]))

    def serve(self, origin: Host, size: int | None, *paths: str) -> None:
        """Let the service tell of artifacts on a host, all of one size."""
        paths = paths or ("a.zip",)
        self.list_as(
            *(
                {"path": path, "size": size, "url": f"{origin.url}/{place}?{SECRET}"}
                for place, path in enumerate(paths)
            )
        )

    async def download(self, **options: Any) -> list[Path]:
        """Download what the run left."""
        return await self.run.download_artifacts(self.directory, **options)

    def files(self) -> dict[str, bytes]:
        """Return what is in the directory, by relative path."""
        return {
            found.relative_to(self.directory).as_posix(): found.read_bytes()
            for found in self.directory.rglob("*")
            if found.is_file()
        }


@asynccontextmanager
async def finished_run(tmp_path: Path, **options: Any) -> AsyncGenerator[Case]:
    """Run a feature, with one test that fails, to its end."""
    async with (
        Emulator(shop=False) as emulator,
        client_of(emulator, **{"retry": AT_ONCE} | options) as client,
    ):
        emulator.add_feature("F", "Feature: F\n  Scenario: Locked out\n")
        run = await client.project().run_feature("F")
        emulator.finish_run(run.run_id, "failed")
        yield Case(emulator, client, run, tmp_path / "artifacts")


def entries(directory: Path) -> list[str]:
    """Return the names of what is in a directory."""
    return [entry.name for entry in directory.iterdir()]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread or a socket brings about."""
    while not condition():  # noqa: ASYNC110 - neither can set an event of this loop
        await asyncio.sleep(0.001)


def downloads(case: Case) -> int:
    """Return how many requests the emulator's artifact host got."""
    return len(case.emulator.artifact_requests)


# What is downloaded, and where it goes


@on_real_time
async def test_every_artifact_is_a_whole_file_under_its_own_name(tmp_path: Path) -> None:
    """The paths come back in the service's order, and nothing else is in the directory."""
    async with finished_run(tmp_path) as case:
        paths = await case.download()
        assert [path.relative_to(case.directory).as_posix() for path in paths] == PATHS
        assert {path: len(content) for path, content in case.files().items()} == {
            artifact.path: artifact.size_bytes for artifact in await case.run.artifacts()
        }
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.testzip() is None


@on_real_time
async def test_a_project_downloads_any_of_its_runs(tmp_path: Path) -> None:
    """A run's id is enough, and the directory may be a string, and be made with its parents."""
    async with finished_run(tmp_path) as case:
        directory = str(tmp_path / "new" / "er")
        project = case.client.project()
        paths = await project.download_artifacts(case.run.run_id, directory)
        assert [os.fspath(path) for path in paths] == [os.path.join(directory, p) for p in PATHS]  # noqa: PTH118
        assert all(path.stat().st_size for path in paths)


@on_real_time
async def test_nothing_to_download_leaves_no_directory(tmp_path: Path) -> None:
    """Nothing uploaded, or nothing of these kinds, is nothing downloaded, and no error."""
    async with finished_run(tmp_path) as case:
        assert await case.download(kinds={"nothing"}) == []
        case.list_as()
        assert await case.download() == []
        assert not case.directory.exists()


@on_real_time
async def test_kinds_choose_what_is_downloaded(tmp_path: Path) -> None:
    """Only artifacts of these kinds are asked for, and their names do not depend on the choice."""
    async with finished_run(tmp_path) as case:
        twins = [{"path": "A", "kind": "x"}, {"path": "a", "kind": "trace"}]
        assert [path.name for path in await case.download(kinds={"screenshot"})] == [
            "locked-out.png"
        ]
        assert await case.download(kinds=["nothing"]) == []
        assert downloads(case) == 1
        async with host(http(200, b"x")) as origin:
            case.list_as(*({**twin, "url": origin.url} for twin in twins))
            assert [path.name for path in await case.download(kinds=("trace",))] == ["a-2"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kinds": "trace"}, "{'trace'}"),
        ({"max_at_once": 0}, "max_at_once"),
        ({"on_progress": asyncio.sleep}, "on_progress"),
    ],
)
@on_real_time
async def test_arguments_are_checked_before_anything_is_sent(
    tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    """A single kind, no downloads at once or an async hook is a ConfigError that says which."""
    async with finished_run(tmp_path) as case:
        with pytest.raises(ConfigError, match=told):
            await case.download(**options)
        assert case.emulator.count("get_run_artifacts") == 0


@on_real_time
async def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    """The same name and the same size prove nothing: another run's file gives way to this one's."""
    async with finished_run(tmp_path) as case, host(http(200, b"new")) as origin:
        case.serve(origin, 3)
        case.directory.mkdir()
        (case.directory / "a.zip").write_bytes(b"old")
        await case.download()
        assert case.files() == {"a.zip": b"new"}


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
@on_real_time
async def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """Others may read a file as the umask says, not only its owner as with temporary files."""
    async with finished_run(tmp_path) as case:
        (report,) = await case.download(kinds={"report"})
        (tmp_path / "usual").touch()
        assert report.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("size", [0, None])
@on_real_time
async def test_an_empty_file_is_a_file(tmp_path: Path, size: int | None) -> None:
    """Zero bytes are a size like any other."""
    async with finished_run(tmp_path) as case, host(http(200, b"")) as origin:
        case.serve(origin, size)
        await case.download()
        assert case.files() == {"a.zip": b""}


@on_real_time
async def test_the_disk_is_touched_in_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that may block is done in the event loop, and writes are of a block or more."""
    threads: list[threading.Thread] = []
    writes: list[int] = []

    def spy(name: str) -> None:
        whole = getattr(_part_file.PartFile, name)

        def call(part: Any) -> None:
            threads.append(threading.current_thread())
            writes.append(len(part._gathered))
            whole(part)

        monkeypatch.setattr(_part_file.PartFile, name, call)

    for name in ("open", "_write", "_finish", "discard"):
        spy(name)
    async with finished_run(tmp_path) as case, host(http(200, b"x" * 3_000_000)) as origin:
        case.serve(origin, 3_000_000)
        await case.download()
        assert len(case.files()["a.zip"]) == 3_000_000
    assert threading.main_thread() not in threads
    assert len([size for size in writes if size >= _part_file.BLOCK_BYTES]) in range(4, 12)


# What the host may see


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
    """What one answer sets is not sent with the next request."""
    answer = http(200, b"x", "Set-Cookie: session=one; Path=/")
    async with finished_run(tmp_path) as case, host(answer) as origin:
        origin.url = origin.url.replace("127.0.0.1", "localhost")  # an address has no cookies
        case.serve(origin, 1, "a", "b")
        await case.download(max_at_once=1)
        assert ["cookie" in request.headers for request in origin.heard] == [False, False]


@on_real_time
async def test_a_file_is_kept_as_its_host_has_it(tmp_path: Path) -> None:
    """What is stored compressed stays so: it has the size that the service tells."""
    content = gzip.compress(b"x" * 1000)
    answer = http(200, content, "Content-Encoding: gzip")
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(content))
        await case.download()
        assert case.files() == {"a.zip": content}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@on_real_time
async def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    """A host that sends us elsewhere is an error that says so; nobody goes there."""
    async with finished_run(tmp_path) as case, host(http(200, b"x")) as elsewhere:
        redirect = http(status, b"", f"Location: {elsewhere.url}/?{SECRET}")
        async with host(redirect) as origin:
            case.serve(origin, 1)
            with pytest.raises(ResponseError, match="not followed") as caught:
                await case.download()
        assert caught.value.status == status
        assert elsewhere.heard == []
        assert case.files() == {}


@pytest.mark.parametrize(
    "link",
    [
        None,
        "",
        "/relative",
        "ftp://blobs.example/x",
        "file:///etc/passwd",
        "https://",
        "https://blobs.example:99999/x",
        "https://user:word@blobs.example/x",
        "https://@blobs.example/x",
        "https://blobs.example/x y",
        "https://blobs.example/x\r\nX-Injected: 1",
        "https://blöbs.example/x",
        "http://blobs.example/x",
        "http://10.0.0.1/x",
    ],
)
@on_real_time
async def test_a_link_that_leads_nowhere_good_is_refused(tmp_path: Path, link: str | None) -> None:
    """No link, no address, or one that would fetch the file unencrypted: nothing is sent."""
    async with finished_run(tmp_path) as case:
        case.list_as({"path": "a.zip", "url": link and f"{link}?{SECRET}"})
        with pytest.raises(MalformedResponseError, match=r"link.*, at 'a\.zip'") as caught:
            await case.download()
        assert caught.value.url.endswith("/artifacts")
        assert SECRET not in str(caught.value)
        assert case.files() == {}


@pytest.mark.parametrize(
    ("server", "link", "is_taken"),
    [
        ("https://testvibe.example", "https://blobs.example/x", True),
        ("https://testvibe.example", "http://blobs.example/x", False),
        ("https://testvibe.example", "http://127.0.0.1:1/x", False),
        ("http://127.0.0.1:1", "http://localhost:2/x", True),
        ("http://127.0.0.1:1", "http://[::1]:2/x", True),
        ("http://127.0.0.1:1", "http://blobs.example/x", False),
        ("http://testvibe.internal", "http://blobs.internal/x", True),
    ],
)
async def test_a_link_is_as_encrypted_as_the_service(
    server: str, link: str, *, is_taken: bool
) -> None:
    """Plain http is taken on this machine, and where the service itself is used over it."""
    options: dict[str, Any] = {"timeout": 1.0, "retry": AT_ONCE, "max_connections": 1}
    artifacts = ArtifactHost(server, hooks=Hooks(), sleep=asyncio.sleep, **options)
    if is_taken:
        assert str(artifacts.target(link)) == link
    else:
        with pytest.raises(ValueError, match="unencrypted"):
            artifacts.target(link)


@on_real_time
async def test_a_link_is_sent_as_it_is(tmp_path: Path) -> None:
    """A signature holds only for the very characters of its link, however they are encoded."""
    path = "/a%2fb%7E+c/%C3%BC?x=%2B%2f&sig=a+b%20c=&y=~"
    async with finished_run(tmp_path) as case, host(http(200, b"x")) as origin:
        case.list_as({"path": "a", "url": origin.url + path})
        await case.download()
        assert [request.target for request in origin.heard] == [path]


# Links that expire


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@on_real_time
async def test_a_link_that_has_expired_is_fetched_anew(tmp_path: Path, status: int) -> None:
    """Links that are refused are fetched anew, once for all of them."""

    def expired(artifacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"url": row["url"].partition("?")[0] + "?sig=old"} for row in artifacts]

    async with finished_run(tmp_path) as case:
        case.emulator.fail("get_run_artifacts", Fault.edit(expired), times=1)
        is_old = case.emulator.fail(
            "download", Fault.status(status), when=lambda request: request.query["sig"] == "old"
        )
        await case.download(max_at_once=3)
        assert case.files().keys() == set(PATHS)
        assert case.emulator.count("get_run_artifacts") == 2
        assert is_old.hits in {1, 2, 3}
        assert downloads(case) == 3 + is_old.hits


@on_real_time
async def test_links_expire_by_the_services_clock(tmp_path: Path) -> None:
    """Links that were good when the download began, and are not when it goes on, do no harm."""
    clock = [0.0]
    async with Emulator(shop=False, clock=lambda: clock[0], link_lifetime=60) as emulator:
        emulator.add_feature("F", "Feature: F\n  Scenario: Locked out\n")
        async with client_of(emulator) as client:
            run = await client.project().run_feature("F")
            emulator.finish_run(run.run_id, "failed")

            def wait_an_hour(progress: DownloadProgress) -> None:
                clock[0] += 3600 if progress.is_finished else 0

            paths = await run.download_artifacts(tmp_path, max_at_once=1, on_progress=wait_an_hour)
        assert len(paths) == 3
        assert [request.status for request in emulator.artifact_requests] == [
            200,
            403,
            200,
            403,
            200,
        ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, ResponseError), (403, ResponseError), (404, NotFoundError), (410, ResponseError)],
)
@on_real_time
async def test_a_link_that_is_always_refused_is_an_error(
    tmp_path: Path, status: int, kind: type[ResponseError]
) -> None:
    """After three new links the answer is believed. It says nothing about the API key."""
    async with finished_run(tmp_path) as case:
        case.emulator.fail("download", Fault.status(status))
        with pytest.raises(ResponseError, match="refuses the link") as caught:
            await case.download(kinds={"trace"})
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert downloads(case) == 4
        assert case.emulator.count("get_run_artifacts") == 4


@on_real_time
async def test_an_artifact_that_is_gone_is_refused_for_good(tmp_path: Path) -> None:
    """Where the service no longer lists it, its old link is tried, and what comes is the error."""
    async with finished_run(tmp_path) as case:
        case.emulator.fail("download", Fault.status(404))
        nothing: list[object] = []
        case.emulator.fail("get_run_artifacts", Fault.edit(lambda _: nothing), skip=1)
        with pytest.raises(NotFoundError):
            await case.download(kinds={"trace"})


@on_real_time
async def test_the_services_own_refusal_is_raised_as_it_is(tmp_path: Path) -> None:
    """Where new links can't be had, the caller hears why."""
    async with finished_run(tmp_path) as case:
        case.emulator.fail("download", Fault.status(403))
        case.emulator.fail("get_run_artifacts", Fault.status(404), skip=1)
        with pytest.raises(NotFoundError) as caught:
            await case.download()
        assert caught.value.url.startswith(case.emulator.url)


# Failures on the way


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset(),
        Fault.truncated(),
        Fault.hang(),
        Fault.status(500),
        Fault.status(503, retry_after=0),
        Fault.status(429),
    ],
    ids=["reset", "truncated", "hang", "500", "503", "429"],
)
@on_real_time
async def test_a_failure_that_passes_is_overcome(tmp_path: Path, fault: Fault) -> None:
    """A download that fails on the way is repeated, as reads are."""
    async with finished_run(tmp_path, timeout=0.3) as case:
        case.emulator.fail("download", fault, times=3)
        paths = await case.download(kinds={"trace"})
        assert zipfile.is_zipfile(paths[0])
        assert case.emulator.count("get_run_artifacts") == 1


@on_real_time
async def test_a_host_is_given_the_time_that_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Retry-After` of an artifact host is how long the pause is, in fact as it is told."""
    told: list[float] = []
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    hooks = Hooks(on_retry=lambda event: told.append(event.delay))
    async with finished_run(tmp_path, hooks=hooks) as case:
        monkeypatch.setattr(case.client._services.downloader._host, "_sleep", pause)
        case.emulator.fail("download", Fault.status(503, retry_after=7), times=1)
        await case.download(kinds={"trace"})
    assert told == paused == [7.0]


@pytest.mark.parametrize(
    ("fault", "kind", "sent"),
    [
        (Fault.reset(), OutcomeUnknownError, 4),
        (Fault.truncated(), OutcomeUnknownError, 4),
        (Fault.hang(), OutcomeUnknownError, 4),
        (Fault.garbage(), MalformedResponseError, 1),
        (Fault.status(500), ServerError, 4),
        (Fault.status(503, retry_after=0), ServerError, 4),
        (Fault.status(429), RateLimitedError, 4),
        (Fault.status(400), ResponseError, 1),
        (Fault.body(b"", status=204), ResponseError, 1),
        (Fault.body(b"x", status=206), ResponseError, 1),
        (Fault.body(b"x", status=416), ResponseError, 1),
    ],
    ids=["reset", "truncated", "hang", "garbage", "500", "503", "429", "400", "204", "206", "416"],
)
@on_real_time
async def test_a_failure_that_stays_is_an_error_of_ours(
    tmp_path: Path, fault: Fault, kind: type[VibeError], sent: int
) -> None:
    """Each fault is its own error, after the attempts that the policy grants; nothing is left."""
    async with finished_run(tmp_path, timeout=0.3) as case:
        case.emulator.fail("download", fault)
        with pytest.raises(VibeError) as caught:
            await case.download(kinds={"trace"})
        assert type(caught.value) is kind
        assert downloads(case) in ({sent, 2 * sent} if fault.kind == "reset" else {sent})
        if isinstance(caught.value, TransportError):
            assert caught.value.attempts == 4
        assert case.files() == {}


@on_real_time
async def test_a_slow_download_is_none_that_hangs(tmp_path: Path) -> None:
    """The time-out is for silence: a download that goes on may take as long as it takes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(200, b"", length=8))
        for _ in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        writer.close()

    async with (
        finished_run(tmp_path, timeout=0.5, retry=RetryPolicy(attempts=1)) as case,
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
    ):
        origin = Host(lambda _: None, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        case.serve(origin, 8)
        await case.download()
        assert case.files() == {"a.zip": b"x" * 8}


@on_real_time
async def test_a_host_that_can_not_be_reached(tmp_path: Path) -> None:
    """Where nobody listens the error says so, with the cause of the operating system."""
    async with finished_run(tmp_path) as case:
        async with host(b"") as origin:
            case.serve(origin, 1)
        with pytest.raises(NotSentError, match="could not connect") as caught:
            await case.download()
        assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)


@on_real_time
async def test_a_host_without_a_name(tmp_path: Path) -> None:
    """A name that no system can look up is an error of ours, too."""
    async with finished_run(tmp_path) as case:
        case.list_as({"path": "a", "url": f"https://{'x' * 70}..example/?{SECRET}"})
        with pytest.raises(NotSentError):
            await case.download()


@on_real_time
async def test_a_host_that_does_not_take_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is not made in time was not made, and the link is not in the error."""
    async with finished_run(tmp_path, timeout=0.2) as case:
        case.list_as({"path": "a", "url": f"http://127.0.0.1:9/x?{SECRET}"})

        async def sock_connect(*_: object) -> None:
            await asyncio.sleep(60)

        await case.client.list_projects()
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
        with pytest.raises(NotSentError, match=r"no connection within 0\.1 s") as caught:
            await case.download()
        assert SECRET not in "".join(traceback.format_exception(caught.value))


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
async def test_a_signature_is_never_told(
    tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A link's query is in no message, traceback, event or log, even where the host tells it."""
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []
    hooks = Hooks(on_request=seen.append, on_retry=seen.append)
    async with finished_run(tmp_path, hooks=hooks) as case, host(answer) as origin:
        case.serve(origin, 2)
        with pytest.raises(VibeError) as caught:
            await case.download(on_progress=seen.append)
        assert origin.heard
        assert SECRET in origin.heard[0].target
        told = [*traceback.format_exception(caught.value), repr(caught.value), str(seen)]
        assert "TheSignature" not in "".join([*told, caplog.text])
        assert repr(vars(caught.value)).count(f"{origin.url}/0") == 1


@on_real_time
async def test_hooks_hear_of_downloads(tmp_path: Path) -> None:
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
        assert [event.attempt for event in retries] == [1, 1]


# Going on where it was cut off


CONTENT = bytes(range(256)) * 4_000


@on_real_time
async def test_a_download_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    """The rest is asked for, of the very version that was begun, and the file is whole."""

    def answer(request: Request) -> bytes:
        if not request.start:
            return http(200, CONTENT[:300_000], TAG, length=len(CONTENT))
        return part_of(CONTENT, request, TAG)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        first, second = origin.heard
        assert "range" not in first.headers
        assert (second.headers["range"], second.headers["if-range"]) == (
            f"bytes={second.start}-",
            '"one"',
        )
        assert second.start == 300_000


@on_real_time
async def test_a_link_that_expires_meanwhile_costs_nothing(tmp_path: Path) -> None:
    """A new link goes on where the old one was cut off."""

    def answer(request: Request) -> bytes:
        if len(origin.heard) == 2:
            return http(403, b"")
        if not request.start:
            return http(200, CONTENT[:100], TAG, length=len(CONTENT))
        return part_of(CONTENT, request)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert [request.start for request in origin.heard] == [0, 100, 100]
        assert case.emulator.count("get_run_artifacts") == 2


@on_real_time
async def test_links_may_expire_as_often_as_there_is_progress(tmp_path: Path) -> None:
    """Only links that are refused one after the other end a download."""

    def answer(request: Request) -> bytes:
        if len(origin.heard) % 2:
            return http(403, b"")
        rest = CONTENT[request.start : request.start + 100]
        span = f"Content-Range: bytes {request.start}-999/1000"
        return http(206 if request.start else 200, rest, span, TAG, length=1000 - request.start)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, 1000)
        await case.download()
        assert case.files() == {"a.zip": CONTENT[:1000]}
        assert len(origin.heard) == 20


def whole(_: Request) -> bytes:
    """Ignore the range."""
    return http(200, CONTENT)


def other_version(request: Request) -> bytes:
    """Give the part of another file."""
    return part_of(CONTENT, request, 'ETag: "two"')


def other_place(_: Request) -> bytes:
    """Give another part."""
    return http(206, CONTENT[5:], f"Content-Range: bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")


def other_size(request: Request) -> bytes:
    """Give the part of a longer file."""
    return part_of(CONTENT + b"more", request)


def no_place(request: Request) -> bytes:
    """Give a part and do not say which."""
    return http(206, CONTENT[request.start :])


def no_part(_: Request) -> bytes:
    """Say that there is no such part."""
    return http(416, b"")


@pytest.mark.parametrize(
    "second", [whole, other_version, other_place, other_size, no_place, no_part]
)
@on_real_time
async def test_a_part_that_does_not_fit_is_thrown_away(
    tmp_path: Path, second: Callable[[Request], bytes]
) -> None:
    """Where the host does not go on where it was cut off, the download starts over."""

    def answer(request: Request) -> bytes:
        if len(origin.heard) == 1:
            return http(200, b"?" * 300_000, TAG, length=len(CONTENT))
        return second(request) if request.start else whole(request)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert [request.start for request in origin.heard[:2]] == [0, 300_000]


@on_real_time
async def test_a_part_that_was_longer_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is shorter the second time does not end as the first did."""
    monkeypatch.setattr(_part_file, "BLOCK_BYTES", 1)

    def answer(_: Request) -> bytes:
        if len(origin.heard) == 1:
            return http(200, b"?" * 50, length=100)
        return http(200, CONTENT[:20])

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        await case.download()
        assert case.files() == {"a.zip": CONTENT[:20]}


@pytest.mark.parametrize("tag", ["X: none", 'ETag: W/"weak"', "ETag: bare", 'ETag: "\u00e4"'])
@on_real_time
async def test_a_version_without_a_name_is_not_gone_on_with(tmp_path: Path, tag: str) -> None:
    """Without a strong ETag nothing proves that the rest is the same file's: it starts over."""

    def answer(_: Request) -> bytes:
        if len(origin.heard) == 1:
            return http(200, CONTENT[:300], tag, length=len(CONTENT))
        return whole(_)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert "range" not in origin.heard[1].headers


@on_real_time
async def test_attempts_that_get_further_are_not_counted(tmp_path: Path) -> None:
    """A host that breaks off again and again, each time later, is read to the end."""

    def answer(request: Request) -> bytes:
        content = CONTENT[:1000]
        rest = content[request.start : request.start + 100]
        span = f"Content-Range: bytes {request.start}-999/1000"
        return http(206 if request.start else 200, rest, span, TAG, length=1000 - request.start)

    async with finished_run(tmp_path, retry=RetryPolicy(attempts=2, base_delay=0)) as case:
        async with host(answer) as origin:
            case.serve(origin, 1000)
            await case.download()
        assert case.files() == {"a.zip": CONTENT[:1000]}
        assert len(origin.heard) == 10


# Sizes


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (http(200, b"x" * 99), "99 in place of 100"),
        (http(200, b"x" * 101), "101 in place of 100"),
        (chunked(b"x" * 99), "99 in place of 100"),
        (chunked(b"x" * 101), "more than 100"),
        (chunked(b"x" * 1_000_000), "more than 100"),
        (http(200, b""), "0 in place of 100"),
    ],
)
@on_real_time
async def test_a_wrong_size_is_an_error(
    tmp_path: Path, answer: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another size than the service told is not kept, and nothing beyond is written."""
    written: list[int] = []

    def write(part: Any) -> None:
        written.append(len(part._gathered))

    monkeypatch.setattr(_part_file.PartFile, "_write", write)
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, 100)
        with pytest.raises(MalformedResponseError, match=told) as caught:
            await case.download()
        assert caught.value.status == 200
        assert case.files() == {}
        assert len(origin.heard) == 1
    assert written == []


@on_real_time
async def test_a_part_that_is_too_short_is_an_error(tmp_path: Path) -> None:
    """Also the rest of a file must come up to its size."""

    def answer(request: Request) -> bytes:
        if not request.start:
            return http(200, b"x" * 50, TAG, length=100)
        return http(206, b"x" * 49, "Content-Range: bytes 50-99/100")

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, 100)
        with pytest.raises(MalformedResponseError, match="99 in place of 100"):
            await case.download()
        assert case.files() == {}


@pytest.mark.parametrize("answer", [http(200, CONTENT), chunked(CONTENT)])
@on_real_time
async def test_a_size_that_is_not_told_is_what_comes(tmp_path: Path, answer: bytes) -> None:
    """Without a declared size the host's own word counts, or else the end."""
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        await case.download()
        assert case.files() == {"a.zip": CONTENT}


@pytest.mark.parametrize("answer", [http(200, b"x" * 101), chunked(b"x" * 101)])
@on_real_time
async def test_a_size_that_is_not_told_has_a_bound(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a declared size there is a most that is taken, so that no host fills the disk."""
    monkeypatch.setattr(_transfer, "MAX_UNDECLARED_BYTES", 100)
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        with pytest.raises(MalformedResponseError, match="more than 100"):
            await case.download()
        assert case.files() == {}
        case.serve(origin, 101)


# Hostile names, and links that lie in wait


@on_real_time
async def test_whatever_a_path_holds_its_file_stays_inside(tmp_path: Path) -> None:
    """No path leads out of the directory, and no artifact takes another's place."""
    paths = ["../out", "/etc/out", "..\\out", "C:\\out", "A.png", "a.png", "a.png", "d", "d/e"]
    paths += ["\0", "\ud800", "", "con", "x" * 10_000, ".git/config", "a/../../out"]
    async with finished_run(tmp_path) as case:
        async with host(lambda request: http(200, request.target.encode())) as origin:
            case.serve(origin, None, *paths)
            found = await case.download()
        assert entries(tmp_path) == ["artifacts"]
        contents = [f"/{place}?{SECRET}".encode() for place in range(len(paths))]
        assert [path.read_bytes() for path in found] == contents
        assert sorted(case.files().values()) == sorted(contents)


@pytest.mark.parametrize("target", ["outside", "missing", "inside/../../outside", "inside"])
@on_real_time
async def test_a_directory_that_is_a_symbolic_link_is_not_followed(
    tmp_path: Path, target: str
) -> None:
    """A link in the place of a directory is an error, wherever it leads, and nothing is written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    async with finished_run(tmp_path) as case:
        (case.directory / "inside").mkdir(parents=True)
        (case.directory / "trace").symlink_to(tmp_path / target)
        with pytest.raises(NotADirectoryError, match="no link is followed") as caught:
            await case.download(kinds={"trace"})
        assert caught.value.filename == os.fspath(case.directory / "trace")
        assert entries(outside) == entries(case.directory / "inside") == []
        assert downloads(case) == 0


@on_real_time
async def test_a_junction_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Windows has for a link between directories counts as one."""
    monkeypatch.setattr(_part_file, "_MOUNT_POINT", 0)
    async with finished_run(tmp_path) as case:
        (case.directory / "trace").mkdir(parents=True)
        with pytest.raises(NotADirectoryError):
            await case.download(kinds={"trace"})


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
@on_real_time
async def test_a_link_in_a_files_place_is_replaced(tmp_path: Path, make: str) -> None:
    """What a link names is left alone: the artifact takes the place of the link itself."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    async with finished_run(tmp_path) as case, host(http(200, b"x")) as origin:
        case.serve(origin, 1)
        case.directory.mkdir()
        getattr(case.directory / "a.zip", make)(outside)
        (path,) = await case.download()
        assert not path.is_symlink()
        assert path.read_bytes() == b"x"
    assert outside.read_bytes() == b"precious"


@on_real_time
async def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    """Where the caller puts the files is the caller's own choice."""
    (tmp_path / "real").mkdir()
    (tmp_path / "artifacts").symlink_to(tmp_path / "real")
    async with finished_run(tmp_path) as case:
        assert len(await case.download()) == 3
    assert (tmp_path / "real" / PATHS[0]).is_file()


# Errors of the operating system


@on_real_time
async def test_a_file_in_the_directorys_place_is_an_error(tmp_path: Path) -> None:
    """The operating system's error is raised as it is, and the file stays."""
    async with finished_run(tmp_path) as case:
        case.directory.write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            await case.download()
        assert case.directory.read_bytes() == b"precious"


@on_real_time
async def test_a_directory_in_a_files_place_is_an_error(tmp_path: Path) -> None:
    """It stays, and so does what is in it."""
    async with finished_run(tmp_path) as case:
        (case.directory / PATHS[0] / "precious").mkdir(parents=True)
        with pytest.raises(OSError, match=re.escape(PATHS[0])):
            await case.download(kinds={"trace"})
        assert (case.directory / PATHS[0] / "precious").is_dir()
        assert case.files() == {}


@pytest.mark.parametrize("step", ["_write", "_finish", "open"])
@on_real_time
async def test_a_full_disk_is_an_error_of_the_operating_system(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised as it is, the connection is not taken for lost, and nothing is left."""

    def fail(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_part_file.PartFile, step, fail)
    async with finished_run(tmp_path) as case, host(http(200, CONTENT)) as origin:
        case.serve(origin, None)
        with pytest.raises(OSError, match="space") as caught:
            await case.download()
        assert caught.value.errno == errno.ENOSPC
        assert case.files() == {}
        assert len(origin.heard) == (step != "open")


@on_real_time
async def test_an_error_in_taking_a_file_away_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong first is what is raised."""

    def refuse(_: object) -> None:
        raise PermissionError

    async with finished_run(tmp_path) as case, host(http(200, b"x" * 2)) as origin:
        case.serve(origin, 1)
        monkeypatch.setattr(type(tmp_path), "unlink", refuse)
        with pytest.raises(MalformedResponseError):
            await case.download()


# Several at once


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (3, 3), (4, 4), (99, 10)])
@on_real_time
async def test_no_more_than_allowed_are_under_way(tmp_path: Path, at_once: int, most: int) -> None:
    """max_at_once bounds how many are downloaded at once, and that many are."""
    waiting = 0
    seen = 0
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, seen
        await reader.readuntil(b"\r\n\r\n")
        waiting += 1
        seen = max(seen, waiting)
        if waiting == most:
            go_on.set()
        await go_on.wait()
        await asyncio.sleep(0)
        waiting -= 1
        writer.write(http(200, b"x"))
        writer.close()

    async with (
        finished_run(tmp_path) as case,
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
    ):
        origin = Host(lambda _: None, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        case.serve(origin, 1, *(f"{number}.zip" for number in range(10)))
        assert len(await case.download(max_at_once=at_once)) == 10
    assert seen == most


@on_real_time
async def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    """It is raised bare, what was whole by then stays, and what was not leaves nothing."""

    def answer(request: Request) -> bytes | None:
        if request.target.startswith("/0"):
            return http(200, b"x")
        if request.target.startswith("/2"):
            return None
        hangs = any(request.target.startswith("/2") for request in origin.heard)
        return http(400 if hangs else 503, b"")

    patient = RetryPolicy(attempts=10_000, base_delay=0)
    async with finished_run(tmp_path, retry=patient) as case, host(answer) as origin:
        case.serve(origin, 1, "whole", "fails", "hangs", "never begun")
        with pytest.raises(ResponseError) as caught:
            await case.download(max_at_once=2)
        assert caught.value.status == 400
        assert case.files() == {"whole": b"x"}
        assert not any(request.target.startswith("/3") for request in origin.heard)


@on_real_time
async def test_of_several_failures_one_is_raised(tmp_path: Path) -> None:
    """However many fail at the same moment, the caller gets one of our errors and no group."""
    async with finished_run(tmp_path) as case, host(http(400, b"")) as origin:
        case.serve(origin, 1, *(f"{number}.zip" for number in range(20)))
        with pytest.raises(ResponseError):
            await case.download(max_at_once=20)
        assert case.files() == {}


# Cancellation, and the end of the client


@on_real_time
async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor a task nor a connection is left, and other downloads go on."""
    async with finished_run(tmp_path) as case:

        def answer(request: Request) -> bytes | None:
            return http(200, b"x") if request.target.startswith("/0") else None

        async with host(answer) as origin:
            case.serve(origin, 1, "whole", "hangs", "too")
            task = asyncio.create_task(case.download())
            await until(lambda: len(origin.heard) == 3 and "whole" in case.files())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert case.files() == {"whole": b"x"}


@on_real_time
async def test_a_time_out_of_the_callers_is_the_callers(tmp_path: Path) -> None:
    """`asyncio.timeout` and `anyio.fail_after` around a download do what they say."""
    async with finished_run(tmp_path) as case, host(lambda _: None) as origin:
        case.serve(origin, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await case.download()
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await case.download()
        assert case.files() == {}
        assert len(origin.heard) == 2


@pytest.mark.parametrize("step", ["open", "_write", "_finish", "discard"])
@pytest.mark.parametrize("times", [1, 3])
@on_real_time
async def test_a_cancellation_waits_for_the_disk(
    tmp_path: Path, step: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that is at work is not left alone with a file that is being taken away."""
    begun, go_on = threading.Event(), threading.Event()
    whole = getattr(_part_file.PartFile, step)

    def slow(part: object) -> None:
        begun.set()
        go_on.wait(10)
        whole(part)

    monkeypatch.setattr(_part_file.PartFile, step, slow)
    async with finished_run(tmp_path) as case, host(http(200, CONTENT)) as origin:
        case.serve(origin, len(CONTENT))
        task = asyncio.create_task(case.download())
        await until(begun.is_set)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        is_whole = step in {"_finish", "discard"}
        assert case.files() == ({"a.zip": CONTENT} if is_whole else {})


@on_real_time
async def test_a_cancellation_comes_before_what_the_disk_says() -> None:
    """A task that is cancelled while a thread fails is cancelled; the failure makes no noise."""
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        go_on.wait(10)
        raise OSError

    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    task = asyncio.create_task(_part_file.in_thread(fail))
    await until(begun.is_set)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    gc.collect()
    assert noise == []


@on_real_time
async def test_a_cancelled_scope_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a thread is at work in a scope that was cancelled, the event loop can rest."""
    go_on = threading.Event()
    waits = 0
    wait = asyncio.wait

    async def count(*arguments: Any, **options: Any) -> Any:
        nonlocal waits
        waits += 1
        return await wait(*arguments, **options)

    monkeypatch.setattr(asyncio, "wait", count)
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    with anyio.move_on_after(0.01) as scope:
        await _part_file.in_thread(lambda: go_on.wait(10))
    assert scope.cancelled_caught
    assert waits == 1


@on_real_time
async def test_closing_the_client_ends_downloads(tmp_path: Path) -> None:
    """They raise ClientClosedError and leave nothing; a new one is refused."""
    async with finished_run(tmp_path) as case, host(lambda _: None) as origin:
        case.serve(origin, 1)
        task = asyncio.create_task(case.download())
        await until(lambda: bool(origin.heard))
        await case.client.aclose()
        with pytest.raises(ClientClosedError):
            await task
        assert case.files() == {}
        with pytest.raises(ClientClosedError):
            await case.download()


@on_real_time
async def test_closing_the_client_ends_a_pause(tmp_path: Path) -> None:
    """A download that waits for its next attempt hears of the close at once."""
    async with AsyncExitStack() as stack:
        retrying = asyncio.Event()
        hooks = Hooks(on_retry=lambda _: retrying.set())
        case = await stack.enter_async_context(finished_run(tmp_path, hooks=hooks))
        case.emulator.fail("download", Fault.status(503, retry_after=60))
        task = asyncio.create_task(case.download())
        await retrying.wait()
        await case.client.aclose()
        with pytest.raises(ClientClosedError):
            await task


@on_real_time
async def test_a_download_that_begins_after_the_close_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose turn comes when the client is closed already is not asked for."""
    async with finished_run(tmp_path) as case:
        fetch = _download._Downloads.fetch

        async def fetch_later(*arguments: Any) -> None:
            await case.client.aclose()
            await fetch(*arguments)

        monkeypatch.setattr(_download._Downloads, "fetch", fetch_later)
        with pytest.raises(ClientClosedError):
            await case.download()
        assert downloads(case) == 0


# Progress


@on_real_time
async def test_progress_is_told_in_blocks(tmp_path: Path) -> None:
    """It grows block by block, and is finished when the file is in its place."""
    seen: list[DownloadProgress] = []

    def note(progress: DownloadProgress) -> None:
        assert progress.path.exists() == progress.is_finished
        seen.append(progress)

    async with finished_run(tmp_path) as case, host(http(200, CONTENT)) as origin:
        case.serve(origin, len(CONTENT))
        (path,) = await case.download(on_progress=note)
    done = [progress.done_bytes for progress in seen]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)
    assert 2 <= len(done) <= len(CONTENT) / _part_file.BLOCK_BYTES + 2
    assert [progress.is_finished for progress in seen] == [False] * (len(seen) - 1) + [True]
    assert {(progress.path, progress.total_bytes) for progress in seen} == {(path, len(CONTENT))}
    assert {progress.artifact.path for progress in seen} == {"a.zip"}
    with pytest.raises(AttributeError):
        seen[0].done_bytes = 1  # type: ignore[misc]


@on_real_time
async def test_an_error_of_the_callers_function_is_the_callers(tmp_path: Path) -> None:
    """What `on_progress` raises ends the downloads, and comes out as it is."""

    def fail(_: object) -> None:
        raise LookupError

    async with finished_run(tmp_path) as case, host(http(200, CONTENT)) as origin:
        case.serve(origin, None)
        with pytest.raises(LookupError):
            await case.download(on_progress=fail)
        assert case.files() == {}


# Hosts that send what is no HTTP, or nothing


@on_real_time
async def test_a_chunk_that_can_not_be_read_is_a_connection_lost(tmp_path: Path) -> None:
    """aiohttp tells nobody of such a chunk; the download ends after its time-out all the same."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"zz\r\n")
        writer.close()

    once = RetryPolicy(attempts=1)
    async with (
        finished_run(tmp_path, timeout=0.3, retry=once) as case,
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        case.list_as({"path": "a", "url": f"{url}/?{SECRET}"})
        with pytest.raises(VibeError) as caught:
            await case.download()
        assert case.files() == {}
    assert SECRET not in str(caught.value)


@on_real_time
async def test_interim_answers_without_end_are_no_answer(tmp_path: Path) -> None:
    """A host that always says that it goes on is given up after the time-out."""

    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        is_over.set()

    once = RetryPolicy(attempts=1)
    async with (
        finished_run(tmp_path, timeout=0.3, retry=once) as case,
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        case.list_as({"path": "a", "url": f"{url}/?{SECRET}"})
        with pytest.raises(OutcomeUnknownError, match="nothing came"):
            await case.download()
        await is_over.wait()


@on_real_time
async def test_a_part_of_one_file_is_not_completed_from_another(tmp_path: Path) -> None:
    """A tag tells the versions of one address apart; a new link may lead to another file."""
    first, second = b"A" * 6, b"B" * 6

    def answer(request: Request) -> bytes:
        if request.target.startswith("/second"):
            return part_of(second, request, TAG) if request.start else http(200, second, TAG)
        if request.start:
            return http(403, b"")
        return http(200, first[:3], TAG, length=6)

    links = iter(["first", "second", "second"])
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.emulator.fail(
            "get_run_artifacts",
            Fault.edit(
                lambda _: [
                    {
                        "kind": "trace",
                        "path": "a",
                        "size": 6,
                        "url": f"{origin.url}/{next(links)}?sig=1",
                    }
                ]
            ),
        )
        await case.download()
        assert case.files() == {"a": second}


@on_real_time
async def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    """Downloads of all calls together wait for one of the client's connections."""
    at_once = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        await reader.readuntil(b"\r\n\r\n")
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        writer.write(http(200, b"x"))
        writer.close()

    async with (
        finished_run(tmp_path, max_connections=2) as case,
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        case.list_as(*({"path": f"{n}", "url": f"{url}/{n}"} for n in range(5)))
        await asyncio.gather(case.download(max_at_once=4), case.download(max_at_once=4))
    assert most == 2
