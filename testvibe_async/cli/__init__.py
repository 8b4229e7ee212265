"""The command `testvibe-async`.

Importing this costs nothing: cyclopts and rich, the extra `cli`, are loaded when a command starts,
and nothing outside this folder imports it. What is decided where:

- `app`: which commands there are, each by name and module, how one and the options of every command
  are parsed, and its help
- `service`, `history`, `settings`, `emulator`, `servers`, `doctor`: the other commands, what their
  options mean, and which calls they make
- `common`: the options of every command, the client, and the ledger file; `options`: those of
  commands that wait, and who allows generations, which cost credits
- `render`: the five outputs (terminal, pipe, results alone, JSON, JSON lines); one of them is
  chosen when a command starts; `text`: what is safe to print, what is read, and asked
- `exits`: the sentence for each error. Counts, exit codes and the next
  commands are decided in `testvibe_async.runner`

A command that dispatches goes down these stairs:

- `start`, `resume`, `wait`: what the options mean, and what a batch may cost
- `watch`: the order of it, from the client to the exit code; `stop`: Ctrl-C, and `--timeout`
- `progress`: the operations of a source, a batch or those that `wait` names, as last observed;
  `contact`: whether the service answers; `estimate`: the time that is left; `display`: how that
  looks
- `closing`: what is printed last, with single errors from `details`; `outputs`: reports, artifacts,
  and what GitHub shows
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["main"]

_EXTRAS = {
    **dict.fromkeys(("cyclopts", "jinja2", "platformdirs", "rich", "tomlkit"), "cli"),
    "mcp": "mcp",
    "temporalio": "temporal",
}
"""The extra that brings a package; `all` brings what those depend on."""


def main() -> None:
    """Run the command line, and exit with its code."""
    _open_standard_streams()
    try:
        from testvibe_async.cli.app import run  # noqa: PLC0415 - an extra, loaded when used

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "testvibe_async":
            raise
        sys.stderr.write(
            f"testvibe-async: this needs {package}, which is not installed: "
            f"pip install 'testvibe-async[{_EXTRAS.get(package, 'all')}]'\n"
        )
        sys.exit(2)


def _open_standard_streams() -> None:
    """Open the null device for each standard stream that the caller closed, as `>&-` does."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
