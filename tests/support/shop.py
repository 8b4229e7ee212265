"""The emulator's shop project: where its requests go, and what its features are called."""

from testvibe_async.testing import Emulator, RecordedRequest

P = "/api/v1/ops/projects/7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"


GENERATED = "Checkout"


DRAFT = "Checkout with gift card"


def last(emulator: Emulator, operation: str) -> RecordedRequest:
    """Return the last request for an operation."""
    return next(r for r in reversed(emulator.requests) if r.operation == operation)
