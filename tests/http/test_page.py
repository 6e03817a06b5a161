"""The status page."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from rotator.model import Attention, Bounds
from tests.http.conftest import T0, policy

HOSTILE = '</style><script>alert(1)</script><img src=x onerror="a()">\'"&{$verdict}'


class Outline(HTMLParser):
    """Tags and text of a document; complains of nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def read(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    outline = Outline()
    outline.feed(answer.text)
    return answer, outline


def attention(message="The token is dead", **changes):
    return Attention(
        **{
            "policy": "billing-production",
            "code": "token-dead",
            "since": T0 - timedelta(hours=2),
            "message": message,
            "next": "`rotator rotate billing-production` makes a new one",
            **changes,
        }
    )


def test_attention_comes_first_with_what_to_type(client, board):
    """The verdict counts, the notice has the command, the table follows with the urgent ones on top."""
    board.policies = [
        policy("quiet"),
        policy(state="needs-attention", attention=(attention(),), last_outage=Bounds(0.21, 0.41)),
    ]
    answer, outline = read(client)
    assert "1 of 2 policies needs attention" in outline.text
    assert "<code>rotator rotate billing-production</code>" in answer.text
    order = [answer.text.index(text) for text in ("The token is dead", "<table>", ">quiet<")]
    assert order == sorted(order)
    assert answer.text.rindex(">billing-production<") < answer.text.index(">quiet<")
    assert "3d" in outline.text
    assert "in 27d" in outline.text
    assert "0.210-0.410 s" in outline.text


def test_style_is_the_one_that_the_policy_allows(client):
    """One inline sheet by its hash; no script, no form, no other origin, no inline attribute."""
    answer, outline = read(client)
    style = re.search("<style>(.*?)</style>", answer.text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert not {"script", "form", "img", "iframe", "link", "input"} & set(outline.tags)
    assert not {name for name in outline.attributes if name.startswith("on") or name == "style"}
    assert "http://" not in answer.text
    assert "https://" not in answer.text


@pytest.mark.parametrize("field", ["name", "reason", "state", "last_outcome"])
def test_text_from_a_policy_is_escaped(client, board, field):
    """Whatever it holds stays text."""
    board.policies = [policy(**{field: HOSTILE})]
    answer, outline = read(client)
    assert HOSTILE in outline.text
    assert "<script" not in answer.text
    assert not {"script", "img"} & set(outline.tags)


@pytest.mark.parametrize("field", ["code", "message", "next"])
def test_text_of_an_attention_is_escaped(client, board, field):
    """Also between backticks, and where it is not even Unicode."""
    board.policies = [policy(attention=(attention(**{field: f"`{HOSTILE}` \ud800"}),))]
    _, outline = read(client)
    assert HOSTILE in outline.text
    assert not {"script", "img"} & set(outline.tags)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_policies(client, board, count):
    """None, one, many: a row for each."""
    board.policies = [policy(f"p-{n}") for n in range(count)]
    _, outline = read(client)
    assert outline.tags.count("tr") == (count + 1 if count else 0)
    assert ("There are no policies" in outline.text) == (count == 0)


def test_every_tag_is_closed(client, board):
    """A document that a strict reader takes."""
    board.policies = [policy(attention=(attention(),))]
    answer, outline = read(client)
    for tag in set(outline.tags) - {"meta", "br"}:
        assert outline.tags.count(tag) == answer.text.count(f"</{tag}>"), tag
