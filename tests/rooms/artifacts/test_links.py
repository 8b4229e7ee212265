"""Which links to artifacts are taken."""

import traceback

import pytest
from aiohttp.http_exceptions import BadStatusLine

from tests.support.finished_run import SECRET
from testvibe_async import Artifact, Client, MalformedResponseError


@pytest.mark.parametrize(
    ("server", "link", "is_taken"),
    [
        ("https://testvibe.example", "https://blobs.example/x", True),
        ("https://testvibe.example", "http://blobs.example/x", False),
        ("https://testvibe.example", "http://127.0.0.1:1/x", False),
        ("http://127.0.0.1:1", "http://localhost:2/x", True),
        ("http://127.0.0.1:1", "http://[::1]:2/x", True),
        ("http://127.0.0.1:1", "http://blobs.example/x", False),
        ("http://testvibe.internal", "http://blobs.internal/x", True),
    ],
)
async def test_a_link_is_as_encrypted_as_the_service(
    server: str, link: str, *, is_taken: bool
) -> None:
    """Plain http is taken on this machine, and where the service itself is used over it."""
    async with Client(server, api_key="tvb_" + "x" * 43, allow_http=True) as client:
        artifacts = client._parts.downloader._host
        artifact = Artifact(kind="trace", path="a", url=link)
        if is_taken:
            assert str(artifacts.target(artifact, "the list")) == link
        else:
            with pytest.raises(MalformedResponseError, match="unencrypted"):
                artifacts.target(artifact, "the list")


async def test_an_error_of_aiohttp_that_holds_the_link_is_not_quoted() -> None:
    """What aiohttp says of an answer that is not HTTP may repeat the link, and is not shown."""

    async def answer() -> bytes:
        raise BadStatusLine(f"not HTTP {SECRET}")

    async with Client("https://testvibe.example", api_key="tvb_" + "x" * 43) as client:
        with pytest.raises(MalformedResponseError, match="not HTTP") as caught:
            await client._parts.downloader._host._guarded(answer(), "https://blobs.example/x")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
