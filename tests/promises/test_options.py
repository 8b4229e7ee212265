"""Options for some calls, a project by its name, and an outcome or an error."""

from typing import Any

import pytest
from attrs import evolve

from tests.conftest import KEY, client_of
from tests.support.peer import ONCE
from tests.support.raising import raised
from tests.support.timing import STEADY, now
from testvibe_async import Client, Project, RunFailedError, errors
from testvibe_async.testing import Emulator, Fault, Outcome

SCENARIO = STEADY


async def test_other_options_for_some_calls(emulator: Emulator, client: Client) -> None:
    """Time-out and retries are those of the derived client, and the original keeps its own."""
    emulator.fail("get_feature", Fault.delay(5))
    hasty = client.with_options(timeout=1, retry=ONCE).project()
    await raised(errors.OutcomeUnknownError, hasty.get_feature("Checkout"), match="within 1 s")
    assert emulator.count("get_feature") == 1
    assert now() == pytest.approx(1, abs=0.1)
    assert (await client.project().get_feature("Checkout")).name == "Checkout"
    patient = client.with_options(timeout=60)
    emulator.fail("get_feature", Fault.delay(40))
    assert (await patient.project().get_feature("Checkout")).name == "Checkout"


async def test_what_is_shared(emulator: Emulator, client: Client) -> None:
    """Session, poller and ledger are one: one operation, one stream of polls, one key."""
    derived = client.with_options(timeout=20, poll_interval=6)
    run = await derived.project().run_feature("Checkout", key="pr-1")
    same = await client.project().run_feature("Checkout", key="pr-1")
    assert run == same
    assert derived.ledger is client.ledger
    await client.gather(run, client.attach(run.ref))
    assert emulator.count("run_feature") == 1
    assert emulator.count("get_run") <= 6  # Of 30 s, every 6 s.
    batch = await derived.project().run_features(["Returns"])
    assert batch[0].outcome is not None


async def test_it_lives_with_its_original(emulator: Emulator) -> None:
    """A derived client is neither opened nor closed, and is closed with the other."""
    async with client_of(emulator) as client:
        derived = client.with_options(timeout=5)
        await raised(errors.ConfigError, derived.__aenter__(), match="with_options")
        await derived.aclose()
        await client.list_projects()
        await derived.list_projects()
    await raised(errors.ClientClosedError, derived.list_projects())
    with pytest.raises(errors.ClientClosedError):
        derived.project(emulator.project_id).run_operation(1)


@pytest.mark.parametrize(
    ("option", "value"), [("timeout", 0), ("retry", 3), ("poll_interval", "3")]
)
def test_wrong_options_are_refused_as_those_of_a_client(option: str, value: Any) -> None:
    """They are refused as those of a client are."""
    client = Client("https://testvibe.example", api_key=KEY)
    with pytest.raises(errors.ConfigError, match=f"{option} must be"):
        client.with_options(**{option: value})


async def test_a_project_is_found_by_its_name(emulator: Emulator, client: Client) -> None:
    """The name counts in any case; one that nothing has is refused with what to do."""
    (listed,) = await client.list_projects()
    assert listed.name is not None
    project = await client.find_project(f" {listed.name.upper()} ")
    assert project.id == emulator.project_id
    said = "no project 'Nowhere': name it by its id"
    await raised(errors.ConfigError, client.find_project("Nowhere"), match=said)
    await raised(errors.ConfigError, client.find_project(" "), match="blank")
    cut = Fault.edit(lambda rows: {"items": rows, "hasMore": True})
    emulator.fail("list_projects", cut)
    await raised(errors.IncompleteListError, client.find_project("Nowhere"))


@pytest.mark.parametrize(
    "scenario", [evolve(STEADY, outcomes={"Returns": Outcome(run_status="failed")})]
)
async def test_a_result_or_an_error(project: Project) -> None:
    """`result()` waits as `wait()` does, and raises if the operation failed."""
    run = await project.run_feature("Checkout").result(timeout=60)
    assert run.is_success
    operation = await project.run_feature("Returns")
    error = await raised(RunFailedError, operation.result())
    assert error.outcome == operation.outcome
    await raised(errors.WaitTimeoutError, project.run_feature("Checkout").result(timeout=1))
    await raised(errors.ConfigError, project.run_feature("Checkout").result(timeout=-1))


async def test_a_handle_has_the_name(client: Client, project: Project) -> None:
    """A handle has its feature's name from its dispatch, or once it was polled."""
    run = await project.run_feature("checkout")
    assert run.feature_name == "checkout"
    attached = client.attach(run.ref)
    await attached.poll()
    assert attached.feature_name == run.feature_name == "Checkout"
    feature = await project.get_feature("Returns")
    assert (await project.run_feature(feature)).feature_name == "Returns"
    other = await project.run_feature(feature.id)
    assert project.run_operation(other.run_id).feature_name is None


async def test_the_program_is_named(emulator: Emulator) -> None:
    """`user_agent` comes before this package's own name and version."""
    async with client_of(emulator, user_agent="shop-ci/1.2 (nightly)") as client:
        await client.list_projects()
    agent = emulator.requests[-1].headers["User-Agent"]
    assert agent.startswith("shop-ci/1.2 (nightly) testvibe-async/")
