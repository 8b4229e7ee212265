"""The worked example of the README: a service that runs features on deploy, and its test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testvibe_async import Client
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario, assert_no_leaks

if TYPE_CHECKING:
    from testvibe_async import Project


async def check_deploy(project: Project, features: list[str], site: str) -> dict[str, str]:
    """Run features against a site that was just deployed, and say what became of each."""
    async with project.run_features(features, site_url=site) as batch:
        return {item.feature_name: item.verdict async for item in batch}


SHOP = Scenario(failing_runs=0, outcomes={"Returns": Outcome(run_status="failed")})


async def test_a_bad_deploy_is_found() -> None:
    """A failing run, a feature without tests, and two minutes of outage, in milliseconds."""
    features = ["Checkout", "Returns", "Gift cards"]
    async with assert_no_leaks(), Emulator(scenario=SHOP) as service:
        service.add_feature("Gift cards", status="draft")  # a run of it is answered with 409
        outage = service.fail("*", Fault.status(503), when=lambda _: 20 < service.now() < 140)
        async with Client(service.url, api_key=service.api_key) as client:
            project = client.project(service.project_id)
            verdicts = await check_deploy(project, features, "https://next.shop.example")

    assert verdicts == {"Checkout": "succeeded", "Returns": "failed", "Gift cards": "error"}
    assert outage.hits > 0
    assert service.now() > 140  # nothing was taken for failed while it could not be seen
    assert service.count("run_feature") == 3  # and nothing was dispatched twice
