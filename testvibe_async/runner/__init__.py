"""The meaning of "run these features", the same for every surface.

This package knows no terminal, no protocol and no test framework. Each module is imported by
itself, so that a command loads only the modules it needs:

- `names`: resolution of the names of projects, configurations and the ledger's file
- `spec`: the description of a batch, which is kept with it
- `selection`: selected features and configurations: names, ids, globs, exclusions, all
- `quarantine`: expected failures with a person responsible for each, which fail no batch
- `ledgers`: the limit on generations, enforced where each is sent; `limit`: the error of the others
- `history`: the batches of a ledger file, and the one that a command means
- `words`: how items, counts, durations and commands are written; `codes`: the exit codes
- `outcome`: the counts, the exit code, the news and the next commands of a batch
- `trends`: what repeated runs show of a feature, and what many batches show
"""
