"""Features with pytest's common plugins: each alone, and with TESTVIBE_TESTS=full each pair."""

from itertools import combinations

import pytest

from tests.support.amounts import FULL
from tests.support.inner_pytest import Inner, fail_first_run
from testvibe_async.testing import Emulator

PLUGINS = {
    "rerunfailures": "-p rerunfailures --reruns=1",
    "randomly": "-p randomly",
    "html": "-p metadata -p html --html=report.html",
    "cov": "-p pytest_cov --cov=test_own --cov-report=",
    "timeout": "-p timeout --timeout=30",
    "xdist": "-p xdist -n1",
    "allure": "-p allure_pytest --alluredir=allure",
    "asyncio, auto": "-p asyncio -o asyncio_mode=auto",
    "asyncio, strict": "-p asyncio -o asyncio_mode=strict",
    "anyio": "-p anyio",
}
"""Each plugin by its name, with the options that have it take part."""

MARKS = {
    "asyncio, auto": "",
    "asyncio, strict": "@pytest.mark.asyncio",
    "anyio": "@pytest.mark.anyio",
}
"""The mark of a test that the plugin runs in an event loop."""

PAIRS = combinations(PLUGINS, 2) if FULL else ()
ROWS: list[tuple[str, ...]] = [
    *((), *((name,) for name in PLUGINS)),
    *(pair for pair in PAIRS if not all("asyncio" in name for name in pair)),
]


@pytest.mark.parametrize("plugins", ROWS, ids=" + ".join)
def test_reports_agree(inner: Inner, service: Emulator, plugins: tuple[str, ...]) -> None:
    """Exit code, terminal and JUnit report count one flaky feature, one failed, and own tests.

    The lines about the tests of a run are not captured as the output of a test.
    """
    marks = [mark for name, mark in MARKS.items() if name in plugins]
    tests = [f"{mark}\nasync def test_{number}(): pass" for number, mark in enumerate(marks)]
    backend = "@pytest.fixture\ndef anyio_backend(): return 'asyncio'"
    words = " ".join(PLUGINS[name] for name in plugins).split()
    if "rerunfailures" not in plugins:
        words.append("--testvibe-attempts=2")
    fail_first_run(service, "Checkout")
    for own, returns, failed in (("pass", [], 0), ("assert 0", ["--testvibe-select=Returns"], 3)):
        own_test = f"def test_own(): {own}"
        inner.pytester.makepyfile(test_own="\n".join(["import pytest", own_test, backend, *tests]))
        options = ["--testvibe-select=Checkout", *returns, "--junitxml=report.xml", "-v", *words]
        result = inner.bare(*options)

        count = result.parseoutcomes()
        suite = inner.report()
        result.stdout.no_fnmatch_line("*Captured*")
        assert result.ret == (pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK)
        assert count.get("failed", 0) == failed
        assert count["passed"] == 2 + len(tests) - (own != "pass")
        assert {name: int(suite.get(name, -1)) for name in ("tests", "failures", "errors")} == {
            "tests": count["passed"] + failed + count.get("subtests", 0),
            "failures": failed,
            "errors": 0,
        }
        cases = {(case.get("classname"), case.get("name")) for case in suite}
        assert suite.get("tests") == str(len(cases))
