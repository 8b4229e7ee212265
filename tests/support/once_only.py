"""The calls that must not happen twice: what changes something, costs credits, or starts a run."""

from collections.abc import Awaitable, Callable

import pytest

from testvibe_async import Project

ONCE_ONLY: dict[str, Callable[[Project], Awaitable[object]]] = {
    "create_feature": lambda p: p.create_feature("New", "Feature: New"),
    "update_feature": lambda p: p.update_feature("Checkout", gherkin="Feature: C"),
    "delete_feature": lambda p: p.delete_feature("Checkout"),
    "generate_feature": lambda p: p.generate_feature("Checkout"),
    "cancel_generation": lambda p: p.cancel_generation("Checkout"),
    "run_feature": lambda p: p.run_feature("Checkout"),
    "write_file": lambda p: p.write_file("Features/a.feature", "Feature: A"),
}
"""The operation, and a call of it."""

once_only = pytest.mark.parametrize("operation", ONCE_ONLY)
