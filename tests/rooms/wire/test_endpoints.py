"""The table of operations, how a call becomes a request, and the tables by kind of operation."""

from collections.abc import Collection
from typing import Any, get_args, get_overloads

import pytest

from tests.rooms.wire.documents import places_of
from testvibe_async import Batch, BatchItem, Client
from testvibe_async._core.polling.kinds import RECORDS
from testvibe_async._core.telemetry.otel import KINDS as MEASURED
from testvibe_async._core.wire import KINDS
from testvibe_async._core.wire.convert import DISPATCHED_IN
from testvibe_async._core.wire.endpoints import (
    ENDPOINTS,
    Effect,
    custom_request,
    endpoint_overrides,
)
from testvibe_async.errors import ConfigError, KindName
from testvibe_async.mcp_server.advice import UNKNOWN
from testvibe_async.operations import HANDLES
from testvibe_async.refs import _KINDS
from testvibe_async.reports.entries import ID_FIELDS
from testvibe_async.runner.spec import IN_FLIGHT
from testvibe_async.testing.api import LISTS


def test_reads_alone_are_repeatable() -> None:
    """What is a GET in the table, or among custom requests, may be repeated, and nothing else."""
    customs = [custom_request(method, "/x").endpoint for method in ("GET", "POST", "PUT")]
    for endpoint in (*ENDPOINTS.values(), *customs):
        assert endpoint.is_repeatable == (endpoint.method == "GET")
        assert endpoint.is_repeatable == (endpoint.effect is Effect.READS)


@pytest.mark.parametrize("method", ["get", "", "GET ", "G3T", "GET\r\nX: y", "GÉT"])
def test_a_custom_method_is_a_word(method: str) -> None:
    """What is no HTTP method is a ConfigError."""
    with pytest.raises(ConfigError, match="method"):
        custom_request(method, "/x")


NO_PATHS = [
    *("", "/", "x", "//x", "/x/", "/x//y", "/x?y=1", "/x#y", "/x y", "/x\r\nHost: evil", "/é"),
    *("/{x}", "https://evil.example/x", "/x\n", "/x\x1b", "/x\x7f", "/..", "/../../../admin"),
    *("/x/./y", "/x/..", "/x/%2e%2E/y", "/x/.%2e"),
]


@pytest.mark.parametrize("path", [*NO_PATHS, pytest.param("/x\x00", id="NUL")])
def test_a_custom_path_stays_below_the_api(path: str) -> None:
    """What is no path below `/api/v1/ops`, or could lead out of it, is a ConfigError."""
    with pytest.raises(ConfigError, match="path"):
        custom_request("GET", path)


ASSUMED = [name for name, each in ENDPOINTS.items() if not each.is_documented]


@pytest.mark.parametrize("name", ASSUMED)
def test_an_assumed_route_can_be_another(name: str) -> None:
    """Each assumed operation takes another method and path, and stays the same otherwise."""
    endpoint = ENDPOINTS[name]
    places = "/".join(f"{{{place}}}" for place in reversed(places_of(name)))
    method = "GET" if endpoint.effect is Effect.READS else "PUT"
    changed = endpoint_overrides({name: f"{method} /v2/{places}/else-where"})[name]
    assert (changed.method, changed.path) == (method, f"/v2/{places}/else-where")
    assert changed.answer is endpoint.answer
    assert changed.effect is endpoint.effect
    assert changed.conflict is endpoint.conflict


@pytest.mark.parametrize(
    "name", ["no_such", "wait_for_run", "", *sorted(ENDPOINTS.keys() - ASSUMED)]
)
def test_a_documented_route_stays(name: str) -> None:
    """A documented or unknown operation has no other route: the error names those that have."""
    with pytest.raises(ConfigError, match="list_configs"):
        endpoint_overrides({name: "GET /projects/{project}/x"})


RUNS = "/projects/{project}/runs"
NO_ROUTES = [
    *("", "GET", RUNS, f"GET {RUNS[1:]}", f"get {RUNS}", f"GET  {RUNS}", f"FETCH {RUNS}"),
    *(f"GET {RUNS}{end}" for end in (" ", "\n", "?x=1", "/")),
    *("GET /projects", "GET /projects//{project}", "GET https://evil.example/{project}"),
    *(f"GET /projects/{end}" for end in ("{id}/runs", "{project}/{run}", "x{project}")),
    *(f"GET /projects/{{project}}/{end}" for end in ("ü", "../../x", ".")),
]


@pytest.mark.parametrize("route", NO_ROUTES)
def test_a_route_that_is_none_is_refused(route: str) -> None:
    """A route without a method, a path, its placeholders, or with more than that is refused."""
    with pytest.raises(ConfigError, match="list_runs"):
        endpoint_overrides({"list_runs": route})


TABLES = {
    "names": get_args(KindName),
    "refs": _KINDS,
    "records": RECORDS,
    "handles": HANDLES,
    "metrics": MEASURED,
    "ids": ID_FIELDS,
    "in flight": IN_FLIGHT,
    "advice": UNKNOWN,
    "nested answers": [
        name for name, kind in KINDS.items() if kind.dispatched_by.answer in DISPATCHED_IN
    ],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_has_all_kinds(table: Collection[object]) -> None:
    """In the order of the descriptors: one that lacks a kind fails late, or silently."""
    assert [*table] == [*KINDS]


BY_KIND: dict[str, tuple[Any, int]] = {
    "attach": (Client.attach, 1),
    "changes": (Client.changes, 1),
    "changes of a batch": (Batch[Any].changes, 1),
    "refs of a batch": (type(Batch.refs).__get__, 2),
    "ref of an item": (type(BatchItem.ref).__get__, 2),
}
"""The functions with an overload for each kind, and the number of their other overloads."""


@pytest.mark.parametrize(("function", "others"), BY_KIND.values(), ids=BY_KIND)
def test_each_kind_has_an_overload(function: Any, others: int) -> None:
    """A kind without one has the types of the others for checkers."""
    assert len(get_overloads(function)) == len(KINDS) + others


def test_the_emulator_can_lack_each_list() -> None:
    """An emulator without lists has none by which the operations of a kind are polled."""
    assert {kind.listed_by.name for kind in KINDS.values()} == LISTS
