"""The tree of errors and the exit codes that follow from it."""

from __future__ import annotations

import re

import pytest

from rotator import errors
from rotator.errors import (
    Busy,
    Interrupted,
    InvalidInput,
    InvalidPolicies,
    NeedsAttention,
    Problem,
    RateLimited,
    RotatorError,
    combine_exit_codes,
    exit_code_of,
)

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, RotatorError)]


def documented() -> dict[str, tuple[str, str]]:
    """Name to parent and the text beside it, read from the drawing in the module's docstring."""
    found: dict[str, tuple[str, str]] = {}
    ancestors = [(-1, "RotatorError")]
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"([│ ]*)[├└]── (\w+) +(.*)", line)
        if match:
            depth = len(match[1])
            while ancestors[-1][0] >= depth:
                ancestors.pop()
            found[match[2]] = (ancestors[-1][1], match[3])
            ancestors.append((depth, match[2]))
    return found


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    """Every error stands in the drawing under its parent, and nothing else does."""
    drawn = {name: parent for name, (parent, _) in documented().items()}
    assert drawn == {one.__name__: one.__mro__[1].__name__ for one in CLASSES if one is not RotatorError}


@pytest.mark.parametrize("name", sorted(documented()))
def test_the_drawing_tells_the_exit_code(name: str) -> None:
    """Where the drawing names an exit code it is the class's own."""
    text = documented()[name][1]
    match = re.match(r"exit (\d+):", text)
    if match:
        assert getattr(errors, name).exit_code == int(match[1])
    else:
        parent = documented()[name][0]
        assert name == "Interrupted" or getattr(errors, name).exit_code == getattr(errors, parent).exit_code


def test_every_error_has_its_own_code() -> None:
    """Short names for logs and audit events are lower-case words, one per error."""
    codes = [one.code for one in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_an_error_speaks_in_sentences() -> None:
    """What happened, what happens next, what to do: each part ends once."""
    error = RotatorError("It broke", then="Nothing was changed.", remedy="Try `x`!")
    assert str(error) == "It broke. Nothing was changed. Try `x`!"
    assert str(RotatorError("It broke")) == "It broke."


def test_a_list_in_a_message_stays_a_list() -> None:
    """All problems of the policies come in file and line order, and no full stop stands on a line alone."""
    error = InvalidPolicies(
        [
            Problem("b.yaml", 2, "x", "bad"),
            Problem("a.yaml", 10, "y", "bad"),
            Problem("a.yaml", 9, "", "worse"),
        ]
    )
    assert str(error) == (
        "3 problems in the policies, nothing was done:\n"
        "  a.yaml:9: worse\n"
        "  a.yaml:10: y: bad\n"
        "  b.yaml:2: x: bad\n"
        " Mend them and try `rotator validate`."
    )
    assert str(InvalidPolicies([Problem("a.yaml", 0, "", "empty")])).startswith("1 problem in")


def test_extra_facts_travel_with_the_error() -> None:
    """How long to wait, and which attention to raise, are fields and not words."""
    assert RateLimited("Slow down", retry_after=2.5).retry_after == 2.5
    assert NeedsAttention("orphan", "Look").attention == "orphan"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 2),
        (Busy("x"), 5),
        (Interrupted(2), 130),
        (Interrupted(15), 143),
        (KeyError("x"), 1),
    ],
)
def test_exit_code_of_one_error(error: BaseException, code: int) -> None:
    """An error alone decides the exit code; a signal adds 128; anything unforeseen is 1."""
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("codes", "combined"),
    [
        ([], 0),
        ([0], 0),
        ([0, 0], 0),
        ([6, 6], 6),
        ([1, 1, 1], 1),
        ([0, 1], 3),
        ([5, 6], 3),
        ([0, 4], 4),
        ([1, 2, 4, 6], 4),
        ([4], 4),
        ([0, 130], 130),
        ([143, 1], 143),
    ],
)
def test_exit_code_of_several_rotations(codes: list[int], combined: int) -> None:
    """Any 4 makes 4; all alike make that code; otherwise 3; a signal stands above all."""
    assert combine_exit_codes(codes) == combined
