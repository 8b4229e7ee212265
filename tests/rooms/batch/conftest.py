"""The fixtures of the promises of batches."""

from tests.promises.batches.test_batch import scenario

__all__ = ["scenario"]
