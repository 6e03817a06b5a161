"""A rotation as inline SVG. All measures across are parts of the width, so that it fits a telephone and a
wall; colours are the style sheet's, by class."""

from __future__ import annotations

from typing import Final

from rotator.http.pages.markup import Html, element
from rotator.http.pages.timeline import Column, Lane, Span, Timeline

_STEPS: Final = 32
"""Where the row of steps begins, in pixels from the top; above it stand their names."""
_BAR: Final = 12
_LANE: Final = 34
"""From one token's lane to the next."""
_FIRST: Final = _STEPS + _BAR + 12
_LEAST: Final = 0.004
"""Part of the width: what is shorter would not be seen."""


def drawn(what: Timeline, said: str, name: str) -> Html:
    """The drawing. `said` tells the same in words, for who does not see it; `name` is unique on the page."""
    under = _under(what)
    height = _FIRST + len(what.lanes) * _LANE + (18 if under else 4)
    bottom = _FIRST + len(what.lanes) * _LANE - 4
    return element(
        "svg",
        element("title", said, id=name),
        *(_band(span, kind, bottom) for span, kind in ((what.overlap, "overlap"), (what.outage, "outage"))),
        *(
            part
            for number, column in enumerate(what.columns)
            for part in _step(column, _number(what, number))
        ),
        *(part for number, lane in enumerate(what.lanes) for part in _lane(lane, number)),
        *under,
        class_="timeline",
        role="img",
        aria_labelledby=name,
        width="100%",
        height=height,
    )


def progress(place: int, steps: int) -> Html:
    """How far a rotation has come, as small squares; what stands beside them says it in words."""
    squares = (
        element(
            "rect",
            x=number * 12,
            y=0,
            width=10,
            height=10,
            rx=2,
            class_="s-done" if number + 1 < place else "s-now" if number + 1 == place else "s-ahead",
        )
        for number in range(steps)
    )
    return element("svg", *squares, class_="progress", width=steps * 12, height=10, aria_hidden="true")


def _number(what: Timeline, index: int) -> int:
    """Steps count from one; pauses do not count."""
    return sum(1 for column in what.columns[: index + 1] if column.name)


def _step(column: Column, number: int) -> tuple[Html, ...]:
    boxes = [_box(column.left, column.right, "pause" if len(column.attempts) > 1 else column.outcome)]
    if len(column.attempts) > 1:
        boxes += [
            _box(column.place(attempt.start), column.place(attempt.end), attempt.outcome)
            for attempt in column.attempts
        ]
    if not column.name:
        return tuple(boxes)
    middle = _percent((column.left + column.right) / 2)

    def label(word: str, line: int, kind: str) -> Html:
        y = _STEPS - 7 - 12 * line
        return element("text", word, x=middle, y=y, text_anchor="middle", class_=kind)

    # Two lines: side by side, whole names would fit on no screen.
    cut = max(column.name.find("-"), column.name.find("+")) + 1
    names = [label(column.name[cut:], 0, "wide")] + ([label(column.name[:cut], 1, "wide")] if cut else [])
    return (*boxes, *names, label(str(number), 0, "narrow"))


def _box(left: float, right: float, kind: str) -> Html:
    return element(
        "rect",
        x=_percent(left),
        y=_STEPS,
        width=_percent(max(_LEAST, right - left)),
        height=_BAR,
        class_=f"s-{kind}",
    )


def _lane(lane: Lane, number: int) -> tuple[Html, ...]:
    top = _FIRST + number * _LANE
    label = element("text", lane.label, x="0", y=top + 10)
    bars = (
        element(
            "rect",
            x=_percent(span.left),
            y=top + 15 + (3 if span.kind == "staged" else 0),
            width=_percent(max(_LEAST, span.right - span.left)),
            height=_BAR - (6 if span.kind == "staged" else 0),
            rx=2,
            class_=f"t-{lane.label.split()[0]} t-{span.kind}",
        )
        for span in lane.spans
    )
    return (label, *bars)


def _band(span: Span | None, kind: str, bottom: int) -> Html | None:
    if span is None:
        return None
    return element(
        "rect",
        x=_percent(span.left),
        y=_FIRST,
        width=_percent(max(_LEAST, span.right - span.left)),
        height=bottom - _FIRST + 6,
        class_=f"b-{kind}",
    )


def _under(what: Timeline) -> tuple[Html, ...]:
    """The names of the bands, each on the side where there is room."""
    line = _FIRST + len(what.lanes) * _LANE + 12
    told = []
    for span, label in ((what.overlap, "both live"), (what.outage, "outage")):
        if span is not None:
            at, anchor = (span.left, "start") if span.left < 0.5 else (span.right, "end")
            kind = f"l-{span.kind}"
            told.append(element("text", label, x=_percent(at), y=line, text_anchor=anchor, class_=kind))
    return tuple(told)


def _percent(part: float) -> str:
    return f"{100 * part:.2f}%"
