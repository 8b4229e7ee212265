"""The same call with the same key, by whichever process: what it does by what the row says."""

from pathlib import Path

import pytest

from tests.conftest import client_of
from testvibe_async import Client, ConfigError
from testvibe_async.testing import Emulator


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger file."""
    return tmp_path / "testvibe.sqlite"


async def test_a_key_dispatches_once(emulator: Emulator, ledger: Path) -> None:
    """A call with a known key returns its operation, in the same process and in the next."""
    for _ in range(2):
        async with client_of(emulator, ledger=ledger) as client:
            project = client.project()
            first = await project.run_feature("Checkout", key="pr-1")
            again = await project.run_feature("Checkout", key="pr-1")
            assert again == first
            assert again.adopted
            await first
    assert emulator.count("run_feature") == 1


async def test_a_batch_resumes_by_its_key(emulator: Emulator, ledger: Path) -> None:
    """The same batch again, without its features, sends nothing and has the same items."""
    async with client_of(emulator, ledger=ledger) as client:
        items = await client.project().run_features(["Checkout", "Returns"], key="nightly")
    async with client_of(emulator, ledger=ledger) as client:
        again = await client.project().run_features(key="nightly")
    assert [item.verdict for item in again] == [item.verdict for item in items]
    assert [item.ref for item in again] == [item.ref for item in items]
    assert emulator.count("run_feature") == 2


async def test_another_request_is_refused(client: Client) -> None:
    """A key with another request is a mistake that names both."""
    project = client.project()
    await project.run_feature("Checkout", key="pr-1")
    with pytest.raises(ConfigError, match="'Checkout'.*'Returns'"):
        await project.run_feature("Returns", key="pr-1")
