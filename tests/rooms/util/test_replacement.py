"""Files that are replaced as a whole."""

import os
from pathlib import Path

import pytest

from testvibe_async._core.util.replacement import replace_file


def test_it_is_there_as_a_whole(tmp_path: Path) -> None:
    """The text stands as it was given, and a link stays one."""
    file, link = tmp_path / "file", tmp_path / "link"
    replace_file(file, "one\r\n", mode=0o600)
    link.symlink_to(file)
    replace_file(link, "ä\n")
    assert link.is_symlink()
    assert file.read_bytes() == "ä\n".encode()
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_a_failure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier file is as it was, and no part of the new one is left."""
    file = tmp_path / "file"
    replace_file(file, "before")

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(file, "after")
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]
