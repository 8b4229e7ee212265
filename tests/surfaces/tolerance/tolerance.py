"""The table of tolerance: what a user sees where the service differs, on each surface.

A cell is for one way to differ and one surface. `test_tolerance` plays every cell, and checks it
against what the emulator really did.
"""

from collections.abc import Mapping

from attrs import frozen

from tests.support.dialects import DIALECTS, Dialect
from tests.surfaces.tolerance.tolerance_stage import Surface
from testvibe_async.testing import Fault

SERVICES: Mapping[str, Dialect] = {
    "as-documented": Dialect(),
    **DIALECTS,
    "lists-missing": Dialect(assumed_routes="404"),
    "names-missing": Dialect(),
}
"""Every named dialect, and what no dialect has."""

FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "lists-missing": dict.fromkeys(("list_runs", "list_features"), Fault.status(404)),
    "names-missing": {
        "list_features": Fault.edit(lambda rows: [{**row, "name": None} for row in rows])
    },
}
"""By service and operation."""

COMMANDS = {Surface.RUN_ALL, Surface.GENERATE}


@frozen
class Cell:
    """What a user sees. Without words the results are right, and there is nothing else."""

    says: str = ""
    """A regular expression of what is said besides, or in place of the results."""
    code: int | None = None
    """The exit code, if it is a command and the results are not right."""
    is_right: bool = True
    """True if the results are those of the service as documented, in spite of what is said."""


def fails(says: str, code: int | None = None) -> Cell:
    """Make a cell with an error; verdicts that are given all the same are checked too."""
    return Cell(says, code, is_right=False)


def always_fails(says: str, code: int) -> Mapping[Surface, Cell]:
    """Make a row of errors, with the exit code of commands; that of pytest is 2."""
    codes = dict.fromkeys(COMMANDS, code) | {Surface.PYTEST: 2}
    return {surface: fails(says, codes.get(surface)) for surface in Surface}


_NOT_ALL = (
    r"the list of features is incomplete: the service says that there are .*name the features"
)
_PYTEST_NAMES = fails(r"To name features: --testvibe-select NAME", 2)
_UNKNOWN_END = r"undocumented status,? 'ready'"
_UNKNOWN_STATUS = r"an undocumented status \('ready'\), and none .* is meant: name the features"
_TIME = Cell(r"Utc can't be read and is left out: expected a time such as")
_DURATION = Cell(r"Test\.durationMs can't be read and is left out: expected a number")
_NO_LIST = r"this service has no list of features: then name them"
_CUT = {
    Surface.BATCH: fails(_NOT_ALL),
    Surface.RUN_ALL: fails(_NOT_ALL, 5),
    Surface.PYTEST: _PYTEST_NAMES,
    Surface.TOOLS: fails(_NOT_ALL + r"(.*\n)*The .* run_features takes their names as `feat"),
}
_PAUSED: Mapping[Surface, Cell] = {
    Surface.BATCH: Cell(r"Paused seconds=1"),
    Surface.TOOLS: Cell(r"Paused seconds=1"),
}
_REDIRECTS = r"redirects to /\S+"
_ELSEWHERE = {
    **always_fails(_REDIRECTS, 3),
    # A dispatch comes first; whoever answers it with a redirect may have passed it on.
    Surface.GENERATE: fails(_REDIRECTS, 5),
}

_DIFFERENT: Mapping[str, Mapping[Surface, Cell]] = {
    "cut-with-has-more": _CUT,
    "cut-with-total": _CUT,
    "other-end-words": {
        Surface.HANDLES: fails(_UNKNOWN_END),
        Surface.BATCH: fails(_UNKNOWN_STATUS),
        Surface.RUN_ALL: fails(_UNKNOWN_STATUS, 2),
        Surface.GENERATE: fails(_UNKNOWN_END, 5),
        Surface.PYTEST: fails(r"ready: finished with an undocumented status", 1),
        Surface.TOOLS: fails(_UNKNOWN_STATUS),
    },
    "times-empty": dict.fromkeys(Surface, _TIME),
    "odd-fields": {
        **dict.fromkeys(Surface, _DURATION),
        Surface.GENERATE: Cell(
            r"runnerStarted can't be read and is left out: expected true or false"
        ),
    },
    "rate-limit-403-retry-after": _PAUSED,
    "slash-added": _ELSEWHERE,
    "login-page": always_fails("expected JSON, got a web page", 5),
    "login-redirect": _ELSEWHERE,
    "lists-missing": {
        Surface.BATCH: fails(_NO_LIST),
        Surface.RUN_ALL: fails(_NO_LIST, 3),
        Surface.PYTEST: _PYTEST_NAMES,
        Surface.TOOLS: fails(r"list_projects shows which .*; run_features takes names"),
    },
}
"""What is seen, by the service and the surface, where that is not the usual."""


def cell_of(name: str, surface: Surface) -> Cell:
    """Return what is seen of a service on a surface."""
    return _DIFFERENT.get(name, {}).get(surface, Cell())
