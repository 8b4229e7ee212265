"""Lets `python -m testvibe_async.cli` stand for `testvibe-async`."""

from testvibe_async.cli import main

main()
