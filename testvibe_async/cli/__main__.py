"""`python -m testvibe_async.cli`, the same as `testvibe-async`."""

from testvibe_async.cli import main

main()
