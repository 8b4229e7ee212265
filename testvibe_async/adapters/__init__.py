"""Batches that outlive every process, kept in a database: `DurableBatch`, in `durable`.

It needs the extra of that name, and is imported by it: `testvibe_async.adapters.durable`.
"""

try:
    import sqlalchemy as sqlalchemy
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "durable batches need SQLAlchemy: pip install 'testvibe-async[durable]'", name=_error.name
    ) from None
