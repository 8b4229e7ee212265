"""The arguments of commands, which are assembled once for a session.

cyclopts works out from its signature what a command's arguments are, which takes 25 ms for `run`. A
process does that once; tests perform hundreds of commands in one.
"""

from copy import deepcopy
from typing import Any

from cyclopts import App, ArgumentCollection


def assemble_once() -> None:
    """Let each call of a command have a copy of the arguments that the first call assembled."""
    assemble = App.assemble_argument_collection
    assembled: dict[int, tuple[App, ArgumentCollection, dict[int, Any]]] = {}

    def copied(app: App, **options: Any) -> ArgumentCollection:
        if options:
            return assemble(app, **options)
        if id(app) not in assembled:
            first = assemble(app)
            parts = (
                part for each in first for part in (each.field_info, each.parameter, each.hint)
            )
            assembled[id(app)] = app, first, {id(part): part for part in parts}
        _, first, shared = assembled[id(app)]
        return deepcopy(first, dict(shared))

    App.assemble_argument_collection = copied  # type: ignore[method-assign, assignment]
