"""Benchmarks of what a thousand operations cost: against peers, at scale, and step by step.

From the root of the repository, with the extra `bench` installed, on Linux:

    python -m benchmarks.counters   # function calls, memory and requests of one operation, counted
    python -m benchmarks.peers      # the same work by this client and five others, 20 minutes
    python -m benchmarks.scale      # 100 to 50,000 operations in flight in one process
    python -m benchmarks.throttled  # what refusals cost, on virtual time
    python -m benchmarks.micro      # single functions
    python -m benchmarks.report     # RESULTS.md, README's table and the plots, from results/*.json

All but the first and the last take `--quick` for a run of seconds, which only shows that they
work. The service is the emulator on 127.0.0.1, in its own process, except those of `counters` and
`throttled`.
"""
