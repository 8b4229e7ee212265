"""Faults that tests of several folders have the service show."""

from typing import Any

from testvibe_async.testing import Fault


def edited(**members: Any) -> Fault:
    """Return a fault that changes members of an answer."""
    return Fault.edit(lambda document: {**document, **members})


NO_ID = edited(requestId=None)
"""A status that does not say which generation it is of."""


def _while_queued(status: dict[str, Any]) -> dict[str, Any]:
    is_queued = status["featureStatus"] == "generating" and not status["runnerStarted"]
    return status | ({"requestId": None} if is_queued else {})


NO_ID_WHILE_QUEUED = Fault.edit(_while_queued)
"""The same until its runner has started."""
