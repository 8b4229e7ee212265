"""The log of a program of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

WARNING_SCRIPT = """
{setup}
from testvibe_async.events import logger
logger.warning("a pause")
"""


@pytest.mark.parametrize(
    ("setup", "errors"),
    [("", ""), ("import logging; logging.basicConfig()", "WARNING:testvibe_async:a pause\n")],
    ids=["no-logging", "logging"],
)
def test_only_a_program_that_set_up_logging_gets_the_log(setup: str, errors: str) -> None:
    """Without logging set up, not even a warning is printed."""
    script = WARNING_SCRIPT.format(setup=setup)
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own words
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", errors)
