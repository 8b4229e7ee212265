"""Wrong calls: each is one sentence, with what to type, and does nothing."""

from pathlib import Path

import pytest

from tests.surfaces.cli.conftest import Call, write
from testvibe_async.testing import Emulator, Fault, Scenario

SCENARIO = Scenario(run_duration=20, failing_runs=0)

GUESSES = {
    "nosuch": 'unknown command "nosuch"; see testvibe-async --help',
    "run x --json=foo": "the only value of --json is --json=lines",
    "featurs": 'Did you mean "features"?',
    "auth": 'Did you mean "login"?',
    "watch 214": 'Did you mean "wait"?',
    "config set server x": 'Did you mean "settings"?',
    "logs": '"runs" or "generation"?',
    "test Checkout": 'Did you mean "run"?',
    "cancel Checkout": "testvibe-async generation cancel Checkout",
    "features lst": 'Did you mean "list"?',
    "features ls": 'Did you mean "list"?',
    "features add": 'Did you mean "create"?',
    "configs ls": "'ls' is more than testvibe-async configs takes",
    "runs logs 214": 'Did you mean "diagnose"?',
    "runs show last": 'invalid value for RUN: unable to convert "last"',
    "--gherkin": "no command stands before --gherkin",
    "--json": "no command stands before --json",
    "run --feature x": "Did you mean the name without an option: run Checkout?",
    "run -k Log": "Did you mean a name or a glob without an option: run 'Log*'?",
    "run --lf": "Did you mean --failed?",
    "run x --junitxml=out.xml": "Did you mean --report junit.xml?",
    "run Checkout -w --junit out.xml": "Did you mean --report junit.xml?",
    "run x --maxfail 1": "Did you mean --max-failures N?",
    "run x --reruns 2": "Did you mean --attempts N, which counts the first one",
    "run x --zzz": "--zzz; see testvibe-async run --help",
    "run --waite x": "Did you mean --wait?",
    "run x --attempts a": 'invalid value for --attempts: unable to convert "a"',
    "login --token x": "Did you mean testvibe-async login, which asks for the key",
    "report out.xml": "to write it, testvibe-async report --report out.xml",
    "report 214": "for a run of that id, testvibe-async open 214",
    "--timeout 2 features": "--timeout",
}
"""Words that are no command, or no option, and what is usually meant."""

WRONG = {
    "runs show 0": '"0" for RUN',
    "runs list --limit 0": '"0" for --limit',
    "demo --speed inf": '"inf" for --speed',
    "emulator --port 70000": '"70000" for --port',
    "demo --features /no/such": "/no/such is no folder with .feature files in it.",
    "emulator --features /no/such": "/no/such is no folder with .feature files in it.",
    "features show": "FEATURE requires an argument; see testvibe-async features",
    "features create X": "--file requires an argument",
    "features show --project": "--project requires an argument",
    "features show Login Functionality": "name of several words in quotes",
    "features show 1 --jsno": "--jsno. Did you mean --json?",
    "features update 1": "nothing to change: pass --file, --name or both",
    "features create X --file /no/such": "/no/such can't be read: No such",
    "features delete 1": "standard input is no terminal: pass --yes",
    "features list --project nosuch": "there is no project 'nosuch'",
    "features list -p 'Acme Shp'": "there is no project 'Acme Shp': did you mean 'Acme Shop'?",
    "projects --server nonsense": "the server must look like https://",
    "projects --server http://h.example": "in the clear: use https://, or pass",
    "use Nope": "there is no project 'Nope': there is only 'Acme Shop'",
    "run": "which features? Give names, ids or globs such as 'Log*', or --all",
    "run --all Login": "--all takes no names but exclusions: leave out --all, or 'Login'",
    "run !Log*": "exclusions alone choose nothing: give names too, or --all",
    "run all !Log*": "there is no feature 'all': to choose all features, give --all",
    "run all": "there is no feature 'all': to choose all features, give --all",
    "run !Login* Login*": "the exclusions leave no feature: '!Login*'",
    "run x*": "no feature matches 'x*': without suggestions, the project has 16, such as",
    "run Chekout Returns": "there is no feature 'Chekout': did you mean 'Checkout'?",
    "run Chekout --wait": "there is no feature 'Chekout': did you mean 'Checkout'?",
    "run 9999": "there is no feature '9999': there are ",
    "run Returns !x*": "no feature matches 'x*'",
    "run --all !*": "the exclusions leave no feature",
    "run lo": "there is no feature 'lo': did you mean 'Login Functionality' or 'Store locator'?",
    "run Checkout -c Moblie": "there is no configuration 'Moblie': did you mean 'Mobile'?",
    "use Shop --project Shop": "unknown option: --project",
    "login --project Shop": "unknown option: --project",
    "run Login --timeout 5": "--timeout needs --wait",
    "run Login --max-in-flight 5": "--max-in-flight needs --wait",
    "run Login --max-failures 2": "--max-failures needs --wait",
    "run Login --attempts 2": "--attempts needs --wait",
    "run Login --report a.xml": "--report needs --wait",
    "run Login --artifacts d": "--artifacts needs --wait",
    "run Login --wait --attempts 0": "--attempts",
    "run Login --repeat 5 --attempts 2": "repeated runs take no further attempts",
    "run Login --wait --report xml:-": "a report can't go to standard output",
    "run Login --wait --report a.txt": "let it end in .xml (JUnit), .json (CTRF), .md",
    "run Login --wait --timeout 0": "--timeout",
    "run Login --wait --timeout nan": "--timeout",
    "run Login --wait --timeout 5x": "'5x' is no time such as 90, 20m or 1h30m",
    "run Login --wait --max-in-flight 0": "--max-in-flight",
    "run Login --on-conflict attach": "--on-conflict",
    "run Login --nosuch": "--nosuch",
    "run Checkout --yes": "--yes needs --on-conflict generate",
    "run Checkout --max-generations 3": "--max-generations needs --on-conflict ge",
    "run --failed Checkout": "there is no batch named Checkout",
    "run --failed 12": "there is no batch 12",
    "run --failed --all": "--failed takes the batch, and no names",
    "run --failed Checkout Returns": "--failed takes the batch, and no names",
    "run --failed": "there is no batch of runs of project ",
    "run --failed no/such": "there is no journal no/such",
    "run Checkout --name 12": "--name 12: a name has ",
    "run Checkout --name a/b": "--name a/b: a name has ",
    "run Checkout --name a --journal b": "leave out --journal",
    "run Checkout --on x.sqlite": "add --name",
    "run Checkout --on mysql://x/y --name x": "a SQLite file or in postgres",
    "run Checkout --on x --name x --repeat 3": "--on takes no --repeat",
    "generate": "which features?",
    "generate x*": "no feature matches 'x*'",
    "generate Login --timeout 5": "--timeout needs --watch",
    "generate Login --max-in-flight 5": "--max-in-flight needs --watch",
    "generate Login --on-conflict generate": "--on-conflict",
    "generate Login --waiting": "--waiting",
    "wait": "which operations? Give run ids, features or refs",
    "wait {nosuch": "'{nosuch' is no ref: it is not JSON",
    "wait '{testvibe: run}'": "is no ref: it is not JSON; quote it for the shell",
    "wait [214]": "which operations?",
    "wait {}": "which operations?",
    "wait {} --file nosuch.json": "nosuch.json",
    "wait {} --timeout -1": "--timeout",
    "wait 214 --report r.pdf": "let it end in .xml",
    """wait '{"testvibe": "walk"}'""": 'does not say "run"',
    "work nope": "there is no batch named nope",
    "work nope --on x.sqlite": "there is no batch 'nope'",
    "resume --on x.sqlite": "--on needs the name",
    "resume nosuch": "there is no batch named nosuch: there is none yet",
    "resume nosuch.journal": "there is no journal nosuch.journal",
    "report x": "is no journal",
    "report": "there is no batch ",
    "report 12": "there is no batch 12",
    "report --artifacts failed": "--artifacts",
    "emulator --fault run_feature": "--fault 'run_feature' is not understood: write OPERATION:",
    "emulator --fault run_feature:slow": "WHAT is a status, or one of reset, lost, hang",
    "emulator --fault walk:503": "--fault walk:503: No operation is named 'walk'",
    "emulator --outage 20@60": "write SECONDSs@STARTs",
    "emulator --limit 100": "--limit '100' is not understood: write NUMBER/s",
    "emulator --limit 0/s": "rate_limit must be a number above 0",
    "emulator --replay x": "--replay: ",
    "emulator --replay nosuch.json": "--replay: nosuch.json: No such file or directory",
}
"""Calls that can't be meant so."""

REFUSED = {
    "features show nosuch": "has no feature 'nosuch'.\" (404 not_found)",
    "features show Chekout": "; did you mean 'Checkout'?",
    "files get nosuch": "has no file 'nosuch'.\" (404 not_found)",
    "files put ../x -f /dev/null": "(400 invalid_request)",
    "generation status Chekout": "; did you mean 'Checkout'?",
    "generation log Chekout": "; did you mean 'Checkout'?",
    "generation cancel nosuch": "(404 not_found)",
    "generation cancel Checkout": "(409 conflict)",
    "runs show 999": "(404 not_found)",
    "runs diagnose 999": "(404 not_found)",
    "runs artifacts 999": "(404 not_found)",
    "wait Chekout": "; did you mean 'Checkout'?",
}
"""Calls that the service refuses."""

CODES = [*((each, 2) for each in (GUESSES | WRONG)), *((each, 3) for each in REFUSED)]


@pytest.mark.parametrize(("typed", "code"), CODES, ids=[typed for typed, _ in CODES])
async def test_wrong_call_is_one_sentence(
    typed: str, code: int, emulator: Emulator, call: Call
) -> None:
    """A wrong or refused call is one line on standard error, and starts nothing."""
    write("x", "something else" * 100)
    ended = await call(typed)
    ended.refuses((GUESSES | WRONG | REFUSED)[typed], code)
    assert not emulator.runs
    assert not emulator.generations
    assert Path("x").stat().st_size == 14 * 100  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (Fault.status(400), 3, 'The emulator was told to answer 400." (400 invalid_request)'),
        (Fault.status(401), 3, "put a valid one there, or log in with testvibe-async login"),
        (Fault.status(403), 3, "(403 forbidden)"),
        (Fault.status(404), 3, "(404 not_found)"),
        (Fault.status(409), 3, "(409 conflict)"),
        (Fault.status(500), 5, 'told to answer 500." (500 internal_error)'),
        (Fault.garbage(), 5, "the answer could not be read: "),
        (Fault.reset(), 5, "no whole answer came: the connection was lost"),
    ],
)
@pytest.mark.parametrize("typed", ["runs diagnose 214", "features update Checkout --name x"])
async def test_the_exit_code_says_who_must_act(  # noqa: PLR0913, PLR0917 - a table
    fault: Fault, code: int, said: str, typed: str, emulator: Emulator, call: Call
) -> None:
    """3 is a refusal, 5 a service that could not answer; the sentence is the service's."""
    emulator.fail("diagnose_run", fault)
    emulator.fail("update_feature", fault)
    (await call(typed)).refuses(said, code)
