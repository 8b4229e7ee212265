"""What a thousand operations cost: against peers, at scale, and piece by piece.

From the root of the repository, with the extra `bench` installed, on Linux:

    python -m benchmarks.peers      # the same work done by us and by five others, about 20 minutes
    python -m benchmarks.scale      # 100 to 50,000 operations in flight in one process
    python -m benchmarks.micro      # single functions
    python -m benchmarks.soak       # ten minutes of faults: nothing lost, nothing that grows
    python -m benchmarks.profiling  # where our own CPU time goes
    python -m benchmarks.report     # RESULTS.md and its plot, out of results/*.json alone

Each takes `--quick` for a run of seconds, which shows that it works and no more. Everything talks
to the emulated service on 127.0.0.1, in a process of its own.
"""
