"""Reads a page the way a strict reader would: tags that close, ids that are unique, text as it is shown."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Tags, attributes and text of a document; fails on what is closed in a wrong order."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        """Tag, name and value of each."""
        self.text = ""
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert self._open == []
        ids = [value for _, name, value in self.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        pointed = [
            v for _, name, value in self.attributes if name == "aria-labelledby" for v in value.split()
        ]
        pointed += [value[1:] for _, name, value in self.attributes if name == "href" and value[0] == "#"]
        assert set(pointed) <= set(ids)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(client, path="/"):
    """The answer and its outline."""
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return answer, Outline(answer.text)
