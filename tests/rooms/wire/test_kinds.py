"""Each table by kind of operation has all kinds: one that lacks a kind fails late, or silently."""

from collections.abc import Collection
from typing import get_args

import pytest

from testvibe_async._dispatch.search import SEARCHES
from testvibe_async._polling.states import STATES
from testvibe_async._telemetry.otel import KINDS as MEASURED
from testvibe_async._wire import KINDS
from testvibe_async.errors import KindName
from testvibe_async.operations import HANDLES

TABLES = {
    "names": get_args(KindName),
    "states": STATES,
    "handles": HANDLES,
    "searches": SEARCHES,
    "metrics": MEASURED,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_has_all_kinds(table: Collection[str]) -> None:
    """In the order of the descriptors."""
    assert [*table] == [*KINDS]
