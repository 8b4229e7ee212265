"""`testvibe-async doctor`: what a service does, where it differs, and the consequences.

What is decided where:

- `command`: the options, what is printed, and the exit code
- `examination`: which calls of the client are made, in which order
- `exchanges`: what passed between the client and the service, and what the client notes of it
- `findings`: the table of checks, and what a difference means for the commands
- `recording`: what passed, with synthetic values
"""
