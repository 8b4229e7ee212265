"""Artifacts: real files on a second origin, behind signed links that expire."""

import asyncio

import pytest

from tests.surfaces.testing.conftest import Caller, Emulate
from testvibe_async.testing import Outcome

FAILING = "Locked-out user sees an error"


@pytest.fixture
async def failed(emulate: Emulate) -> Caller:
    """Return a client of an emulator where run 214 has failed."""
    outcome = Outcome(failing=(FAILING,), error="Error: <b>no</b>")
    call = await emulate(scenario={"outcomes": {"Login Functionality": outcome}}, link_lifetime=60)
    await call.run("Login Functionality")
    assert await call.get("/runs/214/artifacts") == []
    await asyncio.sleep(60)
    return call


async def links_of(call: Caller) -> dict[str, str]:
    """Return the links to the artifacts of run 214, by kind."""
    return {file["kind"]: file["url"] for file in await call.get("/runs/214/artifacts")}


async def test_a_link_is_good_for_its_own_file_only(failed: Caller) -> None:
    """Another path, another expiry, another signature or none: refused."""
    links = await links_of(failed)
    url = links["report"]
    path, _, query = url.partition("?")
    expiry = query.partition("&")[0].removeprefix("se=")
    for forged in (
        path,
        f"{links['trace'].partition('?')[0]}?{query}",
        url.replace(expiry, str(int(expiry) + 1)),
        url.replace(f"se={expiry}", "se=never"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        path + "?se=9999999999&sig=%C3%A9",
    ):
        assert (await failed.send("GET", forged)).status == 403


async def test_a_wrong_download_is_refused(failed: Caller) -> None:
    """A key is a leak (400), files are only read (405), and a signed link may lead nowhere (404).

    HEAD answers with the size and no body.
    """
    link = (await links_of(failed))["report"]
    head = await failed.send("HEAD", link)
    size = (await failed.get("/runs/214"))["artifacts"][-1]["size"]
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(size))
    headers = {"Authorization": f"Bearer {failed.emulator.api_key}"}
    assert (await failed.send("GET", link, headers=headers)).status == 400
    request = failed.emulator.artifact_requests[-1]
    assert request.headers["authorization"] == headers["Authorization"]
    assert request.status == 400
    for method in ("PUT", "POST", "DELETE"):
        assert (await failed.send(method, link)).status == 405
    for path in ("/artifacts/214/other", "/artifacts/9/report/index.html", "/artifacts/x", "/"):
        link = failed.emulator._links.make(path)
        assert (await failed.send("GET", link)).status == 404
