"""Downloads of the files that a run left.

For other packages: `Downloader`, and `safe_paths` for whatever else puts a name from outside on a
disk.
"""

from testvibe_async._artifacts.downloader import Downloader
from testvibe_async._artifacts.paths import safe_paths

__all__ = ["Downloader", "safe_paths"]
