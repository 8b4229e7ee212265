"""The ledger: one row for each attempt, and the same call again."""
