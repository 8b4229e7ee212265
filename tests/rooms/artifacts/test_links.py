"""Which links to artifacts are taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.finished_run import (
    AT_ONCE,
)
from testvibe_async import (
    Hooks,
)
from testvibe_async._artifacts.host import ArtifactHost


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
    options: dict[str, Any] = {"timeout": 1.0, "retry": AT_ONCE, "max_connections": 1}
    artifacts = ArtifactHost(server, hooks=Hooks(), sleep=asyncio.sleep, **options)
    if is_taken:
        assert str(artifacts.target(link)) == link
    else:
        with pytest.raises(ValueError, match="unencrypted"):
            artifacts.target(link)
