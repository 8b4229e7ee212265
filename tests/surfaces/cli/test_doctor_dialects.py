"""What the doctor says of each dialect: its sentence, what follows, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.amounts import amount
from tests.support.dialects import DIALECTS, emulator_speaking
from tests.surfaces.cli.conftest import use
from testvibe_async.cli.doctor import judging
from testvibe_async.testing import Outcome, Scenario

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Call

HOLDS = ("", 0)
"""It is not seen by reads and a run, or it is no difference that a client sees."""

NO_COMMAND = "no command works: "
CUT = "run --all, generate --all and patterns such as 'Log*' are refused; name the features, and"
ABSENT = "GET /projects/{project}/runs: {status}; this route is assumed, and not there; so these do"
TIME = "createdUtc, finishedUtc, startedUtc: written as {seen}; read all the same"
ERROR = "404 comes as {seen}, not with error and message; the status decides"

SENTENCES = {
    "paged-by-link": ("list_features\tin pages of 5 rows; put together", 0),
    "paged-by-cursor": ("its rows are in an object, beside nextCursor; read all the same", 0),
    "paged-by-next-link": ("its rows are in an object, beside nextLink; read all the same", 0),
    "cut-with-has-more": ("cut after 5 rows, and the rest can't be asked for; the list of", 1),
    "cut-with-total": (f"; name the features, and it is not needed; so {CUT}", 1),
    "oldest-first": ("list_runs\tnot the newest first; so runs list --limit shows", 1),
    "limit-refused": (
        'list_runs\ta limit is refused: 400; the service says "The query parameter',
        1,
    ),
    "title-case": ("status: the known words in another case: Failed, Passed; read all", 0),
    "upper-case": ("status: the known words in another case: FAILED, PASSED; read all", 0),
    "other-end-words": (
        (
            "status has words that are not documented: ready, timed_out; so such a run counts as "
            "neither passed nor failed: exit code 5"
        ),
        1,
    ),
    "other-end-words-alone": ("which is not documented, and nothing says that it is over", 5),
    "ids-as-text": ("runId: written as digits in a string; read all the same", 0),
    "request-id-as-number": ("requestId: written as int; read all the same", 0),
    "dispatch-in-data": ("there and nowhere documented: data (object); shown by --json", 0),
    "dispatch-by-kind": ("there and nowhere documented: run (object); shown by --json", 0),
    "dispatch-without-feature-id": ("run_feature\tnot there: featureId; shown empty", 0),
    "dispatch-200": ("run_feature\tanswers 200, not 202; taken for the same", 0),
    "dispatch-lag": ("run\tnot there for 1 poll after its dispatch; waited", 0),
    "mutation-204": HOLDS,
    "times-with-seven-digits": (TIME.format(seen="9999-99-99T99:99:99.9999999Z"), 0),
    "times-with-offset": (TIME.format(seen="9999-99-99T99:99:99+99:99"), 0),
    "times-without-zone": (TIME.format(seen="9999-99-99T99:99:99"), 0),
    "times-in-epoch-seconds": (TIME.format(seen="9999999999"), 0),
    "times-in-epoch-milliseconds": (TIME.format(seen="9999999999999"), 0),
    "times-as-date-call": (TIME.format(seen="/Date(9999999999999)/"), 0),
    "times-empty": ("an empty string; so they can't be read", 1),
    "odd-fields": ("tests[].durationMs: string; so they can't be", 1),
    "errors-as-problem": (ERROR.format(seen="an object of detail, status, title, type"), 0),
    "errors-of-iis": ("404 comes as a web page, not as JSON; the status decides", 0),
    "errors-of-nginx": ("404 comes as a web page, not as JSON; the status decides", 0),
    "errors-nested": (ERROR.format(seen="an object of error"), 0),
    "errors-as-text": (ERROR.format(seen="a string"), 0),
    "errors-capitalized": (ERROR.format(seen="an object of Error, Message"), 0),
    "rate-limit-403-retry-after": HOLDS,
    "rate-limit-403-code": ("run_feature\tit was rate-limited; the service says", 5),
    "json-body-required": HOLDS,
    "path-prefix": HOLDS,
    "slashes-decoded": ("a feature is not found by its name with a slash in it: 404; ", 1),
    "slash-added": (
        'answers 308, and not as the service does; the answer is "redirects to /api/v1/ops/pr',
        3,
    ),
    "login-page": ("server\tanswers 200, and not as the service does; ", 5),
    "login-redirect": ("answers 302, and not as the service does; the answer is", 3),
    "documented-routes-404": (ABSENT.replace("{status}", "404"), 1),
    "documented-routes-404-page": (ABSENT.replace("{status}", "404"), 1),
    "documented-routes-405": (ABSENT.replace("{status}", "405"), 1),
    "gzip": HOLDS,
    "byte-order-mark": HOLDS,
    "text-plain": HOLDS,
}
"""A part of what is printed of each dialect, and the exit code."""


def test_every_dialect_is_here() -> None:
    """A dialect that is added needs its sentence."""
    assert SENTENCES.keys() == DIALECTS.keys()


@pytest.mark.parametrize("name", list(DIALECTS)[:: amount(1, few=4)])
async def test_a_difference_is_named_with_what_follows(
    name: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each dialect has its sentence among the differences, and the exit code of what follows."""
    sentence, code = SENTENCES[name]
    # Time is virtual for the service, and not for the clock of this machine.
    monkeypatch.setattr(judging, "MAX_SKEW", 1e6)
    outcomes = {"Wishlist": Outcome(run_status="passed"), "Checkout": Outcome(run_status="failed")}
    async with emulator_speaking(DIALECTS[name], scenario=Scenario(outcomes=outcomes)) as emulator:
        emulator.add_feature("Cart/Checkout")
        use(emulator, monkeypatch)
        await call("run Wishlist --wait --timeout 600")
        ended = await call("doctor --run Checkout --quiet")
    assert ended.code == code
    if sentence:
        assert sentence in ended.output
    else:
        assert ended.output == "All that was checked holds.\n"
