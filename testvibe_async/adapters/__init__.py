"""Batches that outlive every process, kept in a database: `DurableBatch`, in `durable`.

It needs the extra of that name, and is imported by it: `testvibe_async.adapters.durable`.
"""
