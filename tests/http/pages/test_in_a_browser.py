"""The pages in a real browser: on a telephone and a screen, light and dark, by keyboard and read aloud.

It takes a minute, and what PyPI does not have: --long runs it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise, product

import pytest

from rotator.model import Trigger
from tests.http.pages import scene
from tests.http.pages.test_overview import HOSTILE

PHONE, SCREEN = 360, 1280
OVERVIEW, POLICY = "/", "/policies/billing-production"


def nothing(board):
    board.policies = []


def one(board):
    board.policies = scene.one_policy()


def many(board):
    board.policies = scene.many(500)


def busy(board):
    """Everything that a policy's page can show."""
    trouble = scene.attention("billing-production/rehearsal", "consumer-behind", message="word" * 100)
    board.policies = [
        scene.with_rotation(
            replace(scene.draining("billing-production"), consumers=scene.CONSUMERS),
            state="needs-attention",
            rehearsal=replace(scene.REHEARSED, attention=(trouble,)),
            owner=scene.OWNERS[4],
            attention=(
                scene.attention("billing-production"),
                scene.attention("billing-production", "unclear", message="word" * 100, next=f"`{'x' * 200}`"),
            ),
        )
    ]
    rehearsed = scene.in_place(policy="billing-production/rehearsal", trigger=Trigger.REHEARSAL)
    board.past = [rehearsed, *(replace(one, consumers=scene.CONSUMERS) for one in scene.history())]


def gone(board):
    board.policies = []
    board.past = [scene.refused()]


def new(board):
    board.policies = scene.one_policy()
    board.past = []


PAGES = {
    "no policies": (nothing, OVERVIEW),
    "one policy": (one, OVERVIEW),
    "500 policies": (many, OVERVIEW),
    "a busy policy": (busy, POLICY),
    "a policy that is gone": (gone, POLICY),
    "a new policy": (new, POLICY),
}
EVERY = pytest.mark.parametrize("page", PAGES)


def show(chromium, site, board, page, **look):
    make, path = PAGES[page]
    make(board)
    chromium.look(**look)
    chromium.open(site + path)
    # What is folded away is part of the page, too.
    chromium.run("document.querySelectorAll('details').forEach(one => one.open = true)")


@EVERY
def test_a_telephone_shows_all_of_it(chromium, site, board, page):
    """At 360 pixels nothing sticks out to the right, and nothing is cut off."""
    show(chromium, site, board, page, width=PHONE)
    assert chromium.run("document.documentElement.scrollWidth") == PHONE
    out = """[...document.querySelectorAll('body *:not(.skip)')].filter(one => {
        const box = one.getBoundingClientRect();
        const table = one.closest('thead');
        return !table && (box.right > innerWidth + 1 || box.left < -1);
    }).map(one => one.outerHTML.slice(0, 120))"""
    assert chromium.run(out) == []


LOOKS = [
    (page, width, scheme)
    for page, width, scheme in product(PAGES, (PHONE, SCREEN), ("light", "dark"))
    # So many rows, all alike, take axe seconds: once per scheme, and once per width.
    if page != "500 policies" or (width == PHONE) == (scheme == "light")
]


@pytest.mark.parametrize(("page", "width", "scheme"), LOOKS)
def test_axe_finds_nothing(chromium, axe, site, board, page, width, scheme):
    """No violation of any rule: contrast, names, order of headings, landmarks, tables."""
    dark = scheme == "dark"
    show(chromium, site, board, page, width=width, dark=dark)
    ground = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark
    chromium.run(f"{axe};0")
    found = chromium.run("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@EVERY
def test_nothing_else_is_loaded_or_refused(chromium, site, board, page):
    """One request for one document; the browser complains of nothing in it, and its policy blocks no part of it."""
    show(chromium, site, board, page, width=SCREEN)
    asked = [
        event["params"]["request"]["url"]
        for event in chromium.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked == [site + PAGES[page][1]]
    assert [event for event in chromium.events if event["method"] == "Log.entryAdded"] == []
    assert chromium.run("document.scripts.length") == 0
    assert chromium.run("getComputedStyle(document.querySelector('main')).maxWidth") == "1088px"


def test_it_is_walked_through_by_keyboard(chromium, site, board):
    """The first key leads past the header; every stop can be seen; folded parts open."""
    board.policies = scene.many(40)
    chromium.look(width=SCREEN)
    chromium.open(site)
    chromium.press("Tab")
    assert chromium.run("document.activeElement.textContent") == "skip to the content"
    assert chromium.run("document.activeElement.getBoundingClientRect().left") >= 0
    chromium.press("Enter")
    assert chromium.run("location.hash") == "#content"
    stops = []
    for _ in range(60):
        chromium.press("Tab")
        about = json.loads(
            chromium.run(
                "JSON.stringify((one => [one.tagName, one.textContent, getComputedStyle(one).outlineStyle,"
                " one.getAttribute('href')])(document.activeElement))"
            )
        )
        assert about[2] == "solid", about
        stops.append(about)
        if about[0] == "SUMMARY":
            break
    assert [stop[3] for stop in stops[:3]] == ["#attention", "#working", "#overdue"]
    assert stops[-1][1].startswith("and ")
    chromium.press("Enter")
    assert chromium.run("document.activeElement.parentElement.open") is True


def test_it_can_be_read_aloud(chromium, site, board):
    """The verdict is the first heading, and the rows stay a table with headers also where they look like cards."""
    board.policies = scene.many(12)
    chromium.look(width=PHONE)
    chromium.open(site)
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    told = [
        (one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one["ignored"]
    ]
    headings = [name for role, name in told if role == "heading"]
    assert headings[0] == "2 of 12 policies need attention"
    roles = [role for role, _ in told]
    assert roles.count("row") == 13
    assert roles.count("rowheader") == 12
    assert roles.count("cell") == 12 * 5
    assert ("columnheader", "Next due") in told
    assert {role for role, _ in told} >= {"banner", "main", "contentinfo", "navigation", "table"}


def test_a_drawing_is_told_in_words(chromium, site, board):
    """Who cannot see it hears the outage, the overlap and each step."""
    board.past = [scene.in_place(), scene.pair("billing-production")]
    chromium.look(width=PHONE)
    chromium.open(site + POLICY)
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    images = [one["name"]["value"] for one in nodes if one.get("role", {}).get("value") == "image"]
    assert len(images) == 2
    assert "no living token for 0.170-0.390 s" in images[0]
    assert "Old token and new token were both alive for 3h." in images[1]
    assert images[1].endswith("drain done, retire done, prove-dead done, close done.")


@pytest.mark.parametrize("path", [OVERVIEW, POLICY])
def test_hostile_text_is_shown_and_does_nothing(chromium, site, board, path):
    """Names and messages with markup in them are read as they are written; no script of theirs runs."""
    board.policies = [
        scene.status(owner=HOSTILE, attention=(scene.attention("x", message=HOSTILE, next=f"`{HOSTILE}`"),))
    ]
    board.past = [scene.crashed()]
    chromium.look(width=PHONE)
    chromium.open(site + path)
    assert HOSTILE in chromium.run("document.body.textContent")
    assert chromium.run("document.querySelectorAll('script, img, iframe, b b').length") == 0
    assert not [event for event in chromium.events if event["method"] == "Page.javascriptDialogOpening"]


def test_wide_screens_name_the_steps_in_the_drawing(chromium, site, board):
    """Names where there is room, their numbers on a telephone; labels of one line never overlap."""
    board.past = [scene.bridge("billing-production")]
    for width, shown in ((SCREEN, "wide"), (PHONE, "narrow")):
        chromium.look(width=width)
        chromium.open(site + POLICY)
        boxes = chromium.run(
            "[...document.querySelectorAll('.timeline .wide, .timeline .narrow')]"
            ".map(one => [one.getAttribute('class'), one.getBoundingClientRect()])"
            ".filter(([, box]) => box.width > 0)"
            ".map(([kind, box]) => [kind, Math.round(box.top), box.left, box.right])"
        )
        assert {kind for kind, *_ in boxes} == {shown}
        lines = {}
        for _, top, left, right in boxes:
            lines.setdefault(top, []).append((left, right))
        for line in lines.values():
            line.sort()
            assert all(before[1] <= after[0] for before, after in pairwise(line)), line
