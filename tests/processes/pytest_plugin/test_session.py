"""Sessions in processes of their own: what they load, print and capture, and time-outs."""

import sys

import pytest

from tests.support.inner_pytest import (
    FEATURES,
    Inner,
    endless,
    ids_told,
)
from testvibe_async.testing import Emulator

CHEAP = {
    "testvibe_async",
    "testvibe_async._core",
    "testvibe_async._core.util",
    "testvibe_async._core.util.text",
    "testvibe_async._core.util.version",
    "testvibe_async.pytest_plugin",
    "testvibe_async.pytest_plugin.leftovers",
    "testvibe_async.pytest_plugin.options",
}
"""All modules of this package that a session loads if no test asks for anything."""

LOADED = """
    import sys

    def pytest_unconfigure():
        names = [name for name in sys.modules if name.partition(".")[0] in {
            "testvibe_async", "aiohttp", "attrs", "cattrs", "anyio", "asyncio"}]
        print("LOADED", *sorted(names))
"""


def test_a_session_of_others_is_left_alone(inner: Inner) -> None:
    """A session without the plugin's fixtures loads a few small modules, and causes no warning."""
    inner.pytester.makeconftest(LOADED)
    inner.pytester.makepyprojecttoml('[tool.pytest]\nstrict = true\nfilterwarnings = ["error"]')
    inner.pytester.makepyfile("def test_plain(): pass")
    others = ("asyncio", "anyio", "detangle", "hypothesispytest")
    without = (word for other in others for word in ("-p", f"no:{other}"))
    result = inner.pytester.run(sys.executable, "-W", "error", "-m", "pytest", *without)

    result.assert_outcomes(passed=1)
    (line,) = (line for line in result.outlines if line.startswith("LOADED"))
    assert set(line.split()[1:]) == CHEAP
    result.stdout.no_fnmatch_line("*warning*")
    result.stdout.no_fnmatch_line("testvibe*")


@endless
@pytest.mark.parametrize("limit", ["--timeout=0.3", "a mark"])
def test_pytest_timeout_reaches_a_feature(inner: Inner, service: Emulator, limit: str) -> None:
    """Each feature fails after the time that pytest-timeout gives it; their runs are listed."""
    pytest.importorskip("pytest_timeout")
    if limit == "a mark":
        inner.mark("timeout(0.3)")
    arguments = [limit] if limit.startswith("--") else []
    result = inner.bare("-p", "pytest_timeout", "--testvibe", *arguments)

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines_random(
        [f"FAILED testvibe::{name} - Failed: Timeout *" for name in FEATURES]
    )
    assert ids_told(result.outlines) == set(service.runs)
