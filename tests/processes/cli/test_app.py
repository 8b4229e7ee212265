"""The command in a process of its own: what it loads, and streams that are closed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import MODULE, environment, finished
from tests.surfaces.cli.conftest import environment_of

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


@pytest.mark.parametrize(
    "arguments",
    [
        "--version",
        "configs",
        "features show Checkout --gherkin",
        "--install-completion --shell bash",
    ],
)
def test_a_closed_pipe_is_quiet_in_a_process_of_its_own(arguments: str, served: Service) -> None:
    """The same holds for buffered output, which Python would flush at its exit."""
    command = shlex.join([sys.executable, *MODULE, *arguments.split()])
    ended = subprocess.run(  # noqa: S603 - our own
        ["/bin/bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        env=environment(**environment_of(served)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("141\n", "")


def test_commands_without_requests_load_no_client() -> None:
    """The version and the settings load neither the client nor its HTTP."""
    for command in ("--version", "settings"):
        script = (
            "import sys; from testvibe_async.cli.app import run\n"
            f"try: run(['{command}'])\n"
            "finally: print({'aiohttp', 'asyncio', 'cattrs'} & set(sys.modules))"
        )
        (output, _), code = finished(python=("-c", script))
        assert (output.splitlines()[-1], code) == ("set()", 0)


def test_a_command_loads_its_own_module_alone() -> None:
    """What a command does not need is not loaded."""
    script = (
        "import sys; from testvibe_async.cli.app import run\n"
        "try: run(['settings'])\n"
        "finally: print(*sorted(n for n in sys.modules if n.startswith('testvibe_async.')))"
    )
    (output, _), code = finished(python=("-c", script))
    loaded = set(output.splitlines()[-1].split())
    assert code == 0
    assert "testvibe_async.cli.settings" in loaded
    assert not {"testvibe_async.cli.features", "testvibe_async.cli.demo"} & loaded
    assert not {name for name in loaded if name.startswith("testvibe_async.testing")}


@pytest.mark.parametrize(
    ("package", "extra", "words"),
    [("cyclopts", "cli", ()), ("sqlalchemy", "durable", ("work", "nightly", "--on", "x.sqlite"))],
)
def test_missing_extra_in_another_process(package: str, extra: str, words: tuple[str, ...]) -> None:
    """The same holds for a process in which it is not installed."""
    script = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {words!r}; "
        "from testvibe_async.cli import main; main()"
    )
    (output, errors), code = finished(python=("-c", script))
    assert (output, code) == ("", 2)
    assert errors.endswith(f"pip install 'testvibe-async[{extra}]'\n")
    assert errors.count("\n") == 1


def test_package_loads_nothing_of_the_command_line() -> None:
    """Importing the package loads neither the command line nor what it needs."""
    script = "import sys, testvibe_async; print(*sys.modules)"
    loaded = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"cyclopts", "rich", "testvibe_async.cli"} & set(loaded)


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        (">&-", "features list", 0),
        ("2>&-", "features show Nope", 3),
        ("<&-", "settings", 0),
        ("<&- >&- 2>&-", "run Nope --wait", 2),
    ],
)
def test_a_stream_that_is_closed_is_no_defect(
    closed: str, arguments: str, code: int, served: Service
) -> None:
    """Started with closed streams, as cron and daemons do, it works and has its usual exit code."""
    assert served
    command = f"{sys.executable} -m testvibe_async.cli {arguments} {closed}"
    process = subprocess.run(command, shell=True, check=False)  # noqa: S602 - our own command
    assert process.returncode == code
