"""Downloads from inside: threads that work on the disk, bounds that are smaller, and links."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.finished_run import CONTENT, Case, downloads
from tests.support.peer import chunked, http
from tests.support.raising import raised
from testvibe_async import Artifact, Client, errors
from testvibe_async._core.artifacts import downloader, part_file
from testvibe_async._core.artifacts.downloader import Downloader

STEPS = [(part_file, "_create"), (downloader, "append"), (Path, "replace")]
"""What touches the disk, and where it is looked up."""


async def test_no_download_after_the_close(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is still queued when the client closes is not requested."""
    fetch = Downloader._download_all

    async def fetch_later(*arguments: Any) -> None:
        await case.client.aclose()
        await fetch(*arguments)

    monkeypatch.setattr(Downloader, "_download_all", fetch_later)
    await raised(errors.ClientClosedError, case.download())
    assert downloads(case) == 0


async def test_a_junction_is_not_followed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A junction of Windows counts as a link."""
    monkeypatch.setattr("testvibe_async._core.artifacts.part_file._MOUNT_POINT", 0)
    (case.directory / "trace").mkdir(parents=True)
    await raised(NotADirectoryError, case.download(kinds={"trace"}))


@pytest.mark.parametrize(("module", "step"), STEPS)
async def test_a_full_disk_is_an_error_of_the_operating_system(
    case: Case, module: object, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is raised as it is, without a retry, and leaves no file."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, step, fail)
    async with case.serving(http(200, CONTENT), None) as origin:
        error = await raised(OSError, case.download(), match="space")
        assert error.errno == errno.ENOSPC
        assert case.files() == {}
        assert len(origin.requests) == (step != "_create")


@pytest.mark.parametrize(
    ("answer", "declared", "message"),
    [
        (http(200, b"x" * 99), 100, "99 in place of 100"),
        (http(200, b"x" * 101), 100, "more than 100"),
        (chunked(b"x" * 99), 100, "99 in place of 100"),
        (chunked(b"x" * 101), 100, "more than 100"),
        (chunked(b"x" * 1_000_000), 100, "more than 100"),
        (http(200, b"x" * 101), None, "more than 100"),
        (chunked(b"x" * 101), None, "more than 100"),
    ],
)
async def test_a_wrong_size_is_an_error(
    case: Case, answer: bytes, declared: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another size than declared is not kept, and nothing beyond it is written.

    Without a declared size it is bounded all the same, so that no host fills the disk.
    """
    written: list[int] = []

    def write(_: Path, block: bytes) -> None:
        written.append(len(block))

    monkeypatch.setattr(downloader, "append", write)
    monkeypatch.setattr("testvibe_async._core.artifacts.host.MAX_BYTES", 100)
    async with case.serving(answer, declared) as origin:
        error = await raised(errors.MalformedResponseError, case.download(), match=message)
        assert error.status == 200
        assert case.files() == {}
        assert len(origin.requests) == 1
    assert sum(written) <= 100


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
async def test_links_are_encrypted_like_it(server: str, link: str, *, is_taken: bool) -> None:
    """Plain http is taken on this machine, and where the service itself is used over it."""
    async with Client(server, api_key="tvb_" + "x" * 43, allow_http=True) as client:
        artifacts = client._parts.downloader._host
        artifact = Artifact(kind="trace", path="a", url=link)
        if is_taken:
            assert str(artifacts.target(artifact, "the list")) == link
        else:
            with pytest.raises(errors.MalformedResponseError, match="unencrypted"):
                artifacts.target(artifact, "the list")
