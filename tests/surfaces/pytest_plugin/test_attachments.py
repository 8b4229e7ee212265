"""Runs in the reports of Allure and pytest-html."""

import html
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.inner_pytest import Inner
from testvibe_async.testing import Emulator, Fault

ARTIFACTS = "--testvibe-artifacts=found"
HTML = ("-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin", "-p", "pytest_html.fixtures")


@pytest.fixture
def cart(inner: Inner, service: Emulator) -> Inner:
    """Return a pytest where Returns has a test that passed, one that failed, and another."""
    tests: list[dict[str, Any]] = [
        {"name": "Filled", "status": "passed", "error": None},
        {"name": "Emptied", "status": "failed", "error": "not empty\nexpected 0"},
        {"name": "Kept", "status": "skipped", "error": None},
    ]

    def fill(run: Any) -> Any:
        return {**run, "tests": tests} if run["featureName"] == "Returns" else run

    service.fail("get_run", Fault.edit(fill))
    return inner


def test_allure(cart: Inner, service: Emulator) -> None:
    """A feature is broken without an outcome; its tests are steps, and its artifacts attached."""
    pytest.importorskip("allure_pytest")
    service.fail("run_feature", Fault.status(403), when=lambda r: "Login" in str(r.feature))
    cart.features("-p", "allure_pytest", "--alluredir=allure", ARTIFACTS)

    folder = cart.pytester.path / "allure"
    results = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
    by_name = {result["name"]: result for result in results}
    status = {name: result["status"] for name, result in by_name.items()}
    assert status == {"Returns": "failed", "Checkout": "passed", "Login": "broken"}
    steps = by_name["Returns"]["steps"]
    ends = {step["name"]: step["status"] for step in steps}
    assert ends == {"Filled": "passed", "Emptied": "failed", "Kept": "skipped"}
    assert "not empty\nexpected 0" in steps[1]["statusDetails"]["message"]
    attachments = by_name["Returns"]["attachments"]
    assert {each["name"]: each["type"] for each in attachments} == {
        "returns-works.zip": "application/zip",
        "returns-works.png": "image/png",
        "index.html": "text/html",
    }
    assert all((folder / each["source"]).exists() for each in attachments)


@pytest.mark.parametrize("arguments", [[], ["--self-contained-html"]])
def test_html(cart: Inner, service: Emulator, arguments: list[str]) -> None:
    """The page has a row for a feature; one that failed has its images, and links to the others."""
    pytest.importorskip("pytest_html")
    only = ("--testvibe-select=Returns", "--testvibe-select=Login")
    cart.features(*HTML, "--html=out/page.html", *arguments, ARTIFACTS, *only)

    folder = cart.pytester.path / "out"
    found = re.search(r'data-jsonblob="([^"]*)"', (folder / "page.html").read_text())
    assert found is not None
    rows: dict[str, Any] = json.loads(html.unescape(found[1]))["tests"]
    (failed,), (passed,) = rows["testvibe::Returns"], rows["testvibe::Login"]
    assert (failed["result"], passed["result"], passed["extras"]) == ("Failed", "Passed", [])
    extras = {extra["name"]: extra for extra in failed["extras"]}
    assert set(extras) == {"returns-works.zip", "returns-works.png", "index.html"}
    assert extras["returns-works.png"]["format_type"] == "image"
    assert (folder / unquote(extras["index.html"]["content"])).is_file()
    assert len(service.runs) == 2
