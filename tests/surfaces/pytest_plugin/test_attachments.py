"""Runs in the reports of Allure and pytest-html."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.inner_pytest import Inner
from testvibe_async.testing import Emulator, Fault

pytest_plugins = ["pytester"]

ARTIFACTS = "--testvibe-artifacts=found"
ALLURE = ("-p", "allure_pytest", "--alluredir=allure")
HTML = ("-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin", "-p", "pytest_html.fixtures")


@pytest.fixture
def cart(inner: Inner, service: Emulator) -> Inner:
    """Return a pytest where each run has a test that passed, one that failed, and another."""
    tests: list[dict[str, Any]] = [
        {"name": "Filled", "status": "passed", "error": None},
        {"name": "Emptied", "status": "failed", "error": "not empty\nexpected 0"},
        {"name": "Kept", "status": "skipped", "error": None},
    ]
    service.fail("get_run", Fault.edit(lambda run: {**run, "tests": tests}))
    return inner


class TestAllure:
    """Allure's results."""

    @pytest.fixture(autouse=True)
    def _allure(self) -> None:
        pytest.importorskip("allure_pytest")

    def results(self, inner: Inner) -> dict[str, Any]:
        """Return the results by the names of their tests."""
        paths = (inner.pytester.path / "allure").glob("*-result.json")
        results = [json.loads(path.read_text()) for path in paths]
        return {result["name"]: result for result in results}

    def test_each_test_of_a_run_is_a_step(self, cart: Inner) -> None:
        """A step has the name, the status and the error of a test."""
        cart.feature("Returns", *ALLURE)

        steps = self.results(cart)["Returns"]["steps"]
        assert {step["name"]: step["status"] for step in steps} == {
            "Filled": "passed",
            "Emptied": "failed",
            "Kept": "skipped",
        }
        assert "not empty\nexpected 0" in steps[1]["statusDetails"]["message"]

    def test_a_failed_feature_failed(self, inner: Inner, service: Emulator) -> None:
        """A run that failed is a failed test; a run without an outcome is a broken one."""
        service.fail("run_feature", Fault.status(403), when=lambda r: "Login" in str(r.feature))
        inner.features(*ALLURE)

        status = {name: result["status"] for name, result in self.results(inner).items()}
        assert status == {"Returns": "failed", "Checkout": "passed", "Login": "broken"}

    def test_artifacts_are_attached(self, inner: Inner, service: Emulator) -> None:
        """Artifacts are copied with their types."""
        inner.feature("Returns", *ALLURE, ARTIFACTS)

        attachments = self.results(inner)["Returns"]["attachments"]
        assert {each["name"]: each["type"] for each in attachments} == {
            "returns-works.zip": "application/zip",
            "returns-works.png": "image/png",
            "index.html": "text/html",
        }
        assert all(
            (inner.pytester.path / "allure" / each["source"]).exists() for each in attachments
        )
        assert service.count("get_run_artifacts") >= 1


class TestHtml:
    """pytest-html's page."""

    @pytest.fixture(autouse=True)
    def _html(self) -> None:
        pytest.importorskip("pytest_html")

    @pytest.mark.parametrize("arguments", [[], ["--self-contained-html"]])
    def test_artifacts_are_shown(
        self, inner: Inner, service: Emulator, arguments: list[str]
    ) -> None:
        """The page shows images, and has links to the other artifacts."""
        inner.features(
            *HTML, "--html=out/page.html", *arguments, ARTIFACTS, "--testvibe-select=Returns"
        )

        folder = inner.pytester.path / "out"
        (test,) = self.rows(folder / "page.html")["testvibe::Returns"]
        extras = {extra["name"]: extra for extra in test["extras"]}
        assert test["result"] == "Failed"
        assert set(extras) == {"returns-works.zip", "returns-works.png", "index.html"}
        assert extras["returns-works.png"]["format_type"] == "image"
        assert (folder / unquote(extras["index.html"]["content"])).is_file()
        assert len(service.runs) == 1

    def test_a_feature_is_shown_once(self, cart: Inner) -> None:
        """The page has one row for a feature, also if only some of its tests passed."""
        cart.feature("Returns", *HTML, "--html=page.html")

        (test,) = self.rows(cart.pytester.path / "page.html")["testvibe::Returns"]
        assert test["result"] == "Failed"

    def test_a_feature_that_passed_has_none(self, inner: Inner, service: Emulator) -> None:
        """Artifacts are those of failures."""
        inner.feature("Login", *HTML, "--html=page.html", ARTIFACTS)

        (test,) = self.rows(inner.pytester.path / "page.html")["testvibe::Login"]
        assert test["result"] == "Passed"
        assert test["extras"] == []
        assert len(service.runs) == 1

    def rows(self, page: Any) -> dict[str, Any]:
        """Return the tests on the page."""
        found = re.search(r'data-jsonblob="([^"]*)"', page.read_text())
        assert found is not None
        tests: dict[str, Any] = json.loads(html.unescape(found[1]))["tests"]
        return tests
