"""Runs in the reports of Allure and pytest-html."""

import html
import json
import re
from typing import Any

import pytest

from tests.support.inner_pytest import Inner
from testvibe_async.testing import Emulator, Fault

HTML = ("-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin", "-p", "pytest_html.fixtures")


def test_allure(inner: Inner, service: Emulator) -> None:
    """A feature whose run failed is failed, and says why; one without an outcome is broken."""
    pytest.importorskip("allure_pytest")
    service.fail("run_feature", Fault.status(403), when=lambda r: "Login" in str(r.feature))
    inner.features("-p", "allure_pytest", "--alluredir=allure")

    folder = inner.pytester.path / "allure"
    results = [json.loads(path.read_text()) for path in folder.glob("*-result.json")]
    status = {result["name"]: result["status"] for result in results}
    assert status == {"Returns": "failed", "Checkout": "passed", "Login": "broken"}
    (why,) = [each["statusDetails"]["message"] for each in results if each["name"] == "Returns"]
    assert "1 of 1 test failed" in why


def test_html(inner: Inner, service: Emulator) -> None:
    """The page has a row for each feature, and none for the tests of its run."""
    pytest.importorskip("pytest_html")
    inner.features(*HTML, "--html=page.html")

    found = re.search(r'data-jsonblob="([^"]*)"', (inner.pytester.path / "page.html").read_text())
    assert found is not None
    rows: dict[str, Any] = json.loads(html.unescape(found[1]))["tests"]
    assert {name: [row["result"] for row in each] for name, each in rows.items()} == {
        "testvibe::Login": ["Passed"],
        "testvibe::Checkout": ["Passed"],
        "testvibe::Returns": ["Failed"],
    }
    assert len(service.runs) == 3
