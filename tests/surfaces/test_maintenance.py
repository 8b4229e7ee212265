"""A service under maintenance: sessions say so, and end as they should.

What the command line prints is in `cli/test_outage`, and what tools report in `mcp_server`.
"""

from typing import Any

import pytest

from tests.support.amounts import by_turns
from tests.support.inner_pytest import ENDLESS, Inner, inner, service
from testvibe_async.testing import Emulator, Fault, RecordedRequest

__all__ = ["inner", "service"]

pytest_plugins = ["pytester"]

PAGE = b"<!doctype html><title>We are back soon</title>"

PAGES = {
    "HTML 200": Fault.body(PAGE, content_type="text/html"),
    "302 to a login": Fault.status(302, body=b""),
    "bare 404": Fault.status(404, body=b""),
    "403 page": Fault.status(403, body=PAGE),
    "503 HTML": Fault.status(503, body=PAGE),
}


@pytest.fixture
def service_options() -> dict[str, Any]:
    """Return options with runs that go on until they are ended."""
    return {"scenario": ENDLESS, "speed": 1.0}


@pytest.mark.parametrize(("page", "polls"), by_turns([*PAGES], [3, 8]))
def test_sessions(inner: Inner, service: Emulator, page: str, polls: int) -> None:
    """A pytest session prints that the service is away, and that it is back, and passes.

    Its client is on real time, so that the outage is one of so many polls.
    """
    seen = 0

    def is_away(_: RecordedRequest) -> bool:
        nonlocal seen
        seen += 1
        if seen == 1 + polls:
            service.finish_run(max(service.runs), "passed")
        return 1 < seen <= 1 + polls

    service.fail("get_run", PAGES[page], when=is_away)
    service.fail("list_runs", Fault.status(404))
    result = inner.features("--testvibe-select=Login")
    said = [line for line in result.outlines if "the service does not answer" in line]
    over = [line for line in result.outlines if "the service answers again" in line]
    result.assert_outcomes(passed=1)
    assert len(said) == len(over) == 1
