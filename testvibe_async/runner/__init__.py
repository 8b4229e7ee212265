"""The meaning of "run these features", the same for every surface.

This package knows no terminal, no protocol and no test framework. Each module is imported by
itself, so that a command loads only the modules it needs:

- `kinds`: the policy and the commands of each kind of operation
- `spec`: the description of a batch, as a value that is stored with it, and its forecast
- `selection`: selected features and configurations: names, ids, globs, exclusions, all
- `names`: resolution of the names of projects and configurations
- `ledgers`: the ledger file that the surfaces share
- `kept`, `lookup`: one batch of a ledger, and the one that a command means
- `limited_ledger`: the number of generations allowed, enforced where each is sent;
  `generation_limit`: the error of the others
- `quarantine`: expected failures with a person responsible for each, which fail no batch
- `waits`: operations that were dispatched before, as items
- `words`: how items, counts, durations and commands are written; `codes`: the exit codes
- `outcome`: the counts, the exit code and the next commands of a batch, for every surface
- `stability`: what the results of repeated runs, and of many batches, show
"""
