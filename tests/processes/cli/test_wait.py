"""`wait` on a terminal and through a pipe."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.commands import Terminal, finished
from tests.surfaces.cli.conftest import environment_of

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


def test_picked_up_on_a_terminal(service: Service) -> None:
    """In processes of their own: dispatched by one, waited for by another on a terminal."""
    variables = environment_of(service)
    (output, _), code = finished("run", "Checkout", "--json", **variables)
    assert code == 0
    ref = json.dumps(json.loads(output)["items"][0]["ref"])
    with closing(Terminal("wait", ref, **variables)) as terminal:
        assert terminal.read_to_end() in {0, 1}
    left = terminal.output.rpartition("\x1b[?25h")[2]
    assert re.search(r"1 in [\d.]+ s: 1 (passed|failed)", left)


def test_refs_through_a_pipe(service: Service) -> None:
    """What one command prints as JSON the other reads from its standard input."""
    variables = environment_of(service)
    (output, _), _ = finished("run", "Checkout", "--json", **variables)
    (output, errors), code = finished("wait", "--file", "-", stdin=output, **variables)
    assert code in {0, 1}
    assert errors == "Batch 1 has the results.\n"
    assert "1/1  run " in output
