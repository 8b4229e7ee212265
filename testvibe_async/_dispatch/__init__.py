"""Starting operations, at most once."""

from testvibe_async._dispatch.conflicts import Conflicts, GenerateConflict, RunConflict
from testvibe_async._dispatch.dispatcher import Dispatcher

__all__ = ["Conflicts", "Dispatcher", "GenerateConflict", "RunConflict"]
