"""`run` in a process of its own: on a terminal, in a pipe, and stopped by a signal."""

from __future__ import annotations

import re
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Terminal, finished, started
from tests.surfaces.cli.conftest import Service, environment_of

if TYPE_CHECKING:
    from collections.abc import Generator


PROJECT = "7f3c9a4e-1f4b-4c53-9d0e-2b6a7c1d8e90"


@pytest.fixture(scope="module")
def slow_service() -> Generator[Service]:
    """An emulator in another process whose runs take longer than any test."""
    with started("emulator", "--port", "0", "--speed", "0.01") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        yield Service(*(line.strip().partition("=")[2] for line in lines))


@pytest.fixture
def posted() -> threading.Event:
    """Whether the silent server has a dispatch."""
    return threading.Event()


@pytest.fixture
def silent_server(posted: threading.Event) -> Generator[str]:
    """A server that has no list of runs, and answers nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            posted.set()
            over.wait()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Print nothing."""

    over = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()


def test_sigterm_ends_in_order(slow_service: Service) -> None:
    """Stopped by SIGTERM it names what goes on too, and exits with 143."""
    with started("run", "Checkout", "--wait", **environment_of(slow_service)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Batch ")
        assert "queued" in process.stdout.readline()
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 143
    assert "with:\n  testvibe-async wait 2" in errors
    assert "Ctrl-C" not in errors


def test_run_in_a_pipe(service: Service) -> None:
    """In a process of its own, into a pipe: lines without colours, and the exit code."""
    (output, errors), code = finished("run", "Checkout", "--wait", **environment_of(service))
    assert code in {0, 1}
    assert errors == ""
    assert "\x1b" not in output
    assert re.search(r"1 in [\d.]+ s: 1 (passed|failed)\n$", output)


def test_run_on_a_terminal(service: Service) -> None:
    """On a terminal there is a live table, which is removed at the end; the result stays."""
    with closing(Terminal("run", "--all", "--wait", **environment_of(service))) as terminal:
        code = terminal.read_to_end()
    drawn, _, left = terminal.output.rpartition("\x1b[?25h")
    assert code in {0, 1}
    assert re.search(r"\d+ of \d+ in [\d.]+ s: ", drawn)
    assert re.search(r"\d+ in [\d.]+ s: \d+ passed", left)
    assert "Traceback" not in terminal.output


def test_ctrl_c_names_what_goes_on(slow_service: Service) -> None:
    """Ctrl-C takes the table away, shows the cursor, names the runs, and exits with 130."""
    variables = environment_of(slow_service)
    with closing(Terminal("run", "Checkout", "Returns", "--wait", **variables)) as terminal:
        terminal.read_until("2 queued")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    left = terminal.output.rpartition("\x1b[?25h")[2]
    assert "Stopped: 2 in " in left
    assert len(re.findall(r"^  run \d+  ", left, re.MULTILINE)) == 2
    assert "with:\r\n  testvibe-async wait 2" in left
    assert "Elapsed" not in left
    assert "Traceback" not in terminal.output


def test_second_ctrl_c_on_a_terminal(silent_server: str, posted: threading.Event) -> None:
    """A dispatch that is not answered holds the command up until Ctrl-C is pressed again."""
    variables = environment_of(Service(silent_server, "tvb_" + "k" * 43, PROJECT))
    with closing(Terminal("run", "Checkout", "--wait", **variables)) as terminal:
        terminal.read_until("1 waiting")
        assert posted.wait(10)
        terminal.press_ctrl_c()
        terminal.read_until("Ctrl-C again ends at once.")
        terminal.press_ctrl_c()
        assert terminal.read_to_end() == 130
    left = terminal.output.rpartition("\x1b[?25h")[2]
    assert re.search(r"Stopped: 1 in [\d.]+ s: 1 unknown", left)
    assert "unknown: it may have started" in left
    assert "Traceback" not in terminal.output
