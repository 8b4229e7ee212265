"""`testvibe-async doctor`: what a service does as the contract says, what differs, what follows.

For other modules: the command. What is decided where:

- `command`: the options, what is printed, and the exit code
- `examination`: which requests are made, in which order; `watching`: the run, if asked for
- `record`: what was asked and found so far, and the exit code
- `asking`: the requests themselves, the only I/O with the service
- `judging`, `contact`, `lists`: what one answer, the first one, and several together mean
- `answers`: one answer, and all that is found in it
- `differences`: where it differs from what `contract` declares
- `shapes`: what is kept of an answer, which is where it is redacted
- `findings`, `view`, `report`: the result as values, as text, and as a document
"""

from testvibe_async.cli.doctor.command import doctor

__all__ = ["doctor"]
