"""The internals of the library; only the public modules beside it import it."""
