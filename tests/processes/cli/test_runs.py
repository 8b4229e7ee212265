"""`runs` on a terminal."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.commands import Terminal
from tests.surfaces.cli.conftest import environment_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.surfaces.cli.conftest import Service


def test_download_on_a_terminal(service: Service, tmp_path: Path) -> None:
    """On a terminal the progress is shown, and removed at the end; the files have a table."""
    variables = environment_of(service)
    with closing(Terminal("run", "Checkout", "--wait", **variables)) as terminal:
        terminal.read_to_end()
    run = re.findall(r"run (\d+)", terminal.output)[-1]
    folder = str(tmp_path / "files")
    with closing(Terminal("runs", "download", run, folder, **variables)) as terminal:
        assert terminal.read_to_end() == 0
    drawn, _, left = terminal.output.rpartition("\x1b[?25h")
    assert "\x1b[?25l" in drawn
    assert f"{folder}/" in left
    assert "Traceback" not in terminal.output
