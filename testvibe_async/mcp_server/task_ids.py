"""The ids of tasks: a call that is waited for, sealed with a secret of the user's own.

Decides what an id holds, and which ids are good. Any server of the same user goes on with a task,
and needs nothing but its id. The seal keeps an id from being made by anybody else: with a forged
one a client could have a call made that no user and no guard rail has seen. It hides what is in an
id, but gives no right to it: a client has that by its pipe, or by the token over HTTP.
"""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState
from pydantic import BaseModel, ValidationError

from testvibe_async.mcp_server.journals import MAX_SECONDS

if TYPE_CHECKING:
    from testvibe_async.mcp_server.session import Session

__all__ = ["NoSuchTaskError", "Task", "fits_into_id", "opened_task", "sealed"]

MAX_CHARACTERS = 4_000
"""An id travels in an HTTP header, whose length servers limit."""


class NoSuchTaskError(Exception):
    """An id is none of ours, or too old."""


class Task(BaseModel):
    """A call that is waited for."""

    tool: str
    arguments: dict[str, Any]
    server: str
    created_at: datetime
    begun_at: datetime | None = None
    """When that was begun which the call waits for; None where it waits for what others begin."""

    request_id: str | None = None
    """The generation that it waits for, as far as that was known."""


def fits_into_id(arguments: dict[str, Any]) -> bool:
    """Whether a call is short enough for an id; one that is not is answered as without tasks."""
    return len(zlib.compress(json.dumps(arguments).encode())) * 4 / 3 < MAX_CHARACTERS


def sealed(session: Session, task: Task) -> str:
    """Return the id of a task.

    Raises:
        ConfigError: There is no secret, and none can be kept.
    """
    return _codec(session).seal(zlib.compress(task.model_dump_json(exclude_none=True).encode()))


def opened_task(session: Session, task_id: str) -> Task:
    """Return the task of an id.

    Raises:
        NoSuchTaskError: The id is none of ours, of another service, or too old.
        ConfigError: There is no secret, and none can be kept.
    """
    try:
        task = Task.model_validate_json(zlib.decompress(_codec(session).unseal(task_id)))
    except (InvalidRequestState, ValidationError, zlib.error) as error:
        raise NoSuchTaskError("this server did not make the id") from error
    if task.server != session.client.server:
        raise NoSuchTaskError("it is of another service")
    if datetime.now(UTC) - task.created_at > timedelta(seconds=MAX_SECONDS):
        raise NoSuchTaskError("it has expired")
    return task


def _codec(session: Session) -> AESGCMRequestStateCodec:
    return AESGCMRequestStateCodec([session.journals.secret()])
