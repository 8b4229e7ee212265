"""Start, the features at the start, the record of requests, and close."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.surfaces.testing.conftest import Caller, Emulate
from testvibe_async.testing import Emulator, Fault


@pytest.mark.parametrize(("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_an_emulator_listens_on_two_origins(host: str, written: str) -> None:
    """Both have the given address and ports of their own; before the start there are none."""
    emulator = Emulator(host=host)
    assert (emulator.url, emulator.artifact_url, emulator.now()) == ("", "", 0)
    async with emulator, aiohttp.ClientSession() as session:
        assert emulator.url != emulator.artifact_url
        for url, status in ((emulator.url, 401), (emulator.artifact_url, 403)):
            assert url.startswith(f"http://{written}:")
            async with session.get(url) as response:
                assert response.status == status


def open_files() -> int:
    """Count this process's files and sockets."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_closing_does_not_wait_for_a_client_that_stalls() -> None:
    """A connection in the middle of its request, or of a large answer, is dropped."""
    loop: Any = asyncio.get_running_loop()
    registered, files = set(loop._selector.get_map()), open_files()
    emulator = Emulator()
    emulator.fail("*", Fault.body(bytes(20_000_000)))
    await emulator.start()
    host, _, port = emulator.url.removeprefix("http://").partition(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(2)]
    sockets[0].sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
    sockets[1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(1)
    await emulator.aclose()
    assert emulator.now() < 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert set(loop._selector.get_map()) == registered
    for connection in sockets:
        connection.close()
    assert open_files() == files


async def test_an_emulator_starts_once(call: Caller) -> None:
    """A second start is an error, also after closing; without a start nothing is to close."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="started before"):
            await call.emulator.start()
        await call.emulator.aclose()
    await Emulator().aclose()


async def test_requests_may_be_counted_only(emulate: Emulate) -> None:
    """Without a record, requests are counted by operation; other counts are an error."""
    call = await emulate(record=False)
    await call.get("")
    assert call.emulator.requests == []
    assert call.emulator.count("get_project") == call.emulator.count() == 1
    with pytest.raises(ValueError, match="record=False"):
        call.emulator.count("get_project", feature="Checkout")


async def test_a_folder_takes_the_place_of_the_shop(emulate: Emulate, tmp_path: Path) -> None:
    """Feature files at any depth become generated features, whose scenarios are the tests."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.feature").write_text("Feature: Über\nScenario: Eins\n", "utf-8")
    (tmp_path / "a.feature").write_text("# nothing yet\n")
    (tmp_path / "notes.txt").write_text("Feature: No\n")
    call = await emulate(features=tmp_path)
    assert list(call.emulator.features) == ["a", "Über"]
    assert {feature.status for feature in call.emulator.features.values()} == {"generated"}
    for name, test in (("Über", "Eins"), ("a", "a")):
        run_id = await call.run(name)
        await asyncio.sleep(60)
        assert [test["name"] for test in (await call.get(f"/runs/{run_id}"))["tests"]] == [test]


def test_a_folder_needs_features_with_different_names(tmp_path: Path) -> None:
    """An empty folder, a missing one, a duplicate name and an invalid encoding are refused."""
    with pytest.raises(ValueError, match=r"no folder with \.feature files"):
        Emulator(features=tmp_path / "missing")
    with pytest.raises(ValueError, match=r"no folder with \.feature files"):
        Emulator(features=str(tmp_path))
    (tmp_path / "a.feature").write_text("Feature: Same\n")
    (tmp_path / "b.feature").write_text("Feature: SAME\n")
    with pytest.raises(ValueError, match="two features named 'SAME'"):
        Emulator(features=tmp_path)
    (tmp_path / "a.feature").write_bytes(b"Feature: \xff\n")
    with pytest.raises(ValueError, match=r"a\.feature can't be read"):
        Emulator(features=tmp_path)


async def test_gherkin_is_read_as_it_is_written(emulate: Emulate) -> None:
    """Tags, rules, backgrounds, outlines, examples and doc strings are supported."""
    call = await emulate(features=Path(__file__).parent / "features")
    await call.run("All of it")
    await asyncio.sleep(60)
    tests = (await call.get("/runs/214"))["tests"]
    assert [(test["name"], test["status"]) for test in tests] == [
        ("Skipped", "skipped"),
        ("By its other name", "passed"),
        ("Scenario 3", "passed"),
        ("Ann eats 1 of <what>", "passed"),
        ("Bob eats 2 of <what>", "passed"),
        ("<who> eats 3 of <what>", "passed"),
        ("Same each time (example 1)", "passed"),
        ("Same each time (example 2)", "passed"),
        ("Without rows", "passed"),
    ]
    spec = (await call.get("/files/content?path=tests/all-of-it.spec.ts"))["content"]
    steps = [line for line in spec.splitlines() if "test.step" in line]
    assert len(steps) == 4 + 1 + 1 + 3 + 2 + 1
    assert "test.step('Given Bob has 2'" in spec
    assert "test.step('* a star'" in spec
    assert "background" not in spec
