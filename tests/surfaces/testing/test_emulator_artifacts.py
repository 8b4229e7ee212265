"""Artifacts: real files on a second origin, behind signed links that expire."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.testing import Fault, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Caller

FAILING = "Locked-out user sees an error"


@pytest.fixture
async def failed(emulate: Callable[..., Awaitable[Caller]]) -> Caller:
    """Return a client of an emulator where run 214 has failed."""
    outcome = Outcome(failing=(FAILING,), error="Error: <b>no</b>")
    call = await emulate(scenario={"outcomes": {"Login Functionality": outcome}}, link_lifetime=60)
    await call.run("Login Functionality")
    await asyncio.sleep(60)
    return call


async def links_of(call: Caller) -> dict[str, dict[str, Any]]:
    """Return the artifacts of run 214, by kind."""
    return {file["kind"]: file for file in await call.get("/runs/214/artifacts")}


async def test_an_unfinished_run_has_no_artifacts(call: Caller) -> None:
    """There are no artifacts before the end."""
    assert await call.get(f"/runs/{await call.run()}/artifacts") == []


async def test_links_name_what_the_digest_names(failed: Caller) -> None:
    """The artifacts are those of the digest, with links to another origin that hold no key."""
    digest = await failed.get("/runs/214")
    artifacts = await failed.get("/runs/214/artifacts")
    assert [file | {"url": None} for file in artifacts] == [
        file | {"url": None} for file in digest["artifacts"]
    ]
    assert [file["path"] for file in artifacts] == [
        "trace/locked-out-user-sees-an-error.zip",
        "screenshots/locked-out-user-sees-an-error.png",
        "report/index.html",
    ]
    for file in artifacts:
        assert file["url"].startswith(failed.emulator.artifact_url + "/")
        assert failed.emulator.api_key not in file["url"]
    assert failed.emulator.artifact_url != failed.emulator.url


async def test_an_edit_takes_a_download_as_it_is(failed: Caller) -> None:
    """`Fault.edit` gets the bytes of a file, and sends what the function returns."""
    file = (await links_of(failed))["screenshot"]
    failed.emulator.fail("download", Fault.edit(lambda content: content[:8] + b"cut"), times=1)
    failed.emulator.fail("download", Fault.edit(lambda _: {"no": "file"}), times=1, skip=1)
    bodies = [(await failed.send("GET", file["url"])).body for _ in range(2)]
    assert bodies == [b"\x89PNG\r\n\x1a\ncut", b'{"no":"file"}']


async def test_a_download_has_the_announced_size(failed: Caller) -> None:
    """Each file is complete, has its type, and is the same each time."""
    types = {"trace": "application/zip", "screenshot": "image/png", "report": "text/html"}
    for kind, file in (await links_of(failed)).items():
        first, second = [await failed.send("GET", file["url"]) for _ in range(2)]
        assert first.status == 200
        assert len(first.body) == file["size"]
        assert first.body == second.body
        assert first.headers["Content-Type"] == types[kind]
    assert len(failed.emulator.artifact_requests) == 6
    assert failed.emulator.artifact_requests[0].run_id == 214


async def test_a_screenshot_is_a_png_that_opens(failed: Caller) -> None:
    """Every chunk has its checksum, and the pixels are as many as the header says."""
    png = (await failed.send("GET", (await links_of(failed))["screenshot"]["url"])).body
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    position = 8
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        kind, data = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", png[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + data)
        chunks[kind] = data
        position += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert len(pixels) == height * (width + 1)
    assert max(pixels) < len(chunks[b"PLTE"]) // 3


async def test_a_trace_is_a_zip_of_events(failed: Caller) -> None:
    """The zip is sound; its events begin with the context, and hold an error."""
    content = (await failed.send("GET", (await links_of(failed))["trace"]["url"])).body
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {file.date_time for file in archive.infolist()} == {(2026, 1, 1, 0, 0, 0)}
        assert set(archive.namelist()) == {
            "test.trace",
            "trace.network",
            "resources/screenshot.png",
        }
        events = [json.loads(line) for line in archive.read("test.trace").splitlines()]
    assert events[0]["type"] == "context-options"
    assert events[-1]["type"] == "error"


async def test_a_report_names_every_test(failed: Caller) -> None:
    """The page names the tests and the error, which is escaped."""
    page = (await failed.send("GET", (await links_of(failed))["report"]["url"])).body.decode()
    assert FAILING in page
    assert "Valid user signs in" in page
    assert "Error: &lt;b&gt;no&lt;/b&gt;" in page


async def test_a_link_expires_by_the_emulators_clock(failed: Caller) -> None:
    """A link is valid for its lifetime, and refused afterwards; a new one is valid again."""
    link = (await links_of(failed))["report"]["url"]
    await asyncio.sleep(59.9)
    assert (await failed.send("GET", link)).status == 200
    await asyncio.sleep(0.1)
    assert (await failed.send("GET", link)).status == 403
    assert (await failed.send("GET", (await links_of(failed))["report"]["url"])).status == 200


async def test_a_short_lifetime_is_no_lifetime_of_zero(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """A link expires at a whole second, never early."""
    call = await emulate(link_lifetime=0.5)
    await call.run()
    await asyncio.sleep(60)
    link = (await links_of(call))["report"]["url"]
    await asyncio.sleep(0.4)
    assert (await call.send("GET", link)).status == 200


async def test_a_link_is_good_for_its_own_file_only(failed: Caller) -> None:
    """Another path, another expiry, another signature or none: refused."""
    links = await links_of(failed)
    url: str = links["report"]["url"]
    path, _, query = url.partition("?")
    other_path = links["trace"]["url"].partition("?")[0]
    expiry = query.partition("&")[0].removeprefix("se=")
    for forged in (
        path,
        f"{other_path}?{query}",
        url.replace(expiry, str(int(expiry) + 1)),
        url.replace(f"se={expiry}", "se=never"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        path + "?se=9999999999&sig=%C3%A9",
    ):
        assert (await failed.send("GET", forged)).status == 403


async def test_a_leaked_key_is_refused_and_recorded(failed: Caller) -> None:
    """A request with an Authorization header is answered with 400, and recorded."""
    link = (await links_of(failed))["report"]["url"]
    headers = {"Authorization": f"Bearer {failed.emulator.api_key}"}
    assert (await failed.send("GET", link, headers=headers)).status == 400
    (request,) = failed.emulator.artifact_requests
    assert request.headers["authorization"] == headers["Authorization"]
    assert request.status == 400


async def test_a_signed_link_to_nothing_is_not_found(failed: Caller) -> None:
    """A run or a file that does not exist is answered with 404, even if signed."""
    for path in ("/artifacts/214/other", "/artifacts/9/report/index.html", "/artifacts/x", "/"):
        link = failed.emulator._links.make(path)  # pyright: ignore[reportPrivateUsage]
        assert (await failed.send("GET", link)).status == 404


async def test_a_file_is_only_read(failed: Caller) -> None:
    """HEAD answers with the size and no body, any writing method with 405."""
    file = (await links_of(failed))["report"]
    head = await failed.send("HEAD", file["url"])
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) == file["size"]
    for method in ("PUT", "POST", "DELETE"):
        assert (await failed.send(method, file["url"])).status == 405


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=10-", 10, None),
        ("bytes=-10", -10, None),
        ("bytes=10-999999", 10, None),
        ("bytes=-999999", 0, None),
    ],
)
async def test_a_part_of_a_file_can_be_read(
    failed: Caller, wanted: str, start: int, stop: int | None
) -> None:
    """A range is answered with 206, its bytes and their place in the file."""
    file = (await links_of(failed))["trace"]
    whole = (await failed.send("GET", file["url"])).body
    part = await failed.send("GET", file["url"], headers={"Range": wanted})
    assert part.status == 206
    assert part.body == whole[start:stop]
    first = whole.index(part.body) if start else 0
    assert part.headers["Content-Range"] == (
        f"bytes {first}-{first + len(part.body) - 1}/{len(whole)}"
    )


@pytest.mark.parametrize("wanted", ["bytes=999999-", "bytes=-0", "bytes=20-10"])
async def test_a_range_outside_of_the_file_is_refused(failed: Caller, wanted: str) -> None:
    """A range without a byte of the file is answered with 416, and the file's size."""
    file = (await links_of(failed))["report"]
    reply = await failed.send("GET", file["url"], headers={"Range": wanted})
    assert reply.status == 416
    assert reply.headers["Content-Range"] == f"bytes */{file['size']}"


@pytest.mark.parametrize("wanted", ["bytes=-", "lines=1-2", "bytes=0-1,5-6", "bytes=a-b"])
async def test_a_range_that_is_not_understood_is_ignored(failed: Caller, wanted: str) -> None:
    """Any other header is answered with the whole file."""
    file = (await links_of(failed))["report"]
    reply = await failed.send("GET", file["url"], headers={"Range": wanted})
    assert (reply.status, len(reply.body)) == (200, file["size"])


async def test_a_range_is_for_the_tagged_file(failed: Caller) -> None:
    """`If-Range` with the file's tag gives the part, with another tag the whole file."""
    file = (await links_of(failed))["report"]
    tag = (await failed.send("HEAD", file["url"])).headers["ETag"]
    for given, status in ((tag, 206), ('"other"', 200)):
        headers = {"Range": "bytes=5-", "If-Range": given}
        assert (await failed.send("GET", file["url"], headers=headers)).status == status


async def test_tests_of_one_slug_have_files_of_their_own(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Two failing tests whose names differ only in punctuation have two traces."""
    outcome = Outcome(failing=("A b", "a-B"))
    call = await emulate(scenario={"outcomes": {"Twins": outcome}})
    call.emulator.add_feature("Twins", "Feature: Twins\n  Scenario: A b\n  Scenario: a-B\n")
    run_id = await call.run("Twins")
    await asyncio.sleep(60)
    artifacts = await call.get(f"/runs/{run_id}/artifacts")
    paths = [file["path"] for file in artifacts if file["kind"] == "trace"]
    assert paths == ["trace/a-b.zip", "trace/a-b-2.zip"]


async def test_a_path_of_any_script_can_be_downloaded(
    emulate: Callable[..., Awaitable[Caller]],
) -> None:
    """Letters outside of ASCII stay in a path, and are encoded in its link."""
    call = await emulate(scenario={"failing_runs": 1})
    call.emulator.add_feature("日本語", "Feature: 日本語\n  Scenario: ログイン する\n")
    run_id = await call.run("日本語")
    await asyncio.sleep(60)
    trace = (await call.get(f"/runs/{run_id}/artifacts"))[0]
    assert trace["path"] == "trace/ログイン-する.zip"
    assert trace["url"].isascii()
    assert (await call.send("GET", trace["url"])).status == 200
