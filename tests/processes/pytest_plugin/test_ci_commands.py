"""What a service sends commands no CI system that reads pytest's output, or a report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tests.support.ci_systems import WICKED, obeyed, wicked
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    import pytest

    from tests.support.inner_pytest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]


def test_no_line_of_pytest_is_obeyed(
    inner: Inner, service: Emulator, pytester: pytest.Pytester
) -> None:
    """Names, errors and logs, in the terminal's lines and in a JUnit report, command nothing."""
    service.add_feature(WICKED.replace("\r", ""))
    for operation in ("get_run", "list_runs", "diagnose_run"):
        service.fail(operation, Fault.edit(wicked))
    result = inner.features("-v", "-rA", "--junitxml=report.xml", "--showlocals")

    assert result.parseoutcomes()["failed"] >= 2
    assert "# #vso[" in result.stdout.str()
    assert not obeyed(re.sub(r"\x1b\[\d*m", "", result.stdout.str()))
    assert "\u202e" not in result.stdout.str()
    texts = "\n".join(ET.parse(pytester.path / "report.xml").getroot().itertext())  # noqa: S314
    assert not obeyed(texts)


def test_no_line_of_a_refusal_is_obeyed(inner: Inner, service: Emulator) -> None:
    """Nor do the words of an error, be it refused or unreadable."""
    words = b"::error::a ##vso[x]"
    for operation, fault in {
        "run_feature": Fault.body(words, status=400),
        "get_run": Fault.body(words),
        "list_features": Fault.body(words),
    }.items():
        rule = service.fail(operation, fault)
        result = inner.features("-rA")
        rule.remove()
        assert result.ret != 0
        assert "# #vso[" in result.stdout.str()
        assert not obeyed(result.stdout.str())
