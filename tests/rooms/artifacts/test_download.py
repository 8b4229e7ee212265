"""Downloads, by their bounds: of an undeclared size, and of what is written at once."""

from pathlib import Path

import pytest

from tests.support.artifact_host import chunked, host, http
from tests.support.finished_run import CONTENT, finished_run, on_real_time
from testvibe_async import DownloadProgress, MalformedResponseError
from testvibe_async._artifacts import downloader
from testvibe_async._artifacts.host import BLOCK_BYTES


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(200, b"x" * 99), "99 in place of 100"),
        (http(200, b"x" * 101), "more than 100"),
        (chunked(b"x" * 99), "99 in place of 100"),
        (chunked(b"x" * 101), "more than 100"),
        (chunked(b"x" * 1_000_000), "more than 100"),
        (http(200, b""), "0 in place of 100"),
    ],
)
@on_real_time
async def test_a_wrong_size_is_an_error(
    tmp_path: Path, answer: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another size than declared is not kept, and nothing beyond it is written."""
    written: list[int] = []

    def write(_: Path, block: bytes) -> None:
        written.append(len(block))

    monkeypatch.setattr(downloader, "append", write)
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, 100)
        with pytest.raises(MalformedResponseError, match=message) as caught:
            await case.download()
        assert caught.value.status == 200
        assert case.files() == {}
        assert len(origin.requests) == 1
    assert sum(written) <= 100


@pytest.mark.parametrize("answer", [http(200, b"x" * 101), chunked(b"x" * 101)])
@on_real_time
async def test_an_undeclared_size_is_bounded(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a declared size a file is bounded, so that no host fills the disk."""
    monkeypatch.setattr("testvibe_async._artifacts.host.MAX_BYTES", 100)
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        with pytest.raises(MalformedResponseError, match="more than 100"):
            await case.download()
        assert case.files() == {}


@on_real_time
async def test_a_length_beyond_the_bound_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the host itself calls too large is not read to the bound."""
    monkeypatch.setattr("testvibe_async._artifacts.host.MAX_BYTES", 2 * BLOCK_BYTES)
    answer = http(200, bytes(BLOCK_BYTES), length=3 * BLOCK_BYTES)
    async with finished_run(tmp_path) as case, host(answer) as origin:
        case.serve(origin, None)
        with pytest.raises(MalformedResponseError, match="more than"):
            await case.download()
        assert len(origin.requests) == 1


@on_real_time
async def test_progress_is_reported_in_blocks(tmp_path: Path) -> None:
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
    assert 2 <= len(done) <= len(CONTENT) / BLOCK_BYTES + 2
    assert [progress.is_finished for progress in seen] == [False] * (len(seen) - 1) + [True]
    assert {(progress.path, progress.total_bytes) for progress in seen} == {(path, len(CONTENT))}
    assert {progress.artifact.path for progress in seen} == {"a.zip"}
    with pytest.raises(AttributeError):
        seen[0].done_bytes = 1  # type: ignore[misc]
