"""Each operation of the service is one request, with every name and id in one path segment."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import field, frozen

from tests.support.shop import GENERATED, P, last
from testvibe_async import Client, ConfigError, NotFoundError, Project
from testvibe_async.testing import Emulator

F = P + "/features/Checkout"


@frozen
class Call:
    """A call, and the one request that it sends."""

    operation: str
    act: Callable[[Client, Project], Awaitable[object]]
    route: str
    query: dict[str, str] = field(factory=dict[str, str], kw_only=True)
    body: dict[str, str] | None = field(default=None, kw_only=True)


CALLS = [
    Call("list_projects", lambda c, _: c.list_projects(), "GET /api/v1/ops/projects"),
    Call("get_project", lambda c, p: c.get_project(p.id), f"GET {P}"),
    Call("list_features", lambda _, p: p.list_features(), f"GET {P}/features"),
    Call("get_feature", lambda _, p: p.get_feature("Checkout"), f"GET {F}"),
    Call(
        "create_feature",
        lambda _, p: p.create_feature("New", "Feature: New"),
        f"POST {P}/features",
        body={"name": "New", "gherkin": "Feature: New"},
    ),
    Call(
        "update_feature",
        lambda _, p: p.update_feature("Checkout", gherkin="Feature: C"),
        f"PATCH {F}",
        body={"gherkin": "Feature: C"},
    ),
    Call(
        "update_feature",
        lambda _, p: p.update_feature("Checkout", name="Pay", gherkin=""),
        f"PATCH {F}",
        body={"name": "Pay", "gherkin": ""},
    ),
    Call("delete_feature", lambda _, p: p.delete_feature("Checkout"), f"DELETE {F}"),
    Call(
        "generate_feature",
        lambda _, p: p.generate_feature("Checkout"),
        f"POST {F}/generate",
        body={},
    ),
    Call(
        "generate_feature",
        lambda _, p: p.generate_feature("Checkout", site_url="https://s.example"),
        f"POST {F}/generate",
        body={"siteUrl": "https://s.example"},
    ),
    Call(
        "get_generation_status",
        lambda _, p: p.get_generation_status("Checkout"),
        f"GET {F}/generation",
    ),
    Call(
        "get_generation_log",
        lambda _, p: p.get_generation_log("Checkout"),
        f"GET {F}/generation/log",
    ),
    Call("run_feature", lambda _, p: p.run_feature("Checkout"), f"POST {F}/run", body={}),
    Call(
        "run_feature",
        lambda _, p: p.run_feature("Checkout", config="Mobile", site_url="https://s.example"),
        f"POST {F}/run",
        body={"config": "Mobile", "siteUrl": "https://s.example"},
    ),
    Call("list_runs", lambda _, p: p.list_runs(), f"GET {P}/runs"),
    Call(
        "list_runs",
        lambda _, p: p.list_runs(feature="Checkout", limit=5),
        f"GET {P}/runs",
        query={"feature": "Checkout", "limit": "5"},
    ),
    Call("list_files", lambda _, p: p.list_files(), f"GET {P}/files"),
    Call(
        "read_file",
        lambda _, p: p.read_file("Features/Checkout.feature"),
        f"GET {P}/files/content",
        query={"path": "Features/Checkout.feature"},
    ),
    Call(
        "write_file",
        lambda _, p: p.write_file("Features/a.feature", ""),
        f"PUT {P}/files/content",
        body={"path": "Features/a.feature", "content": ""},
    ),
    Call("list_configs", lambda _, p: p.list_configs(), f"GET {P}/configs"),
]

# The three operations about a run, and the cancellation, need something in flight first.
LATER = {"get_run", "diagnose_run", "get_run_artifacts", "cancel_generation"}


ABOUT_A_FEATURE: dict[str, tuple[Callable[[Project, str], Awaitable[object]], str]] = {
    "get_feature": (lambda p, f: p.get_feature(f), ""),
    "update_feature": (lambda p, f: p.update_feature(f, gherkin="Feature: X"), ""),
    "delete_feature": (lambda p, f: p.delete_feature(f), ""),
    "generate_feature": (lambda p, f: p.generate_feature(f), "/generate"),
    "get_generation_status": (lambda p, f: p.get_generation_status(f), "/generation"),
    "get_generation_log": (lambda p, f: p.get_generation_log(f), "/generation/log"),
    "run_feature": (lambda p, f: p.run_feature(f), "/run"),
}


# As the wire has them: typed in, not computed.
NAMES = {
    "Two Words": "Two%20Words",
    "a/b": "a%2Fb",
    "a/../b": "a%2F..%2Fb",
    "what?": "what%3F",
    "#1": "%231",
    "100%": "100%25",
    "%2F": "%252F",
    "%": "%25",
    "..": "%2E%2E",
    ".": "%2E",
    "...": "...",
    ".hidden": ".hidden",
    "a+b": "a%2Bb",
    "a&b=c;d": "a%26b%3Dc%3Bd",
    "a:b@c": "a%3Ab%40c",
    "back\\slash": "back%5Cslash",
    "Größe": "Gr%C3%B6%C3%9Fe",
    "日本語 🛒": "%E6%97%A5%E6%9C%AC%E8%AA%9E%20%F0%9F%9B%92",
    "{feature}": "%7Bfeature%7D",
    "~-_": "~-_",
    " leading": "%20leading",
    "tab\tnew\nline": "tab%09new%0Aline",
}


@pytest.mark.parametrize(
    "call", CALLS, ids=lambda call: f"{call.operation} {' '.join(call.body or call.query)}"
)
async def test_a_call_is_one_request_as_the_contract_has_it(
    emulator: Emulator, client: Client, project: Project, call: Call
) -> None:
    """Each operation sends its one request, with documented fields and those given alone."""
    await call.act(client, project)
    assert emulator.count(call.operation) == 1
    request = last(emulator, call.operation)
    assert (f"{request.method} {request.path}", request.query) == (call.route, call.query)
    assert (json.loads(request.body) if request.body else None) == call.body
    content_type = request.headers.get("Content-Type")
    assert content_type == (None if call.body is None else "application/json")
    assert request.headers["Authorization"] == f"Bearer {emulator.api_key}"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"].startswith("testvibe-async/")


def test_every_operation_of_the_contract_is_tried_here() -> None:
    """The calls above and the ones below are the 20 requests of the contract."""
    assert len({call.operation for call in CALLS} | LATER) == 20


@pytest.mark.parametrize(("name", "segment"), NAMES.items(), ids=NAMES.values())
async def test_a_name_of_any_kind_is_one_path_segment(
    emulator: Emulator, project: Project, name: str, segment: str
) -> None:
    """A feature's name arrives as it is, percent-encoded once, in one segment of the path."""
    emulator.add_feature(name)
    assert (await project.get_feature(name)).name == name
    assert last(emulator, "get_feature").path == f"{P}/features/{segment}"


@pytest.mark.parametrize("operation", ABOUT_A_FEATURE)
async def test_every_operation_of_a_feature_encodes_its_name(
    emulator: Emulator, project: Project, operation: str
) -> None:
    """Each operation on a feature finds one whose name looks like a path."""
    emulator.add_feature("a/../b?")
    call, tail = ABOUT_A_FEATURE[operation]
    await call(project, "a/../b?")
    assert last(emulator, operation).path == f"{P}/features/a%2F..%2Fb%3F{tail}"
    assert last(emulator, operation).status in {200, 202}


async def test_an_id_and_a_name_of_digits_travel_alike(
    emulator: Emulator, project: Project
) -> None:
    """An id is sent as its digits, and a name of digits, which the service takes for one, too."""
    feature = emulator.features[GENERATED]
    assert (await project.get_feature(feature.id)).name == GENERATED
    by_int = last(emulator, "get_feature").path
    assert (await project.get_feature(str(feature.id))).name == GENERATED
    assert last(emulator, "get_feature").path == by_int == f"{P}/features/{feature.id}"


async def test_a_name_is_found_in_any_case(project: Project) -> None:
    """The case of a name is left as it is: the service matches it in any."""
    assert (await project.get_feature("cHECKOUT")).name == GENERATED


@pytest.mark.parametrize("feature", ["", True, False, None, 1.5, b"Checkout", "a\ud800b"])
async def test_what_can_not_name_a_feature_is_refused(
    emulator: Emulator, project: Project, feature: Any
) -> None:
    """A feature that is neither an id nor a name is a ConfigError, and nothing is sent."""
    with pytest.raises(ConfigError):
        await project.get_feature(feature)
    with pytest.raises(ConfigError):
        await project.run_feature(feature)
    assert emulator.count() == 0


async def test_a_projects_id_is_one_path_segment(emulator: Emulator, client: Client) -> None:
    """A project's id, whatever it holds, can't lead to another path."""
    with pytest.raises(NotFoundError):
        await client.project("../x").list_files()
    assert emulator.requests[-1].path == "/api/v1/ops/projects/..%2Fx/files"


async def test_read_file_never_asks_for_another_path(emulator: Emulator, project: Project) -> None:
    """A path that UTF-8 can't carry is refused, not sent without the characters it can't."""
    await project.write_file("Features/ab", "other")
    before = emulator.count()
    with pytest.raises(ConfigError):
        await project.read_file("Features/a\ud800b")
    assert emulator.count() == before


async def test_list_runs_never_asks_for_another_feature(
    emulator: Emulator, project: Project
) -> None:
    """A feature's name that UTF-8 can't carry is refused, also where it goes into the query."""
    with pytest.raises(ConfigError):
        await project.list_runs(feature="Check\ud800out")
    assert emulator.count() == 0
