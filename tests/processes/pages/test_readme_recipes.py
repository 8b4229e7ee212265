"""The recipes of the testing kit's page run as tests, each as a file of its own."""

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

SESSIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("anyio's pytest plugin",): ("-p", "anyio"),
    ("unittest",): (),
    ("FastAPI",): AUTO,
}
"""What a session of these recipes loads."""


def test_each_recipe_is_known() -> None:
    """The page has these recipes, and the library's page the service that one of them tests."""
    assert RECIPES.keys() == {name for names in SESSIONS for name in names}
    assert SECTION is not None
    assert SECTION[1] in LIBRARY


@pytest.mark.parametrize("names", SESSIONS, ids=" ".join)
def test_a_recipe_passes(
    names: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its one test passes where every warning is an error, and takes no real time.

    The page's example of fixtures passes beside those with the page's `conftest.py`.
    """
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert SECTION is not None
    recipes = {f"test_recipe_{number}": RECIPES[name] for number, name in enumerate(names)}
    plugins, passed = SESSIONS[names], len(names)
    if plugins is AUTO:
        pytester.makeconftest(VIRTUAL_TIME)
        recipes["test_fixtures"] = FIXTURES
        plugins, passed = (*AUTO, "-p", "testvibe_async.pytest_plugin"), passed + 2
    pytester.makepyfile(service=SECTION[1], **recipes)

    result = pytester.runpytest_subprocess(
        "-W", "error", "-p", "pytest_timeout", "--timeout=20", *plugins
    )

    result.assert_outcomes(passed=passed)
