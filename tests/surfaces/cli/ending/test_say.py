"""How what goes on is named at the end."""

from __future__ import annotations

from tests.surfaces.cli.test_details import ESCAPED, HOSTILE, lines_of
from testvibe_async import GenerationRef, RunRef
from testvibe_async.cli.board import Row
from testvibe_async.cli.ending import named_in_flight


def test_in_flight_names_what_is_not_over() -> None:
    """The refs stand one a line; only what follows a ref is ever cut."""
    generation = GenerationRef(
        server="http://s", project="p", request_id="b23a0571-ef27", feature_id=15
    )
    rows = [
        Row(ref=generation, feature="Checkout with gift card", started=0),
        Row(ref=RunRef(server="http://s", project="p", run_id=214), feature="Returns", started=0),
    ]
    assert lines_of(named_in_flight(rows, width=60)) == [
        "  generation b23a0571-ef27 of feature 15  Checkout with gif…",
        "  run 214  Returns",
    ]
    assert "  Checkout with gift card\n" in str(named_in_flight(rows))
    assert not named_in_flight([])
    assert ESCAPED in str(named_in_flight([Row(feature=HOSTILE, started=0)]))
