"""What any module may need.

For other packages: texts made harmless and the versions, here; and by their own names, since they
bring more, `_util.serialization` (attrs), which `import testvibe_async` does without,
`_util.waiting` (asyncio and anyio), which the errors and the quick commands do without, and the
writers of files and databases, `_util.sqlite_file` and `_util.group_commit`.
"""

from testvibe_async._util.text import (
    COMMAND,
    LONGEST,
    OBEYED,
    clean,
    escape,
    id_in,
    plain,
    without_commands,
)
from testvibe_async._util.version import API_PATH, __version__

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
