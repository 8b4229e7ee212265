"""Recordings of services, and the way to make them again: `python -m tests.contract`."""
