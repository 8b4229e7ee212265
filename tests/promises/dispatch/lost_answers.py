"""Faults that leave a caller without an answer, by whether the service acted."""

from testvibe_async.testing import Fault

ANSWER_LOST = [Fault.lost(), Fault.truncated(), Fault.edit(lambda _: {"unexpected": True})]
"""The service acts, and its answer does not arrive whole."""


NOTHING_DONE = [
    Fault.reset(),
    Fault.hang(),
    Fault.garbage(),
    Fault.status(500),
    Fault.status(502, body=b"<html>bad gateway</html>"),
    Fault.status(503, retry_after=1),
]
"""The service did not act, and the caller can't know that."""
