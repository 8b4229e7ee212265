"""Pages of web servers, in HTML: what a client gets where no service answers.

Pure. They look like those of IIS and nginx, and like a form to sign in.
"""

from http import HTTPStatus

from testvibe_async.testing import Answer

_STATUSES = frozenset(HTTPStatus)
_HTML = "text/html; charset=utf-8"
_IIS = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{status} - {phrase}</title></head>
<body><div id="header"><h1>Server Error</h1></div><h2>{status} - {phrase}</h2></body></html>
"""
_NGINX = """\
<html>\r
<head><title>{status} {phrase}</title></head>\r
<body><center><h1>{status} {phrase}</h1></center><hr><center>nginx/1.27.4</center></body>\r
</html>\r
"""
_LOGIN = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head>
<body><form method="post" action="/account/login"><input type="password"></form></body></html>
"""


def error_page(status: int, server: str) -> Answer:
    """Answer as a web server prints an error of its own.

    Args:
        status: The HTTP status.
        server: `iis`, `nginx`, or `empty` for one that prints nothing.
    """
    if server == "empty":
        return Answer(status, b"", content_type="")
    template = _IIS if server == "iis" else _NGINX
    page = template.format(status=status, phrase=phrase(status))
    return Answer(status, page.encode(), content_type=_HTML)


def phrase(status: int) -> str:
    """Return the words for a status; those of its class if it has none of its own."""
    return HTTPStatus(status if status in _STATUSES else status // 100 * 100).phrase


def login_page() -> Answer:
    """Answer with a form to sign in, as a success."""
    return Answer(200, _LOGIN.encode(), content_type=_HTML)
