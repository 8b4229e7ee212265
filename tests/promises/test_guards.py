"""Small mistakes are refused in one sentence, before anything is sent."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from tests.conftest import KEY, client_of
from tests.support.raising import raised
from testvibe_async import Client, Project, RunRef, errors
from testvibe_async.testing import Emulator

SERVER = "https://testvibe.example"


async def test_an_open_client_is_not_opened_again(emulator: Emulator) -> None:
    """A second `async with` is refused, and the first stays open."""
    async with client_of(emulator) as client:
        with pytest.raises(errors.ConfigError, match="open already"):
            async with client:
                pass
        assert (await client.project().get_feature("Checkout")).name == "Checkout"
    await raised(errors.ClientClosedError, client.__aenter__())


BLANK = ("", " ", "\n")


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("name", ["server", "api_key", "project"])
def test_a_blank_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, blank: str) -> None:
    """What is given and blank is a mistake, also where the environment has a value."""
    for variable in ("server", "api_key", "project"):
        value = {"server": SERVER, "api_key": KEY}.get(variable, "p1")
        monkeypatch.setenv(f"TESTVIBE_{variable.upper()}", value)
    given: dict[str, Any] = {name: blank}
    with pytest.raises(errors.ConfigError, match=f"{name} is blank"):
        Client(**given)
    if name == "project":
        with pytest.raises(errors.ConfigError, match="project_id is blank"):
            Client().project(blank)


SITES = ("javascript:1", "shop.example", "https://", "ftp://shop.example", "http://a b", "", 7)

CALLS: dict[str, tuple[Callable[[Project, Any], Awaitable[object]], tuple[object, ...], str]] = {
    "a run's site": (lambda p, x: p.run_feature("A", site_url=x), SITES, "site_url must be"),
    "a generation's": (lambda p, x: p.generate_feature("A", site_url=x), SITES, "site_url must be"),
    "a batch's site": (lambda p, x: p.run_features(["A"], site_url=x), SITES, "site_url must be"),
    "sites": (lambda p, x: p.generate_features(["A"], site_url=x), SITES, "site_url must be"),
    "a configuration": (lambda p, x: p.run_feature("A", config=x), BLANK, "config is blank"),
    "configurations": (lambda p, x: p.run_features(["A"], config=x), BLANK, "config is blank"),
    "one of them": (lambda p, x: p.run_features(["A"], config=["B", x]), BLANK, "config is blank"),
    "a feature": (lambda p, x: p.run_feature(x), BLANK, "feature must be a name"),
    "a feature that is read": (lambda p, x: p.get_feature(x), BLANK, "feature must be a name"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_arguments_that_mean_nothing(emulator: Emulator, project: Project, call: str) -> None:
    """A site that is no address and a blank name are refused, and nothing is sent."""
    do, values, said = CALLS[call]

    async def use(value: object) -> None:
        await do(project, value)

    for value in values:
        await raised(errors.ConfigError, use(value), match=said)
    assert emulator.requests == []


async def test_an_awaited_batch_says_where_its_items_are(project: Project) -> None:
    """Iterating over a batch that has ended is refused; it would have yielded nothing."""
    batch = project.run_features(["Checkout"])
    items = await batch
    with pytest.raises(errors.ConfigError, match=r"has ended: read `batch\.items`"):
        aiter(batch)
    assert batch.items == items
    async with project.run_features(["Checkout"]) as left:
        pass
    with pytest.raises(errors.ConfigError, match="has ended"):
        aiter(left)


def step(awaitable: Awaitable[object]) -> object:
    """Start an awaitable as a thread without an event loop does, or another library's loop."""
    return next(awaitable.__await__())


ELSEWHERE: dict[str, Callable[[Client], object]] = {
    "an opening": lambda client: step(client.__aenter__()),
    "a call": lambda client: step(client.list_projects()),
    "a dispatch": lambda client: step(client.project().run_feature("A")),
    "a dispatch's wait": lambda client: step(client.project().run_feature("A").wait()),
    "a batch": lambda client: step(client.project().run_features(["A"])),
    "a wait": lambda client: step(client.project().wait_for_generation("A", timeout=1)),
    "attach": lambda client: client.attach(RunRef(server=SERVER, project="p", run_id=1)),
}


@pytest.mark.parametrize("use", ELSEWHERE)
def test_outside_of_asyncio(use: str) -> None:
    """Under trio, and in a plain thread, one sentence names asyncio."""
    client = Client(SERVER, api_key=KEY, project="p")
    with pytest.raises(errors.ConfigError, match="asyncio"):
        ELSEWHERE[use](client)


@pytest.mark.parametrize("agent", ["", "two\nlines", "näme", cast("str", 7)])
def test_a_user_agent_that_no_header_may_contain(agent: str) -> None:
    """A `user_agent` is one line of printable ASCII."""
    with pytest.raises(errors.ConfigError, match="user_agent must be"):
        Client(SERVER, api_key=KEY, user_agent=agent)
