"""Downloading the artifacts of a run: which files, where on the disk, and the progress."""

import asyncio
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.finished_run import CONTENT, PATHS, SECRET, Case, downloads, entries
from tests.support.peer import http, peer
from tests.support.raising import raised
from testvibe_async import ConfigError


async def test_every_artifact_is_a_whole_file_under_its_own_name(case: Case) -> None:
    """The paths come back in the service's order, and nothing else is in the directory."""
    paths = await case.download()
    assert [path.relative_to(case.directory).as_posix() for path in paths] == PATHS
    assert {path: len(content) for path, content in case.files().items()} == {
        artifact.path: artifact.size_bytes for artifact in await case.run.artifacts()
    }
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.testzip() is None


async def test_a_project_downloads_any_of_its_runs(case: Case, tmp_path: Path) -> None:
    """A run's id is enough, and the directory may be a string, and be made with its parents."""
    directory = str(tmp_path / "new" / "er")
    project = case.client.project()
    paths = await project.download_artifacts(case.run.run_id, directory)
    assert [os.fspath(path) for path in paths] == [os.path.join(directory, p) for p in PATHS]  # noqa: PTH118
    assert all(path.stat().st_size for path in paths)


async def test_nothing_to_download_leaves_no_directory(case: Case) -> None:
    """Nothing uploaded, or nothing of these kinds, is nothing downloaded, and no error."""
    assert await case.download(kinds={"video"}) == []
    case.list_as()
    assert await case.download() == []
    assert not case.directory.exists()


async def test_kinds_choose_what_is_downloaded(case: Case) -> None:
    """Only artifacts of these kinds are asked for, and their names do not depend on the choice.

    A kind that only the service knows can be chosen too.
    """
    twins = [{"path": "A", "kind": "har"}, {"path": "a", "kind": "trace"}]
    assert [path.name for path in await case.download(kinds={"screenshot"})] == ["locked-out.png"]
    assert await case.download(kinds=["video"]) == []
    assert downloads(case) == 1
    async with peer(http(200, b"x")) as origin:
        case.list_as(*({**twin, "url": origin.url} for twin in twins))
        assert [path.name for path in await case.download(kinds=("trace",))] == ["a-2"]
        assert [path.name for path in await case.download(kinds={"har"})] == ["A"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kinds": "trace"}, "{'trace'}"),
        ({"max_at_once": 0}, "max_at_once"),
        ({"on_progress": asyncio.sleep}, "on_progress"),
    ],
)
async def test_wrong_arguments_of_a_download_are_named(
    case: Case, options: dict[str, Any], named: str
) -> None:
    """A single kind, no downloads at once or an async hook is a ConfigError that says which."""
    await raised(ConfigError, case.download(**options), match=named)
    assert case.emulator.count("get_run_artifacts") == 0


async def test_an_unfinished_run_is_refused(case: Case) -> None:
    """The artifacts of a run in flight are a ConfigError that names its status, and no list."""
    run = await case.client.project().run_feature("F")
    await raised(ConfigError, run.download_artifacts(case.directory), match="running")
    assert not case.directory.exists()


@pytest.mark.parametrize("is_listed", [True, False])
async def test_an_unknown_kind_is_refused(case: Case, *, is_listed: bool) -> None:
    """A kind that is neither documented nor listed is a ConfigError, before anything is fetched."""
    if not is_listed:
        case.list_as()
    with pytest.raises(ConfigError, match=r"'traces'.*trace"):
        await case.download(kinds={"traces", "screenshot"})
    assert downloads(case) == 0
    assert not case.directory.exists()


async def test_an_error_of_on_progress_is_raised(case: Case) -> None:
    """An error of `on_progress` ends the downloads, and is raised as it is."""

    def fail(_: object) -> None:
        raise LookupError

    async with case.serving(http(200, CONTENT), None):
        await raised(LookupError, case.download(on_progress=fail))
    assert case.files() == {}


async def test_every_path_stays_inside_the_directory(case: Case, tmp_path: Path) -> None:
    """No path leads out of the directory, and no artifact takes another's place."""
    paths = ["../out", "/etc/out", "..\\out", "C:\\out", "A.png", "a.png", "a.png", "d", "d/e"]
    paths += ["\0", "\ud800", "", "con", "x" * 10_000, ".git/config", "a/../../out"]
    async with case.serving(lambda request: http(200, request.target.encode()), None, *paths):
        found = await case.download()
    assert entries(tmp_path) == ["artifacts"]
    contents = [f"/{place}?{SECRET}".encode() for place in range(len(paths))]
    assert [path.read_bytes() for path in found] == contents
    assert sorted(case.files().values()) == sorted(contents)


@pytest.mark.parametrize("target", ["outside", "missing", "inside/../../outside", "inside"])
async def test_a_link_to_a_directory_is_refused(case: Case, tmp_path: Path, target: str) -> None:
    """A link in the place of a directory is an error, wherever it leads, and nothing is written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (case.directory / "inside").mkdir(parents=True)
    (case.directory / "trace").symlink_to(tmp_path / target)
    with pytest.raises(NotADirectoryError, match="no link is followed") as caught:
        await case.download(kinds={"trace"})
    assert caught.value.filename == os.fspath(case.directory / "trace")
    assert entries(outside) == entries(case.directory / "inside") == []
    assert downloads(case) == 0


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
async def test_a_link_in_a_files_place_is_replaced(case: Case, tmp_path: Path, make: str) -> None:
    """An artifact replaces a link in its place, not the file that the link names."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    case.directory.mkdir()
    getattr(case.directory / "a.zip", make)(outside)
    async with case.serving(http(200, b"x"), 1):
        (path,) = await case.download()
    assert not path.is_symlink()
    assert path.read_bytes() == b"x"
    assert outside.read_bytes() == b"precious"
