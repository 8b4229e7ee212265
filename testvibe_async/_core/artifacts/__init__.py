"""Downloads of a run's artifacts.

Exported for other packages: `Downloader`, and `safe_paths` for any other code that writes a foreign
name to a disk.
"""

from testvibe_async._core.artifacts.downloader import Downloader
from testvibe_async._core.artifacts.paths import safe_paths

__all__ = ["Downloader", "safe_paths"]
