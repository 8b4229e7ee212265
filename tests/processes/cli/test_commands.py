"""Commands in processes of their own, in a pipe and on a terminal."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.commands import Terminal, finished
from tests.surfaces.cli.conftest import environment_of

if TYPE_CHECKING:
    from tests.surfaces.cli.conftest import Service


def test_a_process_of_its_own_in_a_pipe(served: Service) -> None:
    """The installed command does the same in another process, and exits with the same codes."""
    assert served
    (output, errors), code = finished("configs", **environment_of(served))
    assert (code, errors) == (0, "")
    assert "Mobile\tConfigurations/Mobile.config.js\n" in output
    (output, errors), code = finished("features", "show", "nosuch", **environment_of(served))
    assert (code, output) == (3, "")
    said = (
        'testvibe-async: the service says "This project has no feature '
        "'nosuch'.\" (404 not_found); there are "
    )
    assert errors.startswith(said)


def test_what_is_wrong_is_one_sentence_on_a_terminal_too(service: Service) -> None:
    """On a terminal an error is the sentence as elsewhere: no box, no colours, no traceback.

    It is broken between words, and nowhere else.
    """
    for arguments, code in ((("nosuch",), 2), (("features", "show", "nosuch"), 3)):
        with closing(Terminal(*arguments, **environment_of(service))) as terminal:
            assert terminal.read_to_end() == code
        (_, errors), _ = finished(*arguments, **environment_of(service))
        assert terminal.output.startswith("testvibe-async: ")
        assert " ".join(terminal.output.split()) == errors.rstrip()
        assert max(map(len, terminal.output.splitlines())) <= 80
        assert "\x1b" not in terminal.output


def test_a_process_of_its_own_on_a_terminal(served: Service) -> None:
    """On a terminal the table has a head in bold, and the columns stand beneath one another."""
    with closing(Terminal("configs", **environment_of(served))) as terminal:
        assert terminal.read_to_end() == 0
    assert "\x1b[1mName" in terminal.output
    assert "\t" not in terminal.output
