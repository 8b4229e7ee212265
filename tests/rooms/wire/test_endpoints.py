"""The table of operations, how a call becomes a request, and the tables by kind of operation."""

import pytest

from tests.rooms.wire.documents import places_of
from testvibe_async._core.wire.endpoints import (
    ENDPOINTS,
    Effect,
    custom_request,
    endpoint_overrides,
)
from testvibe_async.errors import ConfigError


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
