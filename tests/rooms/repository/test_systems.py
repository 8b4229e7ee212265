"""What is left out where there is no POSIX: that which needs it, no less."""

import re

from tests.support.systems import HERE, NEEDS_POSIX, left_out, missing

POSIX = re.compile(
    r"import (fcntl|termios|resource|pty|pwd)\b|from tests\.support\.commands|"
    r"\bSIG(KILL|STOP|CONT|HUP|QUIT)\b|\bos\.(killpg|fork|openpty|login_tty|geteuid|getuid)\b|"
    r"pthread_kill|/dev/fd|process\.send_signal|raise_signal, signal\.SIGTERM"
)
"""What Windows does not have."""

MODULES = sorted(
    path
    for path in HERE.rglob("*.py")
    if path.name.startswith("test_") and path.name != "test_systems.py"
)


def test_what_needs_posix_is_left_out_elsewhere() -> None:
    """Each module that uses what Windows lacks is left out there, and nothing is on Linux."""
    needing = [path for path in MODULES if POSIX.search(path.read_text(encoding="utf-8"))]
    assert len(needing) >= 10
    assert [path for path in needing if not left_out(path, system="nt")] == []
    assert not any(left_out(path, system="posix") for path in MODULES)


def test_the_session_says_what_is_left_out() -> None:
    """The header of a session has a line with the reason for each; on POSIX it has none."""
    assert missing(system="posix") == []
    lines = missing(system="nt")
    assert len(lines) == len(NEEDS_POSIX)
    assert lines[0].startswith("not run on nt: tests/processes: processes are forked")
