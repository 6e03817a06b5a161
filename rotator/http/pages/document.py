"""One page as an answer: the frame around it, its style sheet, and the headers that allow nothing else."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from importlib import resources
from typing import Final

from starlette.responses import Response

from rotator import __version__
from rotator.clock import rfc3339
from rotator.http.answers import SECURITY_HEADERS
from rotator.http.pages.markup import Html, element, joined, link, text
from rotator.secret import scrub

STYLE: Final = resources.files("rotator.http.pages").joinpath("style.css").read_text(encoding="utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_CONTENT: Final = SECURITY_HEADERS["Content-Security-Policy"] + f"; style-src 'sha256-{_HASH}'"


def answer(title: str, address: str, now: datetime, trail: Html, *parts: Html) -> Response:
    """A page with its own content security policy: this one style sheet and nothing else.

    `address` is the page's own; `trail` leads to the page above it.
    """
    return Response(
        rendered(title, address, now, trail, *parts).encode("utf-8", "replace"),
        headers={"Content-Security-Policy": _CONTENT},
        media_type="text/html; charset=utf-8",
    )


def rendered(title: str, address: str, now: datetime, trail: Html, *parts: Html) -> str:
    """The whole document, scrubbed as a whole."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", name="robots", content="noindex"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} - rotator"),
        element("style", Html(STYLE)),
    )
    clock = element(
        "p",
        "as of ",
        element("time", f"{now:%Y-%m-%d %H:%M:%S} UTC", datetime=rfc3339(now)),
        " · ",
        link(address, "look again"),
        class_="soft",
    )
    body = element(
        "body",
        link("#content", "skip to the content", class_="skip"),
        element("header", element("p", trail, class_="brand"), clock),
        element("main", *parts, id="content"),
        element("footer", element("p", text(f"rotator {__version__}"), class_="soft")),
    )
    return scrub(joined(Html("<!doctype html>\n"), element("html", head, body, lang="en"), Html("\n")))
