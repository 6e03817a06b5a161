"""Elements of a document. Text is escaped when it is put into one; only what was made here is markup."""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import quote

# Whatever is no text to a browser, and what would turn the reading direction around for all that follows.
_VISIBLE: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (9, 10)
}
_VOID: Final = frozenset({"br", "meta"})


class Html(str):
    """Markup that `element` made. Any other text is text."""

    __slots__ = ()


NOTHING: Final = Html()


def element(tag: str, *children: str | None, **attributes: str | float | None) -> Html:
    """One element. An attribute `data_label` is written `data-label`, `class_` is written `class`; one that is
    None is left out, and so is a child that is None."""
    told = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_visible(str(value)))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Html(f"<{tag}{told}>")
    return Html(f"<{tag}{told}>{joined(*children)}</{tag}>")


def joined(*children: str | None) -> Html:
    """The children one after the other: markup as it is, text escaped."""
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children if child))


def text(value: str) -> Html:
    """Text as markup. Control characters show as what they are."""
    return Html(escape(_visible(value)))


def foreign(value: str) -> Html:
    """Text from outside, set apart so that its writing direction ends with it."""
    return element("bdi", value)


def spoken(value: str) -> Html:
    """Text of an error or a remedy: what stands between backticks is to be typed."""
    parts = value.split("`")
    if len(parts) % 2 == 0:  # a lone backtick is no quotation
        parts[-2:] = ["`".join(parts[-2:])]
    return element("bdi", *(element("code", part) if n % 2 else text(part) for n, part in enumerate(parts)))


def link(to: str, *children: str | None, **attributes: str | None) -> Html:
    """A link to an address of this server. `to` is made of literals and of `segment`s."""
    return element("a", *children, href=to, **attributes)


def segment(value: str) -> str:
    """A text as one segment of a path."""
    return quote(value, safe="", errors="replace")


def _visible(value: str) -> str:
    return value.translate(_VISIBLE) if not value.isprintable() else value
