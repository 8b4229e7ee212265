"""Links to artifacts: which are taken, how they are sent, and what follows when they expire."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import client_of
from tests.support.artifact_host import host, http
from tests.support.dialects import Dialect
from tests.support.finished_run import PATHS, SECRET, downloads, finished_run, on_real_time
from testvibe_async import DownloadProgress, MalformedResponseError, NotFoundError, ResponseError
from testvibe_async.testing import Emulator, Fault


@pytest.mark.parametrize(
    "link",
    [
        None,
        "",
        "/relative",
        "ftp://blobs.example/x",
        "file:///etc/passwd",
        "https://",
        "https://blobs.example:99999/x",
        "https://user:word@blobs.example/x",
        "https://@blobs.example/x",
        "https://blobs.example/x y",
        "https://blobs.example/x\r\nX-Injected: 1",
        "https://blöbs.example/x",
        f"https://{'x' * 70}.example/x",
        "https://blobs..example/x",
        "http://blobs.example/x",
        "http://10.0.0.1/x",
    ],
)
@on_real_time
async def test_an_unsafe_link_is_refused(tmp_path: Path, link: str | None) -> None:
    """A missing link, or one without a valid encrypted address, is refused unsent."""
    async with finished_run(tmp_path) as case:
        case.list_as({"path": "a.zip", "url": link and f"{link}?{SECRET}"})
        with pytest.raises(MalformedResponseError, match=r"link.*, at 'a\.zip'") as caught:
            await case.download()
        assert caught.value.url.endswith("/artifacts")
        assert SECRET not in str(caught.value)
        assert case.files() == {}


@on_real_time
async def test_a_link_is_sent_as_it_is(tmp_path: Path) -> None:
    """A link is sent with its characters unchanged, as its signature demands."""
    path = "/a%2fb%7E+c/%C3%BC?x=%2B%2f&sig=a+b%20c=&y=~"
    async with finished_run(tmp_path) as case, host(http(200, b"x")) as origin:
        case.list_as({"path": "a", "url": origin.url + path})
        await case.download()
        assert [request.target for request in origin.requests] == [path]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@on_real_time
async def test_a_link_that_has_expired_is_fetched_anew(tmp_path: Path, status: int) -> None:
    """Links that are refused are fetched anew, once for all of them."""

    def expired(artifacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"url": row["url"].partition("?")[0] + "?sig=old"} for row in artifacts]

    async with finished_run(tmp_path) as case:
        case.emulator.fail("get_run_artifacts", Fault.edit(expired), times=1)
        is_old = case.emulator.fail(
            "download", Fault.status(status), when=lambda request: request.query["sig"] == "old"
        )
        await case.download(max_at_once=3)
        assert case.files().keys() == set(PATHS)
        assert case.emulator.count("get_run_artifacts") == 2
        assert is_old.hits in {1, 2, 3}
        assert downloads(case) == 3 + is_old.hits


@on_real_time
async def test_links_expire_by_the_services_clock(tmp_path: Path) -> None:
    """Links that expire during a download are renewed."""
    clock = [0.0]
    async with Emulator(shop=False, clock=lambda: clock[0], link_lifetime=60) as emulator:
        emulator.add_feature("F", "Feature: F\n  Scenario: Locked out\n")
        async with client_of(emulator) as client:
            run = await client.project().run_feature("F")
            emulator.finish_run(run.run_id, "failed")

            def wait_an_hour(progress: DownloadProgress) -> None:
                clock[0] += 3600 if progress.is_finished else 0

            paths = await run.download_artifacts(tmp_path, max_at_once=1, on_progress=wait_an_hour)
        assert len(paths) == 3
        assert [request.status for request in emulator.artifact_requests] == [
            200,
            403,
            200,
            403,
            200,
        ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, ResponseError), (403, ResponseError), (404, NotFoundError), (410, ResponseError)],
)
@on_real_time
async def test_a_link_that_is_always_refused_is_an_error(
    tmp_path: Path, status: int, kind: type[ResponseError]
) -> None:
    """After three new links a refusal is raised, and not as one of the API key."""
    async with finished_run(tmp_path) as case:
        case.emulator.fail("download", Fault.status(status))
        with pytest.raises(ResponseError, match="refuses the link") as caught:
            await case.download(kinds={"trace"})
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert downloads(case) == 4
        assert case.emulator.count("get_run_artifacts") == 4


@on_real_time
async def test_an_artifact_that_is_no_longer_listed_is_refused(tmp_path: Path) -> None:
    """An artifact that is no longer listed is tried with its old link, whose error is raised."""
    async with finished_run(tmp_path) as case:
        case.emulator.fail("download", Fault.status(404))
        nothing: list[object] = []
        case.emulator.fail("get_run_artifacts", Fault.edit(lambda _: nothing), skip=1)
        with pytest.raises(NotFoundError):
            await case.download(kinds={"trace"})


@on_real_time
async def test_a_refusal_of_new_links_is_raised(tmp_path: Path) -> None:
    """An error of the service while fetching new links is raised."""
    async with finished_run(tmp_path) as case:
        case.emulator.fail("download", Fault.status(403))
        case.emulator.fail("get_run_artifacts", Fault.status(404), skip=1)
        with pytest.raises(NotFoundError) as caught:
            await case.download()
        assert caught.value.url.startswith(case.emulator.url)


@pytest.mark.parametrize("paging", ["link", "cursor"])
@on_real_time
async def test_a_list_of_pages_is_downloaded_whole(tmp_path: Path, paging: Any) -> None:
    """Where the service lists artifacts by pages, those of all pages are downloaded."""
    pages = Dialect(paging=paging, page_size=1)
    async with finished_run(tmp_path, middleware=pages) as case:
        found = await case.download()
        assert len(found) == downloads(case) == 3
