"""The plugin where nobody uses it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
pytest_plugins = ["pytester"]


CHEAP = {
    "testvibe_async",
    "testvibe_async._util",
    "testvibe_async._util.text",
    "testvibe_async._util.version",
    "testvibe_async.pytest_plugin",
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


def test_nothing_is_loaded_that_is_not_needed(inner: Inner) -> None:
    """A session without the plugin's fixtures loads a few small modules, and no other package."""
    inner.pytester.makeconftest(LOADED)
    inner.pytester.makepyfile("def test_plain(): pass")

    others = ("asyncio", "anyio", "detangle", "hypothesispytest", "schemathesis")
    result = inner.process(*(word for other in others for word in ("-p", f"no:{other}")))

    result.assert_outcomes(passed=1)
    (line,) = (line for line in result.outlines if line.startswith("LOADED"))
    assert set(line.split()[1:]) == CHEAP


def test_it_can_be_switched_off(inner: Inner) -> None:
    """-p no:testvibe removes all options of the plugin."""
    result = inner.process("-p", "no:testvibe", "--help")

    result.stdout.fnmatch_lines(["*--collect-only*"])
    result.stdout.no_fnmatch_line("*testvibe*")


def test_nothing_warns(inner: Inner) -> None:
    """The plugin causes no warning, with all strictness on."""
    inner.pytester.makepyprojecttoml('[tool.pytest]\nstrict = true\nfilterwarnings = ["error"]')
    inner.pytester.makepyfile("def test_plain(): pass")
    arguments = ("-m", "pytest", "-p", "no:asyncio")

    result = inner.pytester.run(sys.executable, "-W", "error", *arguments)

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*warning*")
    result.stdout.no_fnmatch_line("testvibe*")
