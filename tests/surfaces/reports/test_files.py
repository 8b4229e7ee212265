"""Reports as files: the ending names the format, and no file is half written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.surfaces.reports.items import PASSED, at, run_item
from tests.surfaces.reports.parsed import parsed
from testvibe_async import ConfigError
from testvibe_async.reports import FORMATS, write_report


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["report", "report.txt", ".html", "report.html.gz"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    """An unknown ending is refused in a sentence that names the known ones."""
    with pytest.raises(ConfigError) as caught:
        write_report(tmp_path / name, [])

    assert repr(name) in str(caught.value)
    assert all(suffix in str(caught.value) for each in FORMATS for suffix in each.suffixes)
    assert names_in(tmp_path) == []


def test_folders_are_made(tmp_path: Path) -> None:
    """Missing folders are made."""
    assert write_report(str(tmp_path / "a" / "b" / "junit.xml"), []).is_file()


def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that can't be written leaves the old file, and no temporary one."""
    path = write_report(tmp_path / "a.md", [], title="old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_report(path, [], title="new")

    assert "old" in path.read_text()
    assert names_in(tmp_path) == ["a.md"]


def test_an_error_names_the_report(tmp_path: Path) -> None:
    """An error names the report's file, and not the temporary one."""
    path = tmp_path / "a.md"
    path.mkdir()
    with pytest.raises(OSError, match=r"'[^']*/a\.md'$") as caught:
        write_report(path, [])

    assert caught.value.filename == str(path)
    assert names_in(tmp_path) == ["a.md"]


def test_a_bad_option_touches_no_file(tmp_path: Path) -> None:
    """A wrong option is refused before anything is written."""
    with pytest.raises(ConfigError):
        write_report(tmp_path / "x" / "a.md", [], started_at=at(0).replace(tzinfo=None))

    assert names_in(tmp_path) == []


def test_links_of_the_page_are_relative_to_it(tmp_path: Path) -> None:
    """The page's links to artifacts are relative to the page."""
    file = tmp_path / "files" / "trace" / "a.zip"
    items, artifacts = [run_item(PASSED)], {214: [file]}

    page = write_report(tmp_path / "out" / "report.html", items, artifacts=artifacts)
    junit = write_report(tmp_path / "out" / "report.xml", items, artifacts=artifacts)

    (link,) = (a for a in parsed(page.read_text()).all("a") if a.text == "trace/a.zip")
    assert link.attributes["href"] == "../files/trace/a.zip"
    (output,) = ET.fromstring(junit.read_text()).iter("system-out")  # noqa: S314 - written above
    assert output.text == f"[[ATTACHMENT|{file.as_posix()}]]"
    assert artifacts == {214: [file]}


def test_a_file_on_another_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on another drive of Windows, which no relative path leads to, has an absolute one."""

    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    path = write_report(
        tmp_path / "a.html", [run_item(PASSED)], artifacts={214: [tmp_path / "a.zip"]}
    )

    assert f'href="file://{tmp_path.as_posix()}/a.zip"' in path.read_text()
