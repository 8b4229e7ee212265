"""Completion, in a shell."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.surfaces.cli.test_completion import script_for
from testvibe_async.cli import app

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Run


BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="there is no bash on this machine")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("",), set(app.NAMES) - {"--install-completion"}),
        (("fea",), {"features"}),
        (("features", ""), {"list", "show", "create", "update", "delete"}),
        (("features", "show", "--g"), {"--gherkin"}),
        (("projects", "--no"), {"--no-color"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], expected: set[str], run: Run) -> None:
    """bash itself, with the script loaded, completes commands, their parts and their options."""
    assert BASH is not None
    asked = (
        f"{script_for('bash', run)}\n"
        f"COMP_WORDS=(testvibe-async {' '.join(word or repr('') for word in words)})\n"
        f"COMP_CWORD={len(words)}\n_testvibe_async\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    ended = subprocess.run(  # noqa: S603 - our own
        [BASH, "--norc", "-c", asked], capture_output=True, text=True, check=True
    )
    assert set(ended.stdout.split()) == expected
    assert ended.stderr == ""
