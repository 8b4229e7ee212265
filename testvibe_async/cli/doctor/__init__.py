"""`testvibe-async doctor`: what a service does as the contract says, what differs, what follows.

For other modules: the command. What is decided where:

- `command`: the options, what is printed, and the exit code
- `examination`: which calls of the client are made, in which order
- `exchanges`: what passed between the client and the service
- `contract`: where an answer differs from `openapi.json`
- `judging`: what that means for the commands
- `findings`: the result as values, as text, and as a document
"""

from testvibe_async.cli.doctor.command import doctor

__all__ = ["doctor"]
