"""What each operation of the service returns, and which conflicts it raises."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.shop import DRAFT, GENERATED, P, last
from testvibe_async import (
    Client,
    ConfigError,
    ConflictError,
    FeatureBusyError,
    FeatureStatus,
    InvalidRequestError,
    NotFoundError,
    Phase,
    Project,
    ProjectInfo,
    RunStatus,
)
from testvibe_async.testing import Emulator, Fault


async def test_list_projects_gives_the_workspaces_projects(
    emulator: Emulator, client: Client
) -> None:
    """list_projects returns one ProjectInfo for each project."""
    other = emulator.add_project("Other", "https://other.example")
    assert await client.list_projects() == [
        ProjectInfo(emulator.project_id, "Acme Shop", "https://shop.acme.example"),
        ProjectInfo(other.id, "Other", "https://other.example"),
    ]


async def test_get_project_gives_one(emulator: Emulator, client: Client) -> None:
    """get_project returns the project that was named, and 404 where there is none."""
    info = await client.get_project(emulator.project_id)
    assert info == ProjectInfo(emulator.project_id, "Acme Shop", "https://shop.acme.example")
    with pytest.raises(NotFoundError):
        await client.get_project("none")


async def test_list_features_gives_rows_without_gherkin(
    emulator: Emulator, project: Project
) -> None:
    """list_features returns every feature with id, name, kind, status and time, and no Gherkin."""
    rows = await project.list_features()
    wanted = [(f.id, f.name, f.kind, f.status) for f in emulator.features.values()]
    assert [(row.id, row.name, row.kind, row.status) for row in rows] == wanted
    assert {row.gherkin for row in rows} == {None}
    assert all(row.updated_at is not None and row.updated_at.tzinfo is UTC for row in rows)


async def test_get_feature_gives_the_text(emulator: Emulator, project: Project) -> None:
    """get_feature returns the feature with its Gherkin, and a documented status as the enum."""
    feature = await project.get_feature(GENERATED)
    assert feature.id == emulator.features[GENERATED].id
    assert feature.gherkin == emulator.features[GENERATED].gherkin
    assert feature.status is FeatureStatus.GENERATED
    assert feature.kind == "feature"
    assert feature.rationale is None
    assert feature.extra == {}


async def test_get_feature_of_a_suggestion_gives_the_rationale(project: Project) -> None:
    """get_feature returns the rationale of a suggestion, and an undocumented status as a str."""
    feature = await project.get_feature("Abandoned cart reminder")
    assert feature.kind == "suggestion"
    assert feature.rationale is not None
    assert feature.rationale.startswith("The cart keeps")
    assert feature.status == "draft"


async def test_create_feature_adds_one(emulator: Emulator, project: Project) -> None:
    """create_feature returns the new feature, which the service has from then on."""
    feature = await project.create_feature("Wish list", "Feature: Wish list\n")
    assert emulator.features["Wish list"].id == feature.id
    assert emulator.features["Wish list"].gherkin == "Feature: Wish list\n" == feature.gherkin


async def test_update_feature_changes_what_is_given_alone(
    emulator: Emulator, project: Project
) -> None:
    """update_feature with a name keeps the text, and with a text keeps the name."""
    text = emulator.features[GENERATED].gherkin
    await project.update_feature(GENERATED, name="Pay")
    assert emulator.features["Pay"].gherkin == text
    await project.update_feature("Pay", gherkin="Feature: Pay\n")
    assert emulator.features["Pay"].gherkin == "Feature: Pay\n"


async def test_update_feature_with_nothing_to_change_is_refused(
    emulator: Emulator, project: Project
) -> None:
    """update_feature without a name or a text is a ConfigError, and nothing is sent."""
    with pytest.raises(ConfigError):
        await project.update_feature(GENERATED)
    assert emulator.count() == 0


async def test_delete_feature_removes_it(emulator: Emulator, project: Project) -> None:
    """delete_feature makes the feature unknown."""
    await project.delete_feature(GENERATED)
    assert GENERATED not in emulator.features
    with pytest.raises(NotFoundError):
        await project.delete_feature(GENERATED)


@pytest.mark.parametrize("change", ["update", "delete"])
async def test_a_feature_that_is_generating_can_not_be_changed(
    emulator: Emulator, project: Project, change: str
) -> None:
    """update_feature and delete_feature of a feature that is generating raise FeatureBusyError."""
    emulator.add_feature("Busy", status="generating")
    calls: dict[str, Callable[[], Awaitable[None]]] = {
        "update": lambda: project.update_feature("Busy", gherkin="Feature: X"),
        "delete": lambda: project.delete_feature("Busy"),
    }
    with pytest.raises(FeatureBusyError) as caught:
        await calls[change]()
    assert caught.value.status == 409
    assert "Busy" in emulator.features


async def test_generate_feature_dispatches_one(emulator: Emulator, project: Project) -> None:
    """generate_feature returns the operation of exactly one new generation."""
    operation = await project.generate_feature(DRAFT)
    assert list(emulator.generations) == [operation.request_id]
    assert operation.feature_id == emulator.features[DRAFT].id
    assert operation.ref.server == emulator.url
    assert operation.ref.project == emulator.project_id
    assert operation.ref.dispatched_at is not None
    assert not operation.adopted
    outcome = await operation
    assert outcome.request_id == operation.request_id
    assert outcome.is_finished
    assert emulator.count("generate_feature") == 1


async def test_get_generation_status_shows_the_latest(emulator: Emulator, project: Project) -> None:
    """get_generation_status follows a generation from the warm-up to its end."""
    operation = await project.generate_feature(DRAFT)
    early = await project.get_generation_status(DRAFT)
    assert early.request_id == operation.request_id
    assert early.status is FeatureStatus.GENERATING
    assert (early.runner_started, early.phase) == (False, Phase.QUEUED)
    await asyncio.sleep(60)
    later = await project.get_generation_status(DRAFT)
    assert (later.runner_started, later.phase) == (True, Phase.ACTIVE)
    assert later.sections
    emulator.finish_generation(operation.request_id, "generated")
    end = await project.get_generation_status(DRAFT)
    assert end.is_success
    assert end.phase is Phase.FINISHED


async def test_get_generation_status_of_a_feature_never_generated_is_read(project: Project) -> None:
    """get_generation_status of a feature that was never generated has None for what is unknown."""
    generation = await project.get_generation_status(DRAFT)
    assert generation.feature_name == DRAFT
    assert generation.request_id is None
    assert generation.overall_status is None
    assert generation.sections == ()
    assert not generation.is_success


async def test_get_generation_log_gives_the_sections_lines(
    emulator: Emulator, project: Project
) -> None:
    """get_generation_log returns each section with its reason and its lines."""
    operation = await project.generate_feature(DRAFT)
    emulator.finish_generation(operation.request_id, "failed")
    log = await project.get_generation_log(DRAFT)
    assert log.request_id == operation.request_id
    assert log.feature_id == operation.feature_id
    assert log.sections
    assert all(isinstance(line, str) for section in log.sections for line in section.log)
    assert any(section.title for section in log.sections)


async def test_cancel_generation_ends_the_one_in_flight(
    emulator: Emulator, project: Project
) -> None:
    """cancel_generation sends one POST and the generation is cancelled; a second is a conflict."""
    operation = await project.generate_feature(DRAFT)
    await project.cancel_generation(DRAFT)
    request = last(emulator, "cancel_generation")
    name = "Checkout%20with%20gift%20card"
    assert (request.method, request.path) == ("POST", f"{P}/features/{name}/generation/cancel")
    assert emulator.features[DRAFT].status == "cancelled"
    assert (await operation).status is FeatureStatus.CANCELLED
    with pytest.raises(ConflictError) as caught:
        await project.cancel_generation(DRAFT)
    assert type(caught.value) is ConflictError


async def test_run_feature_dispatches_one(emulator: Emulator, project: Project) -> None:
    """run_feature returns the operation of exactly one new run, with what it was asked for."""
    operation = await project.run_feature(GENERATED, config="Mobile", site_url="https://s.example")
    assert list(emulator.runs) == [operation.run_id]
    run = await operation
    assert (run.config, run.site_url) == ("Mobile", "https://s.example")
    assert run.feature_id == emulator.features[GENERATED].id == operation.feature_id
    assert run.is_finished
    assert emulator.count("run_feature") == 1


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


@pytest.mark.parametrize(
    "unfinished",
    [
        {"summary": None, "tests": None, "artifacts": None},
        {"summary": {}, "tests": [], "artifacts": []},
        {},
    ],
    ids=["null", "empty", "absent"],
)
async def test_get_run_reads_a_run_in_flight_and_one_that_is_over(unfinished: Any) -> None:
    """get_run reads the digest whatever an unfinished one has for what does not apply yet."""

    def edited(run: Any) -> Any:
        if run["status"] != "running":
            return run
        results = ("summary", "tests", "artifacts")
        return {key: run[key] for key in run if key not in results} | unfinished

    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.fail("get_run", Fault.edit(edited))
        project = client.project()
        operation = await project.run_feature(GENERATED)
        early = await project.get_run(operation.run_id)
        assert early.status is RunStatus.RUNNING
        assert early.phase is Phase.QUEUED
        assert (early.tests, early.artifacts) == ((), ())
        assert early.finished_at is None
        await asyncio.sleep(10)
        assert (await project.get_run(operation.run_id)).phase is Phase.ACTIVE
        emulator.finish_run(operation.run_id, "failed")
        run = await project.get_run(operation.run_id)
        assert run.status is RunStatus.FAILED
        assert run.summary is not None
        assert run.summary.total == len(run.tests) > 0
        assert run.summary.failed == len(run.failures) > 0
        assert run.failures[0].error
        assert run.artifacts
        assert all(artifact.size_bytes for artifact in run.artifacts)
        assert run.log
        assert run.created_at is not None
        assert run.finished_at is not None
        assert run.created_at.tzinfo is UTC
        assert run.extra == {}
        request = last(emulator, "get_run")
        assert (request.method, request.path) == ("GET", f"{P}/runs/{operation.run_id}")


async def test_diagnose_run_says_why_it_failed(emulator: Emulator, project: Project) -> None:
    """diagnose_run returns the verdict, the failures, and what else there is to know."""
    operation = await project.run_feature(GENERATED)
    emulator.finish_run(operation.run_id, "failed")
    diagnosis = await project.diagnose_run(operation.run_id)
    assert diagnosis.run_id == operation.run_id
    assert diagnosis.status is RunStatus.FAILED
    assert diagnosis.verdict == "failed"
    assert [failure.status for failure in diagnosis.failures] == ["failed"] * len(
        diagnosis.failures
    )
    assert diagnosis.failures
    assert diagnosis.gherkin == emulator.features[GENERATED].gherkin
    assert [bool(spec.path and spec.content) for spec in diagnosis.specs] == [True]
    assert all(artifact.url for artifact in diagnosis.artifacts)
    assert diagnosis.log
    request = last(emulator, "diagnose_run")
    assert (request.method, request.path) == ("GET", f"{P}/runs/{operation.run_id}/diagnosis")


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
    request = last(emulator, "get_run_artifacts")
    assert (request.method, request.path) == ("GET", f"{P}/runs/{operation.run_id}/artifacts")
    assert emulator.artifact_requests == []


async def test_list_files_gives_rows_without_content(project: Project) -> None:
    """list_files returns each file with its kind and source, and no content."""
    files = {file.path: file for file in await project.list_files()}
    assert files["Features/Checkout.feature"].source == "stored"
    assert files["package.json"].source == "template"
    assert {file.content for file in files.values()} == {None}


async def test_read_file_gives_the_content(emulator: Emulator, project: Project) -> None:
    """read_file returns one file with its content."""
    file = await project.read_file("Features/Checkout.feature")
    assert file.path == "Features/Checkout.feature"
    assert file.content == emulator.features[GENERATED].gherkin


@pytest.mark.parametrize("path", ["Features/a b+c&d=e#f%2F?.feature", "Features/ünï/日本.feature"])
async def test_a_path_of_any_kind_is_written_and_read(project: Project, path: str) -> None:
    """write_file and read_file carry any path and any text as they are."""
    content = 'Feature: ✓\r\n\t"quoted" \\ \x00 \U0001f6d2\n'
    await project.write_file(path, content)
    file = await project.read_file(path)
    assert (file.path, file.content, file.source) == (path, content, "stored")


async def test_write_file_outside_the_allowlist_is_refused_by_the_service(
    emulator: Emulator, project: Project
) -> None:
    """write_file leaves the allowlist to the service, whose 400 is an InvalidRequestError."""
    with pytest.raises(InvalidRequestError) as caught:
        await project.write_file("tests/x.spec.ts", "")
    assert caught.value.code == "invalid_request"
    assert emulator.count("write_file") == 1


async def test_list_configs_gives_names_and_paths(project: Project) -> None:
    """list_configs returns the run configurations."""
    assert [(config.name, config.path) for config in await project.list_configs()] == [
        ("Default", "Configurations/Default.config.js"),
        ("Firefox", "Configurations/Firefox.config.js"),
        ("Mobile", "Configurations/Mobile.config.js"),
    ]


async def test_assumed_lists_may_be_missing() -> None:
    """Where the service has no list routes, they are 404 and all documented calls still work."""
    async with Emulator(lists=False) as emulator, client_of(emulator) as client:
        project = client.project()
        with pytest.raises(NotFoundError):
            await project.list_features()
        with pytest.raises(NotFoundError):
            await project.list_runs()
        operation = await project.run_feature(GENERATED)
        assert (await operation).run_id == operation.run_id


@pytest.mark.parametrize("config", [3, ["Mobile"]])
async def test_one_run_has_one_configuration(project: Project, config: Any) -> None:
    """What is no configuration's name is refused before anything is sent."""
    with pytest.raises(ConfigError, match="config must be the name of one configuration"):
        await project.run_feature("Checkout", config=config)
