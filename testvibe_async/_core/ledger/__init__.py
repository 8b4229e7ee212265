"""The ledgers that the package has: in memory, and in one SQLite file.

Exported for other packages: `MemoryLedger`; `SqliteLedger`, and `ledger_of`, which returns the
ledger that a client was given.
"""

from testvibe_async._core.ledger.memory import MemoryLedger
from testvibe_async._core.ledger.sqlite import SqliteLedger, ledger_of

__all__ = ["MemoryLedger", "SqliteLedger", "ledger_of"]
