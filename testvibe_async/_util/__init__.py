"""What any module may need.

For other packages: texts made harmless and the version, here; and `_util.waiting` by its own name,
since it brings asyncio and anyio, which the errors and the quick commands do without.
"""

from testvibe_async._util.text import LONGEST, OBEYED, clean, escape, plain
from testvibe_async._util.version import __version__

__all__ = ["LONGEST", "OBEYED", "__version__", "clean", "escape", "plain"]
