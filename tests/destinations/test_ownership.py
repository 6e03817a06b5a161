"""The rule of what we may write, as a table."""

from __future__ import annotations

import pytest

from rotator.destinations.base import (
    Content,
    DestinationRefused,
    Ownership,
    Reading,
    classify,
    foreign,
    may_write,
)
from rotator.secret import Secret

OURS, THEIRS = "project-ours", "project-theirs"
TOKEN = Secret("lm_" + "A" * 32)
DIFFERENT = Secret("lm_" + "B" * 32)
FOREIGN = Secret("hunter2-not-a-token")


def ask(content, value=None, *, overwrite=False, known=None, alive=None, authoritative=None):
    """The answer; `alive` None means that asking would be a mistake."""

    def look():
        assert alive is not None, "the token was pinged without need"
        return alive

    return may_write(
        Reading(content, "v1", value),
        overwrite=overwrite,
        known_project=known,
        project_ids=(OURS,),
        alive=look,
        authoritative=authoritative,
    )


@pytest.mark.parametrize("content", [Content.MISSING, Content.EMPTY])
@pytest.mark.parametrize("overwrite", [False, True])
def test_where_nothing_is_we_may_write(content, overwrite):
    """A missing or empty field is ours, without any question asked."""
    answer = ask(content, overwrite=overwrite)

    assert (answer.ours, answer.adopted) == (True, False)


@pytest.mark.parametrize("authoritative", [None, TOKEN, DIFFERENT])
def test_what_the_journal_knows_as_ours_is_ours(authoritative):
    """A token of this policy's project is ours whatever the other destinations hold, and is no adoption."""
    answer = ask(Content.TOKEN, TOKEN, known=OURS, authoritative=authoritative)

    assert (answer.ours, answer.adopted) == (True, False)


@pytest.mark.parametrize(("overwrite", "ours"), [(False, False), (True, True)])
def test_a_token_of_another_project_needs_overwrite(overwrite, ours):
    """What the journal knows for another project is refused with that project's name."""
    answer = ask(Content.TOKEN, TOKEN, known=THEIRS, overwrite=overwrite)

    assert answer.ours is ours
    assert ours or THEIRS in answer.reason


@pytest.mark.parametrize(
    ("authoritative", "alive", "overwrite", "ours"),
    [
        (None, None, False, True),
        (TOKEN, None, False, True),
        (DIFFERENT, False, False, True),
        (DIFFERENT, True, False, False),
        (DIFFERENT, True, True, True),
    ],
    ids=["authoritative-itself", "the-same-token", "dead", "alive-and-different", "alive-but-overwrite"],
)
def test_an_unknown_token_is_adopted_unless_it_lives_and_differs(authoritative, alive, overwrite, ours):
    """Only a living token that the authoritative destination does not hold is somebody else's."""
    answer = ask(Content.TOKEN, TOKEN, alive=alive, authoritative=authoritative, overwrite=overwrite)

    assert (answer.ours, answer.adopted) == (ours, ours)


@pytest.mark.parametrize(("overwrite", "ours"), [(False, False), (True, True)])
def test_anything_else_needs_overwrite(overwrite, ours):
    """A value that is no project token is replaced only where the policy says so."""
    answer = ask(Content.FOREIGN, FOREIGN, overwrite=overwrite)

    assert (answer.ours, answer.adopted) == (ours, ours)


def test_the_refusal_says_what_to_do_and_not_what_is_there():
    """The error names the place, the reason and the way out, never the value."""
    answer = ask(Content.FOREIGN, FOREIGN)
    error = foreign("secret prod/x", answer)

    assert isinstance(error, DestinationRefused)
    assert "secret prod/x" in str(error)
    assert "overwrite: true" in str(error)
    assert FOREIGN.reveal() not in str(error)
    assert answer == Ownership(False, answer.reason)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (None, Content.MISSING),
        ("", Content.EMPTY),
        (" \n", Content.EMPTY),
        ("lm_" + "a" * 22, Content.TOKEN),
        ("lm_" + "a" * 32, Content.TOKEN),
        ("lm_team_" + "a" * 32, Content.FOREIGN),
        ("lm_", Content.FOREIGN),
        ("x" + "lm_" + "a" * 22, Content.FOREIGN),
        ("lm_" + "a" * 22 + "\n", Content.FOREIGN),
        ("{}", Content.FOREIGN),
    ],
)
def test_classification(text, content):
    """The shape of a project token is exact: prefix, letters and digits, nothing around them."""
    assert classify(text) is content
