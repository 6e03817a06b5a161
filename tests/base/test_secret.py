"""The secret type and the scrubber."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import re
import threading
import traceback
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rotator.secret import MASK, Fingerprinter, Secret, _Scrubber, derive_key, key_check, scrub

PROJECT = "lm_" + "A1b2" * 8
TEAM = "lm_team_" + "Z9y8" * 10

# Text that every encoder treats differently, and text that none touches.
AWKWARD = st.text(
    st.one_of(st.sampled_from("\"'\\/%+&<> \n\t=:@?#!$()*,;éß€😀\x00\x1b"), st.characters()),
    min_size=8,
    max_size=40,
)
PLAIN = st.text("abcXYZ0189_-.~", min_size=8, max_size=40)
VALUES = st.one_of(AWKWARD, PLAIN)
NEIGHBOURS = st.text(st.sampled_from("abC09\"'\\/%+&<> =:{}é\n"), max_size=12)


def scrubber_of(*values: str) -> _Scrubber:
    scrubber = _Scrubber()
    for value in values:
        scrubber.add(value)
    return scrubber


def longest_shared(text: str, value: str) -> int:
    """Length of the longest piece of the value that is still readable in the text."""
    longest = 0
    for start in range(len(value)):
        while start + longest < len(value) and value[start : start + longest + 1] in text:
            longest += 1
    return longest


def test_a_secret_shows_nothing() -> None:
    """No way of turning a secret into text, short of `reveal`, shows its value."""
    secret = Secret(PROJECT)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>50}",
        "%s" % secret,  # noqa: UP031  # the oldest way is one of the ways
        repr([secret]),
    ]
    assert not [text for text in shown if PROJECT[3:] in text]
    assert secret.reveal() == PROJECT


def test_a_secret_stays_in_the_process() -> None:
    """A secret can be neither pickled, copied nor serialized."""
    secret = Secret(PROJECT)
    for take in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as raised:
            take(secret)
        assert PROJECT not in str(raised.value)


def test_secrets_are_equal_by_value() -> None:
    """Two secrets of one value are equal and hash alike; text is never equal to a secret."""
    assert Secret("same value") == Secret("same value")
    assert hash(Secret("same value")) == hash(Secret("same value"))
    assert Secret("one value") != Secret("other value")
    assert Secret("same value") != "same value"
    assert len({Secret("same value"), Secret("same value"), Secret("other one")}) == 2


def test_an_empty_secret_is_false() -> None:
    """Truth is that of the value."""
    assert not Secret("")
    assert Secret("x")


@pytest.mark.parametrize(
    ("value", "project", "team"),
    [
        (PROJECT, True, False),
        ("lm_" + "a" * 22, True, False),
        ("lm_a", True, False),
        ("lm_", False, False),
        (TEAM, False, True),
        ("lm_team_", False, False),
        ("lm_sso_" + "a" * 32, False, False),
        (PROJECT + "\n", False, False),
        (" " + PROJECT, False, False),
        ("LM_" + "a" * 32, False, False),
        ("lm_" + "a" * 31 + "é", False, False),
    ],
)
def test_token_shapes(value: str, project: bool, team: bool) -> None:
    """The vendor's formats are told apart to the character."""
    assert (Secret(value).is_project_token, Secret(value).is_team_token) == (project, team)


def test_a_value_that_is_no_utf8_is_a_value_like_any_other() -> None:
    """Undecodable bytes from the environment (lone surrogates) raise nowhere."""
    odd = Secret("pass\udce9word1")
    assert odd == Secret("pass\udce9word1")
    assert {odd: 1}[Secret("pass\udce9word1")] == 1
    assert Fingerprinter(odd).of(odd).startswith("fp_")
    assert "word1" not in scrub("x pass\udce9word1 y")


def test_fingerprints_are_keyed() -> None:
    """The fingerprint is fixed by key and token, short, and different under another key."""
    one, other = Fingerprinter(Secret("key one")), Fingerprinter(Secret("key two"))
    assert one.of(Secret(PROJECT)) == one.of(Secret(PROJECT))
    assert one.of(Secret(PROJECT)) != one.of(Secret(TEAM))
    assert one.of(Secret(PROJECT)) != other.of(Secret(PROJECT))
    assert len(one.of(Secret(PROJECT))) == 23
    assert scrub(one.of(Secret(PROJECT))) == one.of(Secret(PROJECT))


def test_a_fingerprint_never_changes_between_versions() -> None:
    """The value is written into journals and audit logs, so it is fixed here once and for all."""
    key = Secret("0123456789abcdef" * 4)
    assert Fingerprinter(key).of(Secret("lm_" + "A" * 32)) == "fp_" + EXPECTED_FINGERPRINT
    assert key_check(key) == EXPECTED_CHECK


EXPECTED_FINGERPRINT = "4f9b746fa4f4555a6885"
EXPECTED_CHECK = "93c2dc2d97b949ef3f5f578a43bc7ca8"


def test_each_purpose_has_its_own_key() -> None:
    """The check value tells nothing about the keys of chain and fingerprints."""
    key = Secret("the one key")
    purposes = ["rotator audit chain v1", "rotator fingerprint v1", "rotator key check v1"]
    assert len({derive_key(key, purpose) for purpose in purposes}) == 3
    assert key_check(key) != key_check(Secret("another key"))


def test_a_secret_is_scrubbed_from_the_moment_it_exists() -> None:
    """Making a secret registers it; nothing else needs to be called."""
    value = "made-" + "up-value-17"
    assert value in scrub(f"before {value}")
    Secret(value)
    assert scrub(f"after {value}!") == f"after {MASK}!"


@pytest.mark.parametrize(
    "text", [PROJECT[:23], PROJECT, TEAM[:28], TEAM, "lm_sso_" + "a" * 40, "whsec_" + "ab12CD34"]
)
def test_anything_token_shaped_is_scrubbed(text: str) -> None:
    """Tokens that this process has never seen are scrubbed by their shape."""
    assert _Scrubber().scrub(f"({text})") == f"({MASK})"


@pytest.mark.parametrize(
    "text",
    [
        "lm_short",
        "lm_" + "a" * 19,
        "lm_team_" + "a" * 19,
        "lm_the_name_of_a_long_function",
        "whsec_short",
        "film_reviews are fine",
        "fp_" + "0" * 20,
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    """What is too short to be a token is left alone."""
    assert _Scrubber().scrub(text) == text


def test_short_values_do_not_blank_out_words() -> None:
    """Seven characters are not scrubbed, eight are."""
    scrubber = scrubber_of("seven77", "eight888")
    assert scrubber.scrub("seven77 eight888") == f"seven77 {MASK}"


@settings(max_examples=200, deadline=None)
@given(VALUES, NEIGHBOURS, NEIGHBOURS)
@example("it's 'mine'", '"', '"')
@example('say "hello"', "'", "")
def test_every_written_form_is_scrubbed(value: str, before: str, after: str) -> None:
    """Whatever stands around it, the value is gone from text, JSON, Python, URL and HTML forms."""
    assume(longest_shared(MASK, value) < 4 and longest_shared(before + MASK + after, value) < 6)
    scrubber = scrubber_of(value)
    whole = before + value + after
    raw = whole.encode("utf-8", "surrogatepass")
    written = {
        "text": whole,
        "json": json.dumps(whole),
        "json, not ASCII": json.dumps(whole, ensure_ascii=False),
        "json, slashes escaped": json.dumps(whole).replace("/", "\\/"),
        "json in json": json.dumps(json.dumps(whole)),
        "repr": repr(whole),
        "repr of bytes": repr(raw),
        "repr in a dict": repr({"key": whole}),
        "html": html.escape(whole),
        "quote": quote(raw, safe=""),
        "quote, slashes kept": quote(raw),
        "quote_plus": quote_plus(raw),
        "lower-case hex": re.sub("%..", lambda found: found[0].lower(), quote(raw, safe="")),
        "form": urlencode({"key": raw}),
    }
    for name, text in written.items():
        assert MASK in scrubber.scrub(text), name


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(VALUES, st.from_regex(r"lm_[0-9A-Za-z]{22,32}", fullmatch=True)),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_base64_is_scrubbed_at_every_alignment(value: str, before: bytes, after: bytes) -> None:
    """Base64 keeps no character that the value alone decides, whatever stands before and after it."""
    scrubber = scrubber_of(value)
    raw = value.encode("utf-8", "surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + raw + after).decode()
        left = scrubber.scrub(encoded)
        assert MASK in left
        kept = len(left) - len(MASK) * left.count(MASK)
        before_it = -(-len(before) * 4 // 3)
        after_it = len(encoded) - (len(before) + len(raw)) * 4 // 3
        assert kept <= before_it + after_it


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), NEIGHBOURS)
def test_scrubbing_twice_changes_nothing_more(values: list[str], between: str) -> None:
    """The scrubbed text holds nothing that would be scrubbed, unless a value is a piece of the mask."""
    assume(all(longest_shared(MASK + between + MASK, value) < len(value) for value in values))
    scrubber = scrubber_of(*values)
    once = scrubber.scrub(between.join(values))
    assume(not any(value in once for value in values))
    assert scrubber.scrub(once) == once


def test_text_without_secrets_is_untouched() -> None:
    """Scrubbing is the identity on text that holds none."""
    scrubber = scrubber_of("a secret value", PROJECT)
    for text in ("", "short", "a secret valu", "policy billing-production rotated in 0.412 s", "é" * 100):
        assert scrubber.scrub(text) == text


def test_secrets_within_and_across_one_another_are_all_gone() -> None:
    """A secret inside a longer one, and two that overlap, leave no readable rest."""
    scrubber = scrubber_of("password1234", "postgresql://u:password1234@db/x", "1234@db/x-and-more")
    assert scrubber.scrub("to postgresql://u:password1234@db/x now") == f"to {MASK} now"
    assert scrubber.scrub("password1234@db/x-and-more") == MASK
    assert scrubber.scrub("only password1234 here") == f"only {MASK} here"


def test_smtp_and_basic_authentication_are_scrubbed() -> None:
    """The two places where a token travels as base64 in practice."""
    scrubber = scrubber_of(PROJECT)
    for plain in (f"\0lettermint\0{PROJECT}", f"lettermint:{PROJECT}", f"u:{PROJECT}", PROJECT):
        left = scrubber.scrub(base64.b64encode(plain.encode()).decode())
        assert MASK in left
        assert (
            longest_shared(left, base64.b64encode(plain.encode()).decode()) <= len(plain) - len(PROJECT) + 4
        )


def test_a_traceback_is_scrubbed() -> None:
    """A formatted exception chain that holds the token in its messages loses it."""
    secret = Secret(PROJECT)
    try:
        try:
            raise ValueError(f"bad {secret.reveal()}")
        except ValueError as error:
            raise RuntimeError(repr(secret.reveal())) from error
    except RuntimeError as error:
        text = "".join(traceback.format_exception(error))
    assert PROJECT in text
    assert PROJECT not in scrub(text)


def test_scrubbing_stays_fast_with_many_secrets() -> None:
    """A text is compared with an index, so a thousand secrets do not slow down each line: at most 200 forms
    are ever looked at for a line in which only one secret stands."""
    scrubber = scrubber_of(
        *(f"lm_{number:032d}" for number in range(2000)), *(f"{number:05d}-pass" for number in range(2000))
    )
    looked_at = [len(scrubber._forms.get("step don"[:8], ())), len(scrubber._forms.get("01234-pa", ()))]
    assert looked_at[0] == 0
    assert 1 <= looked_at[1] <= 200
    assert scrubber.scrub("step done 01234-pass") == f"step done {MASK}"


def test_secrets_may_be_added_while_others_scrub() -> None:
    """Threads that make secrets and threads that log do not disturb one another."""
    scrubber = _Scrubber()
    failures: list[str] = []

    def work(worker: int) -> None:
        for number in range(200):
            value = f"value-{worker}-{number:04d}"
            scrubber.add(value)
            if value in scrubber.scrub(f"<{value}>"):
                failures.append(value)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
