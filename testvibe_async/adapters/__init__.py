"""Engines that a batch can run on: `dbos` on many machines.

Each needs an extra of its own name, and is imported by that: `testvibe_async.adapters.dbos`.
"""
