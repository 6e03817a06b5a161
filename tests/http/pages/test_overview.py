"""The status page."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import timedelta

import pytest

from rotator.http.pages.overview import NAMES_SHOWN, NOTICES_SHOWN
from rotator.model import Bounds
from rotator.secret import Secret
from tests.http.pages import scene
from tests.http.pages.outline import read
from tests.journal.builders import T0

HOSTILE = '</style><script>alert(1)</script><img src=x onerror="a()">\'"&{$verdict}'


def test_attention_comes_first_with_what_to_type(client, board):
    """The verdict counts, the notice has the command, the table follows with the urgent ones on top."""
    board.policies = [
        scene.status("quiet", last_outage=None),
        scene.status("loud", state="needs-attention", attention=(scene.attention("loud"),)),
    ]
    answer, outline = read(client)
    assert "1 of 2 policies needs attention" in outline.text
    assert "<code>rotator rotate loud</code>" in answer.text
    assert "since 2026-11-21 11:40 UTC, 20m ago · owner team-billing" in outline.text
    order = [answer.text.index(text) for text in ("AccessDeniedException", 'id="policies"', ">quiet<")]
    assert order == sorted(order)
    assert answer.text.rindex(">loud<") < answer.text.index(">quiet<")
    assert "3d 4h" in outline.text
    assert "in 26d 20h" in outline.text
    assert "0.170-0.390 s" in outline.text


def test_a_dead_token_goes_before_older_troubles(client, board):
    """Mail has stopped there; everything else can wait a minute."""
    board.policies = [
        scene.status("old", attention=(scene.attention("old", "out-of-band", since=T0 - timedelta(days=9)),)),
        scene.status("dead", attention=(scene.attention("dead", "token-dead", since=T0),)),
    ]
    _, outline = read(client)
    assert outline.text.index("dead: token-dead") < outline.text.index("old: out-of-band")


def test_what_is_in_progress_tells_its_step(client, board):
    """Which step of how many, what it waits for, and since when."""
    board.policies = [scene.with_rotation(scene.draining())]
    _, outline = read(client)
    assert "step 6 of 9: drain" in outline.text
    assert "last used 4m ago by 203.0.113.7" in outline.text
    assert "schedule, begun 2026-11-21 10:48 UTC, 1h 12m ago" in outline.text


def test_a_step_that_the_way_does_not_know_is_told_alone(client, board):
    """A newer daemon may have written it."""
    board.policies = [scene.with_rotation(scene.draining(), way=("preflight", "close"))]
    answer, outline = read(client)
    assert "draindue" not in outline.text
    assert "<p>drain</p>" in answer.text


def test_overdue_is_told_apart_from_what_is_due(client, board):
    """What is late comes with its delay and its reason; it is not one of the next seven days."""
    board.policies = [scene.many(5)[4], scene.status("due", state="due", next_due_at=T0 - timedelta(hours=1))]
    answer, outline = read(client)
    assert "1 of 2 policies is overdue" in outline.text
    assert "was due 2d 3h ago 2026-11-19 09:00 UTC" in outline.text
    week = answer.text[answer.text.index('id="coming"') : answer.text.index('id="policies"')]
    assert "/policies/due" in week
    assert "/policies/reports" not in week


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (timedelta(days=6, hours=11, minutes=59), True),
        (timedelta(days=6, hours=12), False),  # midnight of the eighth day: it is noon now
    ],
)
def test_the_week_has_seven_days(client, board, days, told):
    """From today to the last minute of the seventh day."""
    board.policies = [scene.status(next_due_at=T0 + days)]
    answer, outline = read(client)
    assert ('class="week"' in answer.text) == told
    assert ("Nothing becomes due. The next is due in 6d 12h" in outline.text) == (not told)


def test_a_full_day_is_shortened(client, board):
    """A few names in the open, the others behind a line that counts them."""
    board.policies = [
        scene.status(f"p-{n}", next_due_at=T0 + timedelta(hours=1, minutes=n)) for n in range(NAMES_SHOWN + 3)
    ]
    answer, outline = read(client)
    assert outline.tags.count("details") == 1
    assert "and 3 more" in outline.text
    assert answer.text.count('href="/policies/p-7"') == 2


def test_many_troubles_are_all_there(client, board):
    """Twenty in the open, the others behind a line; none is left out."""
    board.policies = [
        scene.status(f"p-{n}", attention=(scene.attention(f"p-{n}"),)) for n in range(NOTICES_SHOWN + 1)
    ]
    answer, outline = read(client)
    assert outline.tags.count("article") == NOTICES_SHOWN + 1
    assert answer.text.count("<details>") == 1


def test_the_tiles_lead_to_what_they_count(client, board):
    """A number that is not zero is a link to its part of the page; what is held is counted only if something is."""
    board.policies = scene.many(8)
    answer, outline = read(client)
    targets = [v for tag, name, v in outline.attributes if (tag, name) == ("a", "href") and v.startswith("#")]
    assert targets == ["#content", "#attention", "#working", "#overdue", "#coming", "#policies", "#policies"]
    board.policies = scene.one_policy()
    answer, _ = read(client)
    assert re.findall(r"<b>(\d+)</b> ([a-z ]+)", answer.text) == [
        ("0", "need attention"),
        ("0", "in progress"),
        ("0", "overdue"),
        ("0", "due in seven days"),
        ("1", "policy"),
    ]


def test_style_is_the_one_that_the_policy_allows(client, board):
    """One inline sheet by its hash; no script, no form, no other origin, no inline attribute."""
    board.policies = scene.many(8)
    answer, outline = read(client)
    style = re.search("<style>(.*?)</style>", answer.text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"style-src 'sha256-{digest}'"
    )
    assert not {"script", "form", "img", "iframe", "link", "input", "object"} & set(outline.tags)
    assert not [name for _, name, _ in outline.attributes if name.startswith("on") or name == "style"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("field", ["name", "reason", "state", "last_outcome", "owner", "strategy", "project"])
def test_text_from_a_policy_is_escaped(client, board, field):
    """Whatever it holds stays text."""
    board.policies = [
        scene.status(**{field: HOSTILE, "overdue": True}),
        scene.status(**{field: HOSTILE, "attention": (scene.attention("x"),)}),
        scene.with_rotation(scene.draining(), **{field: HOSTILE}),
    ]
    answer, outline = read(client)
    assert (HOSTILE in outline.text) == (field not in ("strategy", "project"))
    assert "<script" not in answer.text
    assert not {"script", "img"} & set(outline.tags)


@pytest.mark.parametrize("field", ["code", "message", "next"])
def test_text_of_an_attention_is_escaped(client, board, field):
    """Also between backticks, and where it is not even Unicode."""
    board.policies = [scene.status(attention=(scene.attention("x", **{field: f"`{HOSTILE}` \ud800"}),))]
    _, outline = read(client)
    assert HOSTILE in outline.text
    assert not {"script", "img"} & set(outline.tags)


def test_text_cannot_turn_or_blank_the_page(client, board):
    """Control characters show as what they are, and what turns the writing direction ends with its text."""
    board.policies = [scene.status(owner="a\x00b\x1b[31m\x9b\u202ec")]
    answer, outline = read(client)
    assert "a\\x00b\\x1b[31m\\x9b" in outline.text
    assert "<bdi>a\\x00b" in answer.text


def test_a_secret_in_a_message_is_blanked(client, board):
    """Whoever put it there: the page is scrubbed as a whole, also where HTML writes a secret differently."""
    secret = Secret("a-page's <secret> & more")
    board.policies = [scene.status(attention=(scene.attention("x", message=f"got {secret.reveal()}"),))]
    _, outline = read(client)
    assert secret.reveal() not in outline.text
    assert "got [secret]" in outline.text


def test_a_lone_backtick_is_no_quotation(client, board):
    """Of an odd number the last one is text."""
    board.policies = [scene.status(attention=(scene.attention("x", message="it`s `here` and ` there"),))]
    answer, outline = read(client)
    assert "it" in outline.text
    assert answer.text.count("<code>s </code>") == 1
    assert "here` and ` there" not in answer.text


@pytest.mark.parametrize("count", [0, 1, 500])
def test_any_number_of_policies(client, board, count):
    """None, one, many: a row for each."""
    board.policies = scene.many(count)
    _, outline = read(client)
    assert outline.tags.count("tr") == (count + 1 if count else 0)
    assert ("There are no policies" in outline.text) == (count == 0)


def test_a_policy_of_which_nothing_is_known(client, board):
    """Dashes, not guesses."""
    board.policies = [
        scene.status(
            state="unknown",
            token_generated_at=None,
            age_seconds=None,
            next_due_at=None,
            last_outcome=None,
            last_outage=None,
            owner=None,
        )
    ]
    answer, _ = read(client)
    assert answer.text.count("<span>-</span>") == 4


def test_an_outage_without_an_upper_bound(client, board):
    """Nobody knows when it ended: at least so long."""
    board.policies = [scene.status(last_outage=Bounds(12.5, float("inf")))]
    _, outline = read(client)
    assert "12.5 s or more" in outline.text
