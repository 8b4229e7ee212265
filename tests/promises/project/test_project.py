"""Each operation of the service: the one request that it sends, what it returns, and its waits."""

import asyncio
import json
from typing import Any

import pytest
from attrs import field, frozen

from tests.support.raising import raised
from tests.support.shop import DRAFT, GENERATED, P, last
from tests.support.timing import now
from testvibe_async import Client, FeatureStatus, Project, RunStatus, errors
from testvibe_async.testing import Emulator, Fault

F = P + "/features/Checkout"


@frozen
class Call:
    """A call, and the one request that it sends."""

    operation: str
    route: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(factory=dict[str, Any], kw_only=True)
    query: dict[str, str] = field(factory=dict[str, str], kw_only=True)
    body: dict[str, str] | None = field(default=None, kw_only=True)

    async def act(self, client: Client, project: Project) -> None:
        """Send it."""
        owner = client if self.operation in {"list_projects", "get_project"} else project
        await getattr(owner, self.operation)(*self.arguments, **self.options)


def sent_last(emulator: Emulator, operation: str) -> str:
    """Return the method and the path of the last request for an operation."""
    request = last(emulator, operation)
    return f"{request.method} {request.path}"


NEW = {"name": "New", "gherkin": "Feature: New"}
PAY = {"name": "Pay", "gherkin": ""}
TEXT = {"gherkin": "Feature: C"}
FILE = {"path": "Features/a.feature", "content": ""}
READ = {"path": "Features/Checkout.feature"}
SITE, AT = {"siteUrl": "https://s.example"}, {"site_url": "https://s.example"}
MOBILE = {"config": "Mobile"}
FIVE = {"feature": "Checkout", "limit": "5"}
C = (GENERATED,)
CALLS = [
    Call("list_projects", "GET /api/v1/ops/projects"),
    Call("get_project", f"GET {P}", (P.rpartition("/")[2],)),
    Call("list_features", f"GET {P}/features"),
    Call("get_feature", f"GET {F}", C),
    Call("create_feature", f"POST {P}/features", options=NEW, body=NEW),
    Call("update_feature", f"PATCH {F}", C, options=TEXT, body=TEXT),
    Call("update_feature", f"PATCH {F}", C, options=PAY, body=PAY),
    Call("delete_feature", f"DELETE {F}", C),
    Call("generate_feature", f"POST {F}/generate", C, body={}),
    Call("generate_feature", f"POST {F}/generate", C, options=AT, body=SITE),
    Call("get_generation_status", f"GET {F}/generation", C),
    Call("get_generation_log", f"GET {F}/generation/log", C),
    Call("run_feature", f"POST {F}/run", C, body={}),
    Call("run_feature", f"POST {F}/run", C, options=MOBILE, body=MOBILE),
    Call("run_feature", f"POST {F}/run", C, options=AT, body=SITE),
    Call("list_runs", f"GET {P}/runs"),
    Call("list_runs", f"GET {P}/runs", options={"feature": "Checkout", "limit": 5}, query=FIVE),
    Call("list_files", f"GET {P}/files"),
    Call("read_file", f"GET {P}/files/content", options=READ, query=READ),
    Call("write_file", f"PUT {P}/files/content", options=FILE, body=FILE),
    Call("list_configs", f"GET {P}/configs"),
]


# The three operations about a run, and the cancellation, need something in flight first.
LATER = {"get_run", "diagnose_run", "get_run_artifacts", "cancel_generation"}


# As the wire has them: typed in, not computed.
NAMES = {
    "Two Words": "Two%20Words",
    "a/b": "a%2Fb",
    "a/../b": "a%2F..%2Fb",
    "what?": "what%3F",
    "100%": "100%25",
    "%2F": "%252F",
    "..": "%2E%2E",
    ".": "%2E",
    "a+b": "a%2Bb",
    "back\\slash": "back%5Cslash",
    "日本語 🛒": "%E6%97%A5%E6%9C%AC%E8%AA%9E%20%F0%9F%9B%92",
    "tab\tnew\nline": "tab%09new%0Aline",
}


@pytest.mark.parametrize(
    "call", CALLS, ids=lambda call: f"{call.operation} {' '.join(call.body or call.query)}"
)
async def test_each_operation_sends_its_documented_request(
    emulator: Emulator, client: Client, project: Project, call: Call
) -> None:
    """Each operation sends its one request, with documented fields and those given alone."""
    await call.act(client, project)
    assert emulator.count(call.operation) == 1
    request = last(emulator, call.operation)
    assert (sent_last(emulator, call.operation), request.query) == (call.route, call.query)
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
async def test_any_name_is_one_segment_of_the_path(
    emulator: Emulator, project: Project, name: str, segment: str
) -> None:
    """A feature's name arrives as it is, percent-encoded once, in one segment of the path."""
    emulator.add_feature(name)
    assert (await project.get_feature(name)).name == name
    assert last(emulator, "get_feature").path == f"{P}/features/{segment}"


@pytest.mark.parametrize("feature", ["", True, False, None, 1.5, b"Checkout", "a\ud800b"])
async def test_no_feature_has_it(emulator: Emulator, project: Project, feature: Any) -> None:
    """A feature that is neither an id nor a name is a ConfigError, and nothing is sent."""
    await raised(errors.ConfigError, project.get_feature(feature))
    with pytest.raises(errors.ConfigError):
        await project.run_feature(feature)
    assert emulator.count() == 0


async def test_a_projects_id_is_one_path_segment(emulator: Emulator, client: Client) -> None:
    """A project's id, whatever it holds, can't lead to another path."""
    await raised(errors.NotFoundError, client.project("../x").list_files())
    assert emulator.requests[-1].path == "/api/v1/ops/projects/..%2Fx/files"


async def test_what_utf_8_can_not_carry_is_refused(emulator: Emulator, project: Project) -> None:
    """It is not sent without the characters that UTF-8 can't carry: that names something else."""
    await raised(errors.ConfigError, project.read_file("Features/a\ud800b"))
    await raised(errors.ConfigError, project.list_runs(feature="Check\ud800out"))
    assert emulator.count() == 0


async def test_update_feature_changes_one(emulator: Emulator, project: Project) -> None:
    """update_feature with a name keeps the text, and with a text keeps the name."""
    text = emulator.features[GENERATED].gherkin
    await project.update_feature(GENERATED, name="Pay")
    assert emulator.features["Pay"].gherkin == text
    await project.update_feature("Pay", gherkin="Feature: Pay\n")
    assert emulator.features["Pay"].gherkin == "Feature: Pay\n"
    await raised(errors.ConfigError, project.update_feature("Pay"))


async def test_cancel_generation_ends_it(emulator: Emulator, project: Project) -> None:
    """cancel_generation sends one POST and the generation is cancelled; a second is a conflict."""
    operation = await project.generate_feature(DRAFT)
    await project.cancel_generation(DRAFT)
    path = f"{P}/features/Checkout%20with%20gift%20card/generation/cancel"
    assert sent_last(emulator, "cancel_generation") == f"POST {path}"
    assert emulator.features[DRAFT].status == "cancelled"
    assert (await operation).status is FeatureStatus.CANCELLED
    error = await raised(errors.ConflictError, project.cancel_generation(DRAFT))
    assert type(error) is errors.ConflictError


async def test_list_runs_gives_the_newest_first(emulator: Emulator, project: Project) -> None:
    """list_runs returns bare digests of the project's runs, or of one feature's, or the newest."""
    first = await project.run_feature(GENERATED)
    second = await project.run_feature("Product search")
    third = await project.run_feature(GENERATED)
    emulator.finish_run(first.run_id, "passed")
    rows = await project.list_runs()
    assert [row.run_id for row in rows] == [third.run_id, second.run_id, first.run_id]
    assert rows[-1].status is RunStatus.PASSED
    assert (rows[-1].tests, rows[-1].artifacts) == ((), ())
    of_one = await project.list_runs(feature=GENERATED)
    assert [row.run_id for row in of_one] == [third.run_id, first.run_id]
    by_id = await project.list_runs(feature=emulator.features[GENERATED].id)
    assert by_id == of_one
    assert [row.run_id for row in await project.list_runs(limit=1)] == [third.run_id]


async def test_diagnose_run_says_why_it_failed(emulator: Emulator, project: Project) -> None:
    """diagnose_run returns the verdict, the failures, and what else there is to know."""
    operation = await project.run_feature(GENERATED)
    emulator.finish_run(operation.run_id, "failed")
    diagnosis = await project.diagnose_run(operation.run_id)
    assert diagnosis.run_id == operation.run_id
    assert diagnosis.status is RunStatus.FAILED
    assert diagnosis.verdict == "failed"
    assert {failure.status for failure in diagnosis.failures} == {"failed"}
    assert diagnosis.gherkin == emulator.features[GENERATED].gherkin
    assert [bool(spec.path and spec.content) for spec in diagnosis.specs] == [True]
    assert all(artifact.url for artifact in diagnosis.artifacts)
    assert diagnosis.log
    assert sent_last(emulator, "diagnose_run") == f"GET {P}/runs/{operation.run_id}/diagnosis"


async def test_get_run_artifacts_gives_links(emulator: Emulator, project: Project) -> None:
    """get_run_artifacts returns nothing at first, and later each file with its signed link."""
    operation = await project.run_feature(GENERATED)
    assert await project.get_run_artifacts(operation.run_id) == []
    emulator.finish_run(operation.run_id, "failed")
    artifacts = await project.get_run_artifacts(operation.run_id)
    assert {"trace", "screenshot"} <= {artifact.kind for artifact in artifacts}
    for artifact in artifacts:
        assert artifact.url is not None
        assert artifact.url.startswith(emulator.artifact_url)
        assert artifact.url not in repr(artifact)
    path = f"{P}/runs/{operation.run_id}/artifacts"
    assert sent_last(emulator, "get_run_artifacts") == f"GET {path}"
    assert emulator.artifact_requests == []


@pytest.mark.parametrize("path", ["Features/a b+c&d=e#f%2F?.feature", "Features/ünï/日本.feature"])
async def test_a_path_of_any_kind_is_written_and_read(project: Project, path: str) -> None:
    """write_file and read_file carry any path and any text as they are."""
    content = 'Feature: ✓\r\n\t"quoted" \\ \x00 \U0001f6d2\n'
    await project.write_file(path, content)
    file = await project.read_file(path)
    assert (file.path, file.content, file.source) == (path, content, "stored")


@pytest.mark.parametrize("feature", [GENERATED, DRAFT])
async def test_nothing_to_wait_for(emulator: Emulator, project: Project, feature: str) -> None:
    """wait_for_generation needs one poll where the generation is over, or there never was one."""
    outcome = await project.wait_for_generation(feature, timeout=5)
    assert (outcome.request_id is None) == (feature == DRAFT)
    assert emulator.count("get_generation_status") == 1
    assert now() == 0


@pytest.mark.parametrize("timeout", [None, 20])
async def test_the_latest_one(
    emulator: Emulator, project: Project, rival: Project, timeout: int | None
) -> None:
    """wait_for_generation waits for the latest one, for as long as it may altogether."""
    first = await project.generate_feature(DRAFT)
    wait = asyncio.ensure_future(project.wait_for_generation(DRAFT, timeout=timeout))
    await asyncio.sleep(10)
    emulator.finish_generation(first.request_id)
    second = await rival.generate_feature(DRAFT)
    if timeout is None:
        outcome = await wait
        assert now() >= emulator.generations[second.request_id].finished_at
    else:
        error = await raised(errors.WaitTimeoutError, wait)
        assert error.ref is not None
        assert error.ref.key == second.ref.key
        assert now() == pytest.approx(20, abs=0.1)
        assert emulator.count("cancel_generation") == 0
        outcome = await project.wait_for_generation(DRAFT)
    assert outcome.is_finished
    assert outcome.request_id == second.request_id


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.status(429, retry_after=8)])
async def test_a_wait_keeps_its_time(emulator: Emulator, project: Project, fault: Fault) -> None:
    """A service that can't be seen takes no more time than the wait has."""
    emulator.fail("get_generation_status", fault)
    wait = project.wait_for_generation(DRAFT, timeout=2)
    error = await raised(errors.WaitTimeoutError, wait, match="was not seen after 2 s")
    assert now() == pytest.approx(2, abs=0.1)
    assert error.ref is None
