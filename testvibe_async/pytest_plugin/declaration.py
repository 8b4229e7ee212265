"""The plugin's additions to pytest's command line and configuration file.

It decides only whether features are asked for at all. pytest loads it at every start, so it imports
nothing else, and it never checks a value: see `options`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from typing import Literal

__all__ = [
    "MARKER",
    "ROOT",
    "WORKER_OUTPUT",
    "add_options",
    "is_enabled",
    "option_value",
    "take_node_ids",
]

ROOT = "testvibe"
"""The beginning of the node ids of features, before `::`."""

MARKER = (
    "testvibe(feature, *, config=None, site_url=None, project=None): run a TestVibe feature, along "
    "with all others, and give the finished run to the test by the fixture testvibe_run"
)

WORKER_OUTPUT = "testvibe_in_flight"
"""The key of a pytest-xdist worker's output for the refs of what it leaves in flight."""

_SWITCHES = (
    ("testvibe", "run the features of a TestVibe project as tests"),
    (
        "testvibe-generate",
        "generate the tests of features that have none, which costs minutes and credits",
    ),
)

_VALUES: tuple[tuple[str, str, Literal["string", "int", "float", "linelist"], str], ...] = (
    ("project", "ID", "string", "the project's id or name (else TESTVIBE_PROJECT)"),
    ("select", "GLOB", "linelist", "only features with such a name, as 'Check*'; repeatable"),
    ("config", "NAME", "linelist", "run each feature with this run configuration; repeatable"),
    ("site-url", "URL", "string", "the site to test (else the project's own)"),
    ("max-in-flight", "N", "int", "runs that are in flight at once (default: 100)"),
    ("attempts", "N", "int", "how often a feature may run until it passes (default: 1)"),
    ("timeout", "SECONDS", "float", "how long to wait for a feature (default: 900)"),
    ("poll-interval", "SECONDS", "float", "from one poll of a run to the next (default: 3)"),
    ("artifacts", "DIR", "string", "download the artifacts of runs that failed"),
    ("journal", "DIR", "string", "keep runs here: a session that was killed goes on if run again"),
)

_RULES = (
    ("testvibe_skip", "features not to run, as lines of 'GLOB: REASON'"),
    ("testvibe_xfail", "features expected to fail, as lines of 'GLOB: REASON'"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare all options."""
    group = parser.getgroup("testvibe", "TestVibe")
    for name, text in _SWITCHES:
        dest = name.replace("-", "_")
        group.addoption(f"--{name}", dest=dest, action="store_true", default=None, help=text)
        undo = f"undo {dest} of the configuration file"
        group.addoption(f"--no-{name}", dest=dest, action="store_false", help=undo)
        parser.addini(dest, text, "bool", default=False)
    for name, metavar, kind, text in _VALUES:
        group.addoption(
            f"--testvibe-{name}",
            metavar=metavar,
            default=None,
            action="append" if kind == "linelist" else "store",
            type={"int": int, "float": float}.get(kind, str),
            help=text,
        )
        is_number = kind in {"int", "float"}
        # pytest reads numbers since 8.4; before, `options` does.
        ini_kind = "string" if is_number and pytest.version_tuple < (8, 4) else kind
        parser.addini(f"testvibe_{name.replace('-', '_')}", text, ini_kind, default=None)
    for name, text in _RULES:
        parser.addini(name, text, "linelist")


def is_enabled(config: pytest.Config) -> bool:
    """Return True if features are to be collected."""
    return bool(option_value(config, "testvibe"))


def option_value(config: pytest.Config, name: str) -> Any:  # noqa: ANN401 - each has its own type
    """Return an option's value from the command line, else from the file, else None."""
    value = config.getoption(name, None)
    return config.getini(name) if value is None else value


def take_node_ids(config: pytest.Config) -> list[str]:
    """Remove the node ids of features from pytest's arguments, and return them.

    pytest would look for files of those names.
    """
    node_ids = [argument for argument in config.args if _bare(argument).startswith(f"{ROOT}::")]
    if node_ids:
        config.args[:] = [argument for argument in config.args if argument not in node_ids]
    return [_bare(node_id) for node_id in node_ids]


def _bare(node_id: str) -> str:
    """Return a node id without the `../` that pytest prints before it in subdirectories."""
    while node_id.startswith("../"):
        node_id = node_id.removeprefix("../")
    return node_id
