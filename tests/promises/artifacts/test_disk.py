"""Files on the disk: hostile paths, links in the way, and errors of the operating system."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.support.artifact_host import host, http
from tests.support.finished_run import PATHS, SECRET, downloads, entries, finished_run, on_real_time
from testvibe_async import MalformedResponseError


@on_real_time
async def test_every_path_stays_inside_the_directory(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
@on_real_time
async def test_a_link_in_a_files_place_is_replaced(tmp_path: Path, make: str) -> None:
    """An artifact replaces a link in its place, not the file that the link names."""
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
    """A link as the download directory is followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "artifacts").symlink_to(tmp_path / "real")
    async with finished_run(tmp_path) as case:
        assert len(await case.download()) == 3
    assert (tmp_path / "real" / PATHS[0]).is_file()


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
    """A directory in a file's place stays, with its content."""
    async with finished_run(tmp_path) as case:
        (case.directory / PATHS[0] / "precious").mkdir(parents=True)
        with pytest.raises(OSError, match=re.escape(PATHS[0])):
            await case.download(kinds={"trace"})
        assert (case.directory / PATHS[0] / "precious").is_dir()
        assert case.files() == {}


@on_real_time
async def test_an_error_in_removing_a_file_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first error is raised, not that of the removal."""

    def refuse(_: object) -> None:
        raise PermissionError

    async with finished_run(tmp_path) as case, host(http(200, b"x" * 2)) as origin:
        case.serve(origin, 1)
        monkeypatch.setattr(type(tmp_path), "unlink", refuse)
        with pytest.raises(MalformedResponseError):
            await case.download()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
@on_real_time
async def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """Others may read a file as the umask says, not only its owner as with temporary files."""
    async with finished_run(tmp_path) as case:
        (report,) = await case.download(kinds={"report"})
        (tmp_path / "usual").touch()
        assert report.stat().st_mode == (tmp_path / "usual").stat().st_mode
