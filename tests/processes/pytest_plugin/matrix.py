"""A command that runs features with each pair of pytest's common plugins, and prints a table.

    python -m tests.processes.pytest_plugin.matrix

Each pair has three sessions: a test of one's own fails beside a flaky feature, a feature is flaky,
a feature always fails. A row says how each ended, and whether the counts of the JUnit report are
those of the terminal. The command fails if a row is not as expected.

Sessions are forked off one process that has imported what takes long, so most take a fifth of a
second; those with pytest-xdist, whose workers are new processes, take longer.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import resource
import sys
import tempfile
import textwrap
import time
from collections import Counter
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from anyio.from_thread import start_blocking_portal

from tests.support.inner_pytest import fail_first_run
from testvibe_async.testing import Emulator, Outcome, Scenario

PLUGINS: dict[str, list[str]] = {
    "rerunfailures": ["-p", "rerunfailures", "--reruns=1"],
    "randomly": ["-p", "randomly"],
    "html": ["-p", "metadata", "-p", "html", "--html=report.html"],
    "cov": ["-p", "pytest_cov", "--cov=test_own", "--cov-report="],
    "timeout": ["-p", "timeout", "--timeout=30"],
    "xdist": ["-p", "xdist", "-n1"],
    "allure": ["-p", "allure_pytest", "--alluredir=allure"],
    "asyncio, auto": ["-p", "asyncio", "-o", "asyncio_mode=auto"],
    "asyncio, strict": ["-p", "asyncio", "-o", "asyncio_mode=strict"],
    "anyio": ["-p", "anyio"],
}
"""Each plugin by its name, with the options that have it take part."""

ASYNC_TESTS = {
    "asyncio, auto": "",
    "asyncio, strict": "@pytest.mark.asyncio",
    "anyio": "@pytest.mark.anyio",
}
"""The mark of a test that the plugin runs in an event loop."""

SCENARIO = Scenario(failing_runs=0, outcomes={"Returns": Outcome(run_status="failed")})
SESSION_SECONDS = 60.0
ALL_SECONDS = 1800.0
"""Time after which sessions are missed that ended without a result."""


class Session(NamedTuple):
    """One session of pytest."""

    plugins: tuple[str, ...]
    feature: str
    own_test: str
    exit_code: pytest.ExitCode
    """The expected one."""

    failed: int
    """How many failures are expected, with those of subtests."""


class Result(NamedTuple):
    """What came of a session."""

    exit_code: int
    counts: Counter[str]
    """Those of the terminal."""

    junit: dict[str, int]
    output: str

    @property
    def is_agreed(self) -> bool:
        """Return True if the JUnit report has the terminal's counts."""
        count = self.counts
        return self.junit == {
            "tests": sum(count[each] for each in ("passed", "failed", "subtests passed")),
            "failures": count["failed"],
            "errors": count["error"] + count["errors"],
            "skipped": count["skipped"],
        }


def sessions_of(plugins: tuple[str, ...]) -> list[Session]:
    """Return a row's sessions."""
    failed, passed = pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.OK
    return [
        Session(plugins, "Checkout", "assert False", failed, 1),
        Session(plugins, "Checkout", "pass", passed, 0),
        Session(plugins, "Returns", "pass", failed, 2),
    ]


def play(session: Session) -> Result:
    """Run pytest in this process, forked for it, with an emulator in a thread."""
    faulthandler.dump_traceback_later(SESSION_SECONDS, exit=True)
    marks = {name: mark for name, mark in ASYNC_TESTS.items() if name in session.plugins}
    tests = [
        f"def test_own(): {session.own_test}",
        "@pytest.fixture\ndef anyio_backend(): return 'asyncio'",
        *(f"{mark}\nasync def test_{i}(): pass" for i, mark in enumerate(marks.values())),
    ]
    options = [option for name in session.plugins for option in PLUGINS[name]]
    if "rerunfailures" not in session.plugins:
        options.append("--testvibe-attempts=2")
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            Emulator(shop=False, speed=500.0, scenario=SCENARIO)
        ) as service,
    ):
        os.chdir(folder)
        Path("test_own.py").write_text("\n".join(["import pytest", *tests, ""]))
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        service.add_feature(session.feature)
        fail_first_run(service)
        os.environ |= {
            "TESTVIBE_SERVER": service.url,
            "TESTVIBE_API_KEY": service.api_key,
            "TESTVIBE_PROJECT": service.project_id,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        plugin = ("-p", "testvibe_async.pytest_plugin", "--testvibe", "-v", "--junitxml=junit.xml")
        quick = ("--testvibe-poll-interval=0.02", "-p", "no:cacheprovider")
        exit_code = int(pytest.main([*plugin, *quick, *options]))
        sys.stdout.flush()
        return read_result(exit_code)


def read_result(exit_code: int) -> Result:
    """Read what a session printed, and its JUnit report."""
    output = Path("output.txt").read_text()
    last = output.rstrip().rpartition("\n")[2]
    found = re.findall(r"(\d+) (subtests passed|[a-z]+)", last.partition(" in ")[0])
    counts = Counter({word: int(number) for number, word in found})
    junit: dict[str, int] = {}
    if (report := Path("junit.xml")).exists():
        (suite,) = ET.parse(report).getroot()  # noqa: S314 - written above
        names = ("tests", "failures", "errors", "skipped")
        junit = {name: int(suite.get(name, -1)) for name in names}
    return Result(exit_code, counts, junit, output)


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Print the table; return the number of rows that are not as expected."""
    began = time.monotonic()
    rows = [(), *((name,) for name in PLUGINS), *combinations(PLUGINS, 2)]
    rows.remove(("asyncio, auto", "asyncio, strict"))
    sessions = [session for row in rows for session in sessions_of(row)]
    with get_context("fork").Pool(maxtasksperchild=1) as pool:
        played = pool.map_async(play, sessions, chunksize=1).get(ALL_SECONDS)
        results = dict(zip(sessions, played, strict=True))
    wrong = 0
    say("| plugins | own test fails | flaky feature | failing feature | JUnit as terminal |")
    say("|---|---|---|---|---|")
    for row in rows:
        pairs = [(session, results[session]) for session in sessions_of(row)]
        is_agreed = all(result.is_agreed for _, result in pairs)
        is_right = is_agreed and all(
            (result.exit_code, result.counts["failed"]) == (session.exit_code, session.failed)
            for session, result in pairs
        )
        codes = " | ".join(str(result.exit_code) for _, result in pairs)
        say(f"| {' + '.join(row) or 'none'} | {codes} | {'yes' if is_agreed else 'no'} |")
        if not is_right:
            wrong += 1
            for session, result in pairs:
                say(json.dumps([*session, dict(result.counts), result.junit]))
                say(textwrap.indent(result.output, "    "))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, cpu_seconds = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    say(f"\n{len(rows)} rows of {len(sessions)} sessions, {wrong} wrong")
    say(f"{seconds:.0f} s, {cpu_seconds:.0f} s of processor time")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
