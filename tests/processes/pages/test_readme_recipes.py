"""The recipes of the testing kit's page run as tests, each as a file of its own."""

from __future__ import annotations

import re

import pytest

from tests.processes.pages.test_readme_service import SECTION
from tests.surfaces.pages.test_readme import LIBRARY, PAGES

pytest_plugins = ["pytester"]

RECIPES = dict(
    re.findall(
        r"^### (.*?)$.*?^```python\n(.*?)^```$",
        PAGES["testvibe_async/testing/README.md"].partition("\n## Recipes\n")[2],
        re.DOTALL | re.MULTILINE,
    )
)

PAGE = PAGES["testvibe_async/testing/README.md"]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(VIRTUAL_TIME,) = [block for block in BLOCKS if "def pytest_asyncio_loop_factories" in block]
(FIXTURES,) = [block for block in BLOCKS if "def test_my_service" in block]

AUTO = (
    *("-p", "asyncio", "-o", "asyncio_mode=auto"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)

PLUGINS: dict[str, tuple[str, ...]] = {
    "anyio's pytest plugin": ("-p", "anyio"),
    "unittest": (),
    "FastAPI": AUTO,
    "aioresponses": AUTO,
}
"""What each recipe's session loads."""


def test_each_recipe_is_known() -> None:
    """The page has these recipes, and the library's page the service that one of them tests."""
    assert RECIPES.keys() == PLUGINS.keys()
    assert SECTION is not None
    assert SECTION[1] in LIBRARY


def test_fixtures_work_beside_virtual_time(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's example of fixtures passes with the page's `conftest.py`."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(VIRTUAL_TIME)
    pytester.makepyfile(FIXTURES)
    result = pytester.runpytest_subprocess(
        *AUTO, "-p", "testvibe_async.pytest_plugin", "-W", "error"
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_recipe_passes(
    name: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its one test passes where every warning is an error, and takes no real time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert SECTION is not None
    pytester.makepyfile(service=SECTION[1], test_recipe=RECIPES[name])
    if PLUGINS[name] is AUTO:
        pytester.makeconftest(VIRTUAL_TIME)

    result = pytester.runpytest_subprocess(
        "-W", "error", "-p", "pytest_timeout", "--timeout=20", *PLUGINS[name]
    )

    result.assert_outcomes(passed=1)
