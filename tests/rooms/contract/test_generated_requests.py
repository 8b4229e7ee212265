"""Requests that schemathesis makes up from the document."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode

from tests.support.amounts import amount, by_turns, some
from tests.support.checker import API, Checker
from testvibe_async._core.wire import openapi_document
from testvibe_async.testing import Emulator

OPERATIONS = Checker().operations
PROJECT = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"
FEATURES = ("generated", "draft", "generating")
FIRST_FEATURE, FIRST_RUN = 12, 214


BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def document() -> dict[str, Any]:
    """Return the contract's document, with the names that mean something at this emulator."""
    narrowed: dict[str, Any] = deepcopy(dict(openapi_document()))
    components = narrowed["components"]
    ids = range(FIRST_FEATURE, FIRST_FEATURE + len(FEATURES))
    components["schemas"]["FeatureKey"] = {"enum": [*ids, *FEATURES]}
    components["parameters"]["project"]["schema"] = {"enum": [PROJECT]}
    components["parameters"]["run"]["schema"] = {"enum": [FIRST_RUN, FIRST_RUN + 1]}
    (path,) = narrowed["paths"]["/projects/{project}/files/content"]["get"]["parameters"]
    path["schema"] = {"enum": ["package.json", "Features/draft.feature"]}
    return narrowed


@pytest.fixture(scope="module")
def schema() -> Any:
    """The document, as schemathesis reads it."""
    # The contract does not say that unknown members and parameters are refused.
    # Nor is the key's absence tried: test_emulator_api does, once for all routes.
    off = {"enabled": False}
    options: dict[str, Any] = {"checks": {"negative_data_rejection": off, "ignored_auth": off}}
    config: Any = SchemathesisConfig
    return schemathesis.openapi.from_dict(document(), config=config.from_dict(options))


@pytest.fixture(scope="module")
def portal() -> Generator[BlockingPortal]:
    """A thread with an event loop, since schemathesis blocks."""
    with start_blocking_portal() as portal:
        yield portal


@contextmanager
def serving(portal: BlockingPortal, clock: Callable[[], float]) -> Generator[dict[str, Any]]:
    """Serve a feature of each kind and two runs, one over; yield where to call it, and the key."""
    emulator = Emulator(shop=False, clock=clock, epoch=1_781_102_531)
    with portal.wrap_async_context_manager(emulator):
        for status in FEATURES:
            emulator.add_feature(status, status=status)
        generated = emulator.features["generated"]
        for _ in range(2):
            emulator._service.dispatch_run(
                emulator._project, generated, config="Default", site_url="https://site.example"
            )
        emulator.finish_run(FIRST_RUN, "failed")
        headers = {"Authorization": f"Bearer {emulator.api_key}"}
        yield {"base_url": emulator.url + API, "headers": headers}


@pytest.mark.parametrize(
    ("name", "mode"), some(by_turns([*OPERATIONS], [*GenerationMode]), few=3), ids=str
)
def test_each_operation_keeps_its_word(
    name: str, mode: GenerationMode, schema: Any, portal: BlockingPortal
) -> None:
    """Whatever is sent, the status is one of the document, and the answer fits it.

    Of requests that fit the document none is refused as invalid, and one at least succeeds.
    """
    operation = schema[OPERATIONS[name].path][OPERATIONS[name].method]
    statuses: Counter[int] = Counter()
    # One feature alone can be cancelled, and what is made up varies with the modules imported.
    examples = amount(24, few=10) if mode is GenerationMode.POSITIVE else amount(8, few=2)

    with serving(portal, lambda: 0.0) as target:

        @settings(BOUNDED, max_examples=examples)
        @given(case=operation.as_strategy(mode))
        def every(case: Any) -> None:
            statuses[case.call_and_validate(**target).status_code] += 1

        every()

    if mode is GenerationMode.POSITIVE:
        assert any(200 <= status < 300 for status in statuses), statuses
