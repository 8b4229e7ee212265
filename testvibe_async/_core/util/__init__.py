"""Utilities for all modules.

Exported for other packages: neutralized texts, and the versions. Other modules are imported by
their own names, since they import more. `serialization` needs attrs, which `import testvibe_async`
does without. `waiting` needs asyncio and anyio, which the errors and the quick commands do without.
`sqlite_file`, `group_commit` and `replacement` write files and databases.
"""

from testvibe_async._core.util.text import (
    COMMAND,
    LONGEST,
    OBEYED,
    clean,
    escape,
    id_in,
    plain,
    without_commands,
)
from testvibe_async._core.util.version import API_PATH, __version__

__all__ = [
    "API_PATH",
    "COMMAND",
    "LONGEST",
    "OBEYED",
    "__version__",
    "clean",
    "escape",
    "id_in",
    "plain",
    "without_commands",
]
