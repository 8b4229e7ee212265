"""Outcomes that are kept are bounded, in number and in bytes."""

import gc

import pytest

from testvibe_async import Client, Project, Ref
from testvibe_async.testing import Emulator, Fault


async def test_so_many_are_kept(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the number that is kept the oldest outcome is read again."""
    monkeypatch.setattr("testvibe_async._polling.known.MAX_OPERATIONS", 2)
    refs: list[Ref] = []
    for _ in range(3):
        refs.append((operation := await project.run_feature("Checkout")).ref)
        await operation
        del operation
    gc.collect()

    assert [client.attach(ref).done for ref in refs] == [False, True, True]


async def test_only_so_many_bytes_are_kept(
    emulator: Emulator, client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large outcome takes the place of many small ones, and one too large is not kept."""
    monkeypatch.setattr("testvibe_async._polling.known.MAX_BYTES", 10_000)
    small = await project.run_feature("Checkout")
    await small
    ref = small.ref
    del small
    gc.collect()
    assert client.attach(ref).done

    emulator.fail("get_run", Fault.edit(lambda run: run | {"log": "x" * 20_000}))
    large = await project.run_feature("Checkout")
    await large
    large_ref = large.ref
    del large
    gc.collect()
    assert not client.attach(ref).done
    assert not client.attach(large_ref).done
