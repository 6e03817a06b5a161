"""One field of a text is found and replaced, and nothing else moves."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.destinations.base import Content, DestinationRefused
from rotator.destinations.document import ENV, JSON, Field, Malformed, empty_text, get_field, put_field

TOKEN = "lm_" + "N" * 32
MARK = "canary" + "5ecret" * 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"k": "v"}', "v"),
        ('{"a": {"k": "inner"}, "k": "outer"}', "outer"),
        ('{"a": 1}', None),
        ('{"k": null}', None),
        ('{"k": ""}', ""),
        ('{"k": 5}', "5"),
        ('{"k": ["v"]}', '["v"]'),
        ('{"k": "\\u00e9"}', "é"),
        ('{"k": "\\ud800"}', '"\\ud800"'),
        ('{"\\u006b": "v"}', "v"),
        ("", None),
        (" \n", None),
        ("{}", None),
    ],
)
def test_json_value(text, value):
    """A text is its value, null and nothing are None, and anything else is its own JSON."""
    assert get_field(text, "k", JSON) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"k": "v"}', '{"k": "T"}'),
        ('{"b":1.50,"k":null,"a":1e5}', '{"b":1.50,"k":"T","a":1e5}'),
        ('{\n\t"a" : "\\u00e9",\n\t"k" : {"x": 1}\n}\n', '{\n\t"a" : "\\u00e9",\n\t"k" : "T"\n}\n'),
        ('{"a": 1}', '{"a": 1, "k": "T"}'),
        ('{"a":1,"b":2}', '{"a":1,"b":2,"k":"T"}'),
        ('{\n  "a": 1\n}', '{\n  "a": 1,\n  "k": "T"\n}'),
        ('{\n  "a": 1,\n  "b": 2\n}\n', '{\n  "a": 1,\n  "b": 2,\n  "k": "T"\n}\n'),
        ("{}", '{"k": "T"}'),
        ("{ }\n", '{"k": "T"}\n'),
        ("", '{"k": "T"}'),
        ("\n", '{"k": "T"}\n'),
    ],
)
def test_json_replacement(text, expected):
    """Only the value's own characters change; a new field looks like its neighbours."""
    assert put_field(text, "k", JSON, "T") == expected


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "{",
        '{"k": }',
        '{"k" "v"}',
        '{"k": "v",}',
        '{"k": "v"} x',
        '{"k": NaN}',
        "{1: 2}",
        "[1]",
        '"k"',
        "5",
        "null",
        '\ufeff{"k": "v"}',
        '{"k": "a", "k": "b"}',
        '{"\\u006b": "a", "k": "b"}',
        '{"x": 1, "x": 2, "k": "v"}',
        '{"x": [{"y": 1, "y": 2}], "k": "v"}',
        '{"k": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda text: text[:24],
)
@pytest.mark.parametrize("work", [lambda t: get_field(t, "k", JSON), lambda t: put_field(t, "k", JSON, "T")])
def test_json_that_is_none_or_ambiguous_is_refused(text, work):
    """What is no object, or says a thing twice, is neither read nor written."""
    with pytest.raises(Malformed):
        work(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    fields=st.dictionaries(st.text(), JSON_VALUES, max_size=5),
    key=st.text(),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    ascii_only=st.booleans(),
)
def test_json_keeps_every_other_field(fields, key, indent, ascii_only):
    """For any object: our field reads back, and all others keep value and order."""
    text = json.dumps(fields, indent=indent, ensure_ascii=ascii_only)
    changed = put_field(text, key, JSON, TOKEN)

    assert get_field(changed, key, JSON) == TOKEN
    expected = {**fields, key: TOKEN}
    assert list(json.loads(changed).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("K=v\n", "v"),
        ("K=v", "v"),
        ("  export K = v \r\n", "v"),
        ('K="v w" # c\n', "v w"),
        ('K="a\\"b"\n', 'a"b'),
        ("K='v'\n", "v"),
        ("K=v # comment\n", "v"),
        ("K=v#no-comment\n", "v#no-comment"),
        ("K=#no-comment\n", "#no-comment"),
        ("K= # comment\n", ""),
        ("K=\n", ""),
        ('K=""\n', ""),
        ('K="a"b\n', '"a"b'),
        ("#K=v\n", None),
        ("XK=v\nKX=v\n", None),
        ("K\nexport K\n", None),
        ("", None),
        ("A='x\n# no\n'\nK=v\n", "v"),
        ('A="never closed\nK=v\n', "v"),
    ],
)
def test_env_value(text, value):
    """Quotes, `export`, spaces and comments are understood."""
    assert get_field(text, "K", ENV) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nK=v\nB=2\n", "A=1\nK=T\nB=2\n"),
        ('# c\n\n  export K = "v"  # c\n', '# c\n\n  export K = "T"  # c\n'),
        ("K='v'\r\nB=2\r\n", "K='T'\r\nB=2\r\n"),
        ("K=v # c", "K=T # c"),
        ("K= # c\n", "K=T # c\n"),
        ("K=\n", "K=T\n"),
        ('K="a"b\n', "K=T\n"),
        ("A=1\n", "A=1\nK=T\n"),
        ("A=1", "A=1\nK=T\n"),
        ("A=1\r\n", "A=1\r\nK=T\r\n"),
        ("export A=1\n# c\n", "export A=1\n# c\nexport K=T\n"),
        ("export A=1\nB=2\n", "export A=1\nB=2\nK=T\n"),
        ("", "K=T\n"),
    ],
)
def test_env_replacement(text, expected):
    """One line changes or is added in the style of the file; all others stay."""
    assert put_field(text, "K", ENV, "T") == expected


@pytest.mark.parametrize(
    "text",
    [
        "K=a\nK=b\n",
        "K=a\nexport K=b\n",
        'K="a\nb"\n',
        "K='a\nb'\n",
        "K=a\\\nb\n",
        "A='\nK=v\n'\n",
        'A="\nK=v\n"\n',
        "A=x\\\nK=v\n",
        "\ufeffK=v\n",
    ],
)
@pytest.mark.parametrize("work", [lambda t: get_field(t, "K", ENV), lambda t: put_field(t, "K", ENV, "T")])
def test_env_that_two_readers_read_differently_is_refused(text, work):
    """Two definitions, or a value over several lines, have no one meaning."""
    with pytest.raises(Malformed):
        work(text)


@pytest.mark.parametrize("value", ["a b", "a'b", "a$b", "a\nb", "a`b", ""])
def test_env_takes_no_value_that_needs_quotes(value):
    """Dialects differ in quoting, so only what needs none is written."""
    with pytest.raises(Malformed):
        put_field("A=1\n", "K", ENV, value)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("v", "v", "T"),
        ("v\n", "v", "T\n"),
        (" v \r\n", "v", " T \r\n"),
        ("\n", "", "T\n"),
        ("", "", "T"),
    ],
)
def test_bare_text(text, value, expected):
    """Without a key the text is the value, and the white space around it stays."""
    assert get_field(text, None, None) == value
    assert put_field(text, None, None, "T") == expected


@pytest.mark.parametrize(("key", "form"), [("K", JSON), (None, None)])
def test_the_empty_text_holds_no_value(key, form):
    """What an empty secret is begun with is not zero bytes long, and reads as nothing."""
    text = empty_text(form)

    assert len(text) > 0
    assert Field(key, form, "x").reading(text, "v").content in (Content.MISSING, Content.EMPTY)
    assert put_field(text, key, form, TOKEN) == (f'{{"K": "{TOKEN}"}}' if key else TOKEN)


@pytest.mark.parametrize(
    ("key", "form", "text"),
    [
        ("k", JSON, f'{{"k": "{MARK}"'),
        ("k", JSON, f'{{"k": "{MARK}", "k": 1}}'),
        ("K", ENV, f"K={MARK}\nK={MARK}\n"),
    ],
)
def test_a_refusal_never_quotes_the_text(key, form, text):
    """Neither the message nor the traceback nor anything chained to it holds a part of the document."""
    with pytest.raises(DestinationRefused) as caught:
        Field(key, form, "secret prod/x").get(text)
    error: BaseException | None = caught.value
    assert "secret prod/x" in str(error)
    assert caught.value.remedy
    assert MARK not in "".join(traceback.format_exception(caught.value))
    while error is not None:
        assert MARK not in repr(error)
        assert MARK not in str(vars(error))
        error = error.__context__
