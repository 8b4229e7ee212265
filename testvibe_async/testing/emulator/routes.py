"""The routes: from a method and a raw path to an operation.

Pure. The raw path is split at its slashes before it is decoded, because a feature's name is one
percent-encoded segment that may hold a slash or be `..`. It never looks up what a path names.
"""

from __future__ import annotations

from urllib.parse import unquote

import attrs

__all__ = ["OPERATIONS", "Route", "find_route"]

_PREFIX = ["", "api", "v1", "ops"]
_ANY = "*"
_PROJECT = ("projects", _ANY)
_FEATURE = (*_PROJECT, "features", _ANY)
_RUN = (*_PROJECT, "runs", _ANY)
_METHODS: dict[tuple[str, ...], dict[str, str]] = {
    ("projects",): {"GET": "list_projects"},
    _PROJECT: {"GET": "get_project"},
    (*_PROJECT, "features"): {"GET": "list_features", "POST": "create_feature"},
    _FEATURE: {"GET": "get_feature", "PATCH": "update_feature", "DELETE": "delete_feature"},
    (*_FEATURE, "generate"): {"POST": "generate_feature"},
    (*_FEATURE, "generation"): {"GET": "get_generation_status"},
    (*_FEATURE, "generation", "log"): {"GET": "get_generation_log"},
    (*_FEATURE, "generation", "cancel"): {"POST": "cancel_generation"},
    (*_FEATURE, "run"): {"POST": "run_feature"},
    (*_PROJECT, "runs"): {"GET": "list_runs"},
    _RUN: {"GET": "get_run"},
    (*_RUN, "diagnosis"): {"GET": "diagnose_run"},
    (*_RUN, "artifacts"): {"GET": "get_run_artifacts"},
    (*_PROJECT, "files"): {"GET": "list_files"},
    (*_PROJECT, "files", "content"): {"GET": "read_file", "PUT": "write_file"},
    (*_PROJECT, "configs"): {"GET": "list_configs"},
}

OPERATIONS = frozenset(name for methods in _METHODS.values() for name in methods.values())
"""All operations that have a route, by the service's own names."""


@attrs.frozen
class Route:
    """The operation of a request, and the names in its path."""

    operation: str | None
    """The operation; None if the path exists, but not with this method."""
    allowed: tuple[str, ...]
    """The methods of the path."""
    project: str | None
    feature: str | None
    run: str | None


def find_route(method: str, path: str) -> Route | None:
    """Find the route of a request.

    Args:
        method: The HTTP method, in capitals.
        path: The raw path, without its query.

    Returns:
        The route; None if no operation has such a path.
    """
    raw = path.split("/")
    if raw[:4] != _PREFIX:
        return None
    segments = [unquote(segment) for segment in raw[4:]]
    skeleton, collection = _skeleton(segments)
    methods = _METHODS.get(skeleton)
    if methods is None:
        return None
    return Route(
        operation=methods.get(method),
        allowed=tuple(methods),
        project=segments[1] if len(segments) > 1 else None,
        feature=segments[3] if collection == "features" else None,
        run=segments[3] if collection == "runs" else None,
    )


def _skeleton(segments: list[str]) -> tuple[tuple[str, ...], str | None]:
    """Return the path with stars in place of names, and the collection of its last name."""
    match segments:
        case [root, _, ("features" | "runs") as collection, _, *rest]:
            return (root, _ANY, collection, _ANY, *rest), collection
        case [root, _, *rest]:
            return (root, _ANY, *rest), None
        case _:
            return tuple(segments), None
