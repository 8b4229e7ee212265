"""`python -m testvibe_async`, the same as `testvibe-async`."""

from testvibe_async.cli import main

main()
