"""The help of the commands with many options, on one screen: what most people need.

It decides what that is. The whole help, with every option, is under `--help-all`, and made of the
commands themselves; so is the help of all other commands.
"""

from __future__ import annotations

__all__ = ["SCREENS", "screen"]

_RUN = """\
Usage: testvibe-async run FEATURE… [OPTIONS]

Run the tests of features: names, ids, or globs such as 'Log*'.

  testvibe-async run "Login Functionality" --wait
  testvibe-async run --all -w --timeout 900 -r junit.xml --artifacts failed
  testvibe-async run 'Log*' Checkout -w -c Default -c Mobile

  -w, --wait          wait until all runs are over, and show how they went
      --all           run all features that have tests
      --failed [BATCH]  run again what failed in a batch; else in the last one
      --name NAME     a name for the batch, beside its number
  -c, --config NAME   the run configuration; several: each feature with each
      --site-url URL  the site to test, in place of the project's own
      --attempts N    run what failed again; what then passes is flaky
      --timeout SECONDS  stop then, 30 s later at most; the runs go on
  -r, --report FILE   {formats}; may be repeated
      --artifacts DIR    download what failed runs left: traces, screenshots
  -p, --project NAME  the project; else that of this repository
  -j, --json          JSON for programs; --json=lines: each change as it comes

Exit codes: 0 all passed, 1 some failed, 2 called wrongly, 3 refused by the
service, 4 the time was over, 5 not reachable.
All options: testvibe-async run --help-all
"""

_GENERATE = """\
Usage: testvibe-async generate FEATURE… [OPTIONS]

Generate the tests of features. Each generation takes minutes and costs credits.

  testvibe-async generate Checkout --watch
  testvibe-async generate --all --yes -w --json

  -w, --watch         wait until all are over, and show how they go
      --all           generate all features that have no tests
  -y, --yes           don't ask; else it asks before --all and globs
      --max-generations N  dispatch at most N, and don't ask either
      --on-conflict HOW  what is generating already: raise, attach or wait
      --site-url URL  the site to explore, in place of the project's own
      --timeout SECONDS  stop then, 30 s later at most; the generations go on
  -p, --project NAME  the project; else that of this repository
  -j, --json          JSON for programs; with --watch each change as it comes

Exit codes: as those of run.
All options: testvibe-async generate --help-all
"""

_WAIT = """\
Usage: testvibe-async wait OPERATION… [OPTIONS]

Wait for runs and generations that were dispatched before, by anyone: by the id
of a run, the name of a feature, or a ref as other commands print it.

  testvibe-async wait 214 215 --timeout 120 --report junit.xml
  testvibe-async wait Checkout
  testvibe-async wait --file runs.json

  -f, --file FILE     a file with refs, within any JSON; - for standard input
      --timeout SECONDS  stop then, 30 s later at most; the operations go on
  -r, --report FILE   {formats}; may be repeated
      --artifacts DIR    download what failed runs left: traces, screenshots
  -j, --json          JSON for programs; --json=lines: each change as it comes

Exit codes: as those of run.
All options: testvibe-async wait --help-all
"""

_RESUME = """\
Usage: testvibe-async resume [BATCH] [OPTIONS]

Finish a batch that was cut off, by a crash, Ctrl-C or a time-out. What was
dispatched is waited for, what may have been is looked for, and the rest is
dispatched: nothing is done twice. BATCH is a number, a name or a journal; else
the last one. The options of its first command hold, --report and others.

  testvibe-async resume
  testvibe-async resume 12 --report junit.xml
  testvibe-async resume --unknown adopt 214 --feature Checkout

      --unknown WHAT  of what may have been dispatched: resend, adopt ID or drop
      --feature NAME  what --unknown is for; else all of it
  -y, --yes           dispatch the generations that are left; else it asks
      --max-generations N  dispatch at most N of them; 0 for none
      --timeout SECONDS  stop then, 30 s later at most; the operations go on
  -r, --report FILE   {formats}; may be repeated
      --artifacts DIR    download what failed runs left: traces, screenshots

Exit codes: as those of run.
All options: testvibe-async resume --help-all
"""

_SCREENS = {"run": _RUN, "generate": _GENERATE, "wait": _WAIT, "resume": _RESUME}

SCREENS = frozenset(_SCREENS)
"""The commands with a help on one screen of 80 columns and 24 lines."""


def screen(command: str) -> str:
    """Return the help of a command on one screen."""
    from testvibe_async.reports import FORMATS  # noqa: PLC0415 - only this needs it at a start

    return _SCREENS[command].format(formats=", ".join(each.suffixes[0] for each in FORMATS))
