"""Batches on many machines, carried by Temporal (`testvibe-async[temporal]`).

Exported: `worker`, which carries batches; `TemporalBatch`, which starts one and reads it. Both are
imported at their first use: the engine's sandbox loads this package with the workflow, and refuses
modules that touch files.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from testvibe_async.temporal.batches import TemporalBatch as TemporalBatch
    from testvibe_async.temporal.workers import worker as worker

_HOMES = {"TemporalBatch": "batches", "worker": "workers"}

__all__ = ["TemporalBatch", "worker"]  # pyright: ignore[reportUnsupportedDunderAll]

if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name at its first use (PEP 562)."""
        if name not in _HOMES:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
