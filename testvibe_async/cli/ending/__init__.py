"""How a command that dispatched operations ends: what is printed last, and the exit code.

The door of this room. What is decided where:

- `ending`: the one word and the exit code for all of it, the counts, and the JSON document
- `failures`: what of failed tests, errors and unknown dispatches a person reads, failures first
- `commands`: the commands to go on with: wait, run again, check
- `say`: what goes to standard output, what to standard error, and in which order
"""

from __future__ import annotations

from testvibe_async.cli.ending.commands import resume_command
from testvibe_async.cli.ending.ending import Ending, seconds_of
from testvibe_async.cli.ending.failures import failures_text
from testvibe_async.cli.ending.say import (
    named_in_flight,
    say_dispatched,
    say_ended,
    say_nothing,
    say_report,
    say_stopped,
    say_unanswered,
    say_unfinished,
)

__all__ = [
    "Ending",
    "failures_text",
    "named_in_flight",
    "resume_command",
    "say_dispatched",
    "say_ended",
    "say_nothing",
    "say_report",
    "say_stopped",
    "say_unanswered",
    "say_unfinished",
    "seconds_of",
]
