"""Which operation a method and a raw path ask for.

Pure. Works on the path as it came over the wire: it is split at its slashes first and decoded
after, because a feature's name is one percent-encoded segment that may hold a slash or be `..`.
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
"""Every operation that has a route, by the service's own names."""


@attrs.frozen
class Route:
    """Where a request goes, and what its path names; nothing is looked up yet."""

    operation: str | None
    """None where the path is known but not with this method."""
    allowed: tuple[str, ...]
    """The methods that the path is known with."""
    project: str | None
    feature: str | None
    run: str | None


def find_route(method: str, path: str) -> Route | None:
    """Find what a request asks for.

    Args:
        method: The HTTP method, in capitals.
        path: The raw path, without its query.

    Returns:
        The route, or None where no operation has such a path.
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
    """Return the path with a star for what it names, and the collection it names a member of."""
    match segments:
        case [root, _, ("features" | "runs") as collection, _, *rest]:
            return (root, _ANY, collection, _ANY, *rest), collection
        case [root, _, *rest]:
            return (root, _ANY, *rest), None
        case _:
            return tuple(segments), None
