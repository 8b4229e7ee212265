"""Downloads that go on where they were cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.artifact_host import Request, host, http, part_of
from tests.support.finished_run import (
    CONTENT,
    TAG,
    finished_run,
    on_real_time,
)
from testvibe_async import (
    RetryPolicy,
)
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@on_real_time
async def test_a_download_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    """The remaining part of the same version is requested, and the file is complete."""

    def answer(request: Request) -> bytes:
        if not request.start:
            return http(200, CONTENT[:300_000], TAG, length=len(CONTENT))
        return part_of(CONTENT, request, TAG)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        first, second = origin.requests
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
        if len(origin.requests) == 2:
            return http(403, b"")
        if not request.start:
            return http(200, CONTENT[:100], TAG, length=len(CONTENT))
        return part_of(CONTENT, request)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert [request.start for request in origin.requests] == [0, 100, 100]
        assert case.emulator.count("get_run_artifacts") == 2


@on_real_time
async def test_links_may_expire_as_often_as_there_is_progress(tmp_path: Path) -> None:
    """Only links that are refused one after the other end a download."""

    def answer(request: Request) -> bytes:
        if len(origin.requests) % 2:
            return http(403, b"")
        part = CONTENT[request.start : request.start + 100]
        span = f"Content-Range: bytes {request.start}-999/1000"
        return http(206 if request.start else 200, part, span, TAG, length=1000 - request.start)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, 1000)
        await case.download()
        assert case.files() == {"a.zip": CONTENT[:1000]}
        assert len(origin.requests) == 20


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
async def test_a_part_that_does_not_fit_is_dropped(
    tmp_path: Path, second: Callable[[Request], bytes]
) -> None:
    """A part that does not continue the file is dropped, and the download starts over."""

    def answer(request: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, b"?" * 300_000, TAG, length=len(CONTENT))
        return second(request) if request.start else whole(request)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert [request.start for request in origin.requests[:2]] == [0, 300_000]


@pytest.mark.parametrize("tag", ["X: none", 'ETag: W/"weak"', "ETag: bare", 'ETag: "\u00e4"'])
@on_real_time
async def test_without_a_strong_etag_the_download_starts_over(tmp_path: Path, tag: str) -> None:
    """Without a strong ETag nothing proves that the file is the same, so it starts over."""

    def answer(_: Request) -> bytes:
        if len(origin.requests) == 1:
            return http(200, CONTENT[:300], tag, length=len(CONTENT))
        return whole(_)

    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, len(CONTENT))
        await case.download()
        assert case.files() == {"a.zip": CONTENT}
        assert "range" not in origin.requests[1].headers


@on_real_time
async def test_attempts_that_get_further_are_not_counted(tmp_path: Path) -> None:
    """A host that breaks off again and again, each time later, is read to the end."""

    def answer(request: Request) -> bytes:
        content = CONTENT[:1000]
        part = content[request.start : request.start + 100]
        span = f"Content-Range: bytes {request.start}-999/1000"
        return http(206 if request.start else 200, part, span, TAG, length=1000 - request.start)

    async with finished_run(tmp_path, retry=RetryPolicy(attempts=2, base_delay=0)) as case:
        async with host(answer) as origin:
            case.serve(origin, 1000)
            await case.download()
        assert case.files() == {"a.zip": CONTENT[:1000]}
        assert len(origin.requests) == 10


@on_real_time
async def test_a_part_of_one_file_is_not_completed_from_another(tmp_path: Path) -> None:
    """A part from an old link is not completed from a new link that leads to another file."""
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
