"""What answers mean, apart from how they come."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.http_client import Answer
from rotator.provider.answers import (
    LONGEST_WAIT,
    QUOTE_LIMIT,
    complaint,
    minted,
    page,
    project_facts,
    rate_notice,
    request_id,
)
from rotator.secret import Secret

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DATE = "Sat, 21 Nov 2026 12:00:00 GMT"


def made(status=200, content=None, **headers):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 0.1)


@pytest.mark.parametrize(
    ("content", "quoted"),
    [
        ({"error": {"code": "FORBIDDEN", "message": "Missing ability.", "details": {"x": 1}}}, "FORBIDDEN: Missing ability."),
        ({"message": "Unauthenticated."}, "Unauthenticated."),
        ({"message": "Invalid.", "errors": {"to": ["Required.", "More."], "from": ["Bad."]}}, "Invalid.: to: Required.; from: Bad."),
        ({"message": "Required.", "errors": {"to": ["Required."]}}, "Required."),
        ({"error": "DailyLimitExceeded"}, "DailyLimitExceeded"),
        ({"error": {"message": "Only this."}}, "Only this."),
        ({"error": "not a code, but a sentence"}, ""),
        ({"detail": "an unknown field"}, ""),
        ({"message": {"nested": 1}, "error": 5, "errors": [1]}, ""),
        ({"errors": {"to": [], "from": 7, "two words": ["x"]}}, ""),
        (b"<html>A proxy's page</html>", ""),
        ([], ""),
    ],
)  # fmt: skip
def test_complaint(content, quoted):
    """Only the documented fields of the four shapes of an error are quoted."""
    assert complaint(made(422, content)) == quoted


@pytest.mark.parametrize(("length", "shown"), [(QUOTE_LIMIT, QUOTE_LIMIT), (QUOTE_LIMIT + 1, QUOTE_LIMIT)])
def test_complaint_is_cut(length, shown):
    """A long reason is cut to the limit, and shows that it was."""
    text = complaint(made(422, {"message": "x" * length}))
    assert len(text) == shown
    assert text.endswith("…") == (length > shown)


def test_complaint_is_clean():
    """Control characters become spaces, so no answer writes a log line or a colour of its own."""
    assert complaint(made(422, {"message": "a\r\n\x1b[31mb\u202ec\u0000"})) == "a [31mb c"


def test_complaint_is_scrubbed_before_it_is_cut():
    """A token that lies across the cut is removed whole."""
    token = "lm_" + "Z" * 32
    Secret(token)
    text = complaint(made(422, {"message": "x" * (QUOTE_LIMIT - 10) + token}))
    assert "ZZ" not in text


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        (429, "0", 1),
        (429, "1", 1),
        (429, " 17 ", 17),
        (429, "Sat, 21 Nov 2026 12:00:30 GMT", 30),
        (429, "Sat, 21 Nov 2026 11:00:00 GMT", 1),
        (429, "99999999", LONGEST_WAIT),
        (429, "9" * 40, 60),
        (429, "-5", 60),
        (429, "soon", 60),
        (503, "0", 0),
        (503, "12", 12),
        (503, "soon", None),
        (200, "12", None),
        (404, "12", None),
    ],
)
def test_retry_after(status, value, expected):
    """`Retry-After` is seconds or a date, on 429 and 5xx; nonsense is bounded or left aside."""
    assert rate_notice(made(status, retry_after=value, date=DATE), NOW).retry_after == expected


@pytest.mark.parametrize(("reset", "expected"), [(1, 1), (41, 41), (-30, 1), (9000, 60)])
def test_too_many_without_retry_after(reset, expected):
    """A 429 without `Retry-After` waits for the end of its window, a minute at most."""
    at = str(int(NOW.timestamp()) + reset)
    assert rate_notice(made(429, x_ratelimit_reset=at), NOW).retry_after == expected


def test_the_other_clock():
    """Moments are taken relative to the answer's own date, however wrong our clock is."""
    at = str(int(NOW.timestamp()) + 20)
    answer = made(200, x_ratelimit_remaining="3", x_ratelimit_reset=at, date=DATE)
    for ours in (NOW.replace(year=2020), NOW, NOW.replace(year=2030)):
        notice = rate_notice(answer, ours)
        assert (notice.remaining, notice.resets_in, notice.retry_after) == (3, 20, None)


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "\u0663"])
def test_unreadable_rate(value):
    """A rate that is no number is not there."""
    notice = rate_notice(made(200, x_ratelimit_remaining=value, x_ratelimit_reset=value), NOW)
    assert (notice.remaining, notice.resets_in) == (None, None)


def test_request_id_order():
    """The first of the three usual headers is the request id; without one there is none."""
    assert request_id(made(cf_ray="c-1", x_request_id="x-1", request_id="r-1")) == "x-request-id=x-1"
    assert request_id(made(cf_ray="c-1", x_request_id="not one")) == "cf-ray=c-1"
    assert request_id(made()) == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "id", "error", "errors", "message", "code", "new_token", "next_cursor", "to"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values | st.binary(max_size=40), st.sampled_from([200, 401, 429, 500]), st.text(max_size=12))
def test_nothing_makes_a_reader_fail(content, status, header):
    """Whatever a body or a header holds, the readers answer and do not raise."""
    answer = made(status, content, retry_after=header, date=header, x_ratelimit_reset=header, cf_ray=header)
    assert len(complaint(answer)) <= QUOTE_LIMIT
    rate_notice(answer, NOW)
    request_id(answer)
    for reader in (project_facts, minted, page):
        reader(answer)
