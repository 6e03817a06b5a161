"""The status page: one document, rendered here, read-only, without script. Everything in it is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from string import Template
from typing import Final

from starlette.responses import Response

from rotator import __version__, words
from rotator.clock import rfc3339
from rotator.http.answers import SECURITY_HEADERS
from rotator.model import Attention
from rotator.secret import scrub
from rotator.views import PolicyStatus

_URGENCY: Final = ("needs-attention", "unknown", "overdue", "running", "draining", "due", "held", "ok")

_STYLE: Final = """
:root{color-scheme:light dark;--ground:#f6f7f9;--paper:#fff;--ink:#1a1d21;--soft:#59616b;--line:#dde1e6;
--good:#17683a;--warn:#8a5300;--bad:#b3201b;--calm:#1f5a99;--code:#eef1f4}
@media (prefers-color-scheme:dark){:root{--ground:#14171a;--paper:#1c2024;--ink:#e6e8eb;--soft:#a0a8b1;
--line:#30363d;--good:#6fcf97;--warn:#f0b35a;--bad:#ff8a80;--calm:#82b8f2;--code:#2a3037}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 3rem}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;margin-bottom:1rem}
h1{font-size:1.35rem;margin:0}
h2{font-size:1.05rem;margin:2rem 0 .6rem}
p{margin:0}
.soft{color:var(--soft);font-size:.9rem;font-weight:400}
time{white-space:nowrap}
a{color:var(--calm)}
.verdict{font-size:1.1rem;font-weight:600}
.notice{background:var(--paper);border:1px solid var(--line);border-left:4px solid var(--bad);border-radius:6px;
padding:.8rem 1rem;margin:0 0 .75rem;overflow-wrap:anywhere}
.notice h3{font-size:1rem;margin:0 0 .3rem}
.next{margin-top:.4rem}
code{background:var(--code);border-radius:4px;padding:.1em .35em;font:.9em ui-monospace,monospace}
table{width:100%;border-collapse:collapse;background:var(--paper);border:1px solid var(--line)}
th,td{text-align:left;vertical-align:top;padding:.55rem .75rem;border-bottom:1px solid var(--line)}
thead th{font-size:.85rem;color:var(--soft);font-weight:600}
tbody th{font-weight:600;overflow-wrap:anywhere}
td{font-variant-numeric:tabular-nums}
.state{font-weight:600;white-space:nowrap}
.ok{color:var(--good)}.due,.running,.draining{color:var(--calm)}
.overdue,.held,.unknown{color:var(--warn)}.needs-attention,.failed{color:var(--bad)}
@media (max-width:45rem){
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td{display:block}
table{border:0;background:none}
tr{background:var(--paper);border:1px solid var(--line);border-radius:6px;margin-bottom:.75rem;padding:.4rem .9rem}
th,td{border:0;padding:.2rem 0}
td{display:grid;grid-template-columns:7.5rem 1fr}
td::before{content:attr(data-label);color:var(--soft);font-size:.9rem;font-weight:400}}
"""

_DOCUMENT: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header><h1>rotator</h1><p class="soft">as of <time datetime="$iso">$shown UTC</time> · version $version · \
<a href="/">look again</a></p></header>
<p class="verdict $tone">$verdict</p>
$notices
$policies
</main>
</body>
</html>
""")

_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY_OF_STYLE: Final = SECURITY_HEADERS["Content-Security-Policy"] + f"; style-src 'sha256-{_HASH}'"


def answer(statuses: Sequence[PolicyStatus], now: datetime) -> Response:
    """The page with its own content security policy: this one style sheet and nothing else."""
    return Response(
        render(statuses, now).encode("utf-8", "replace"),
        headers={"Content-Security-Policy": _POLICY_OF_STYLE},
        media_type="text/html; charset=utf-8",
    )


def render(statuses: Sequence[PolicyStatus], now: datetime) -> str:
    """The document; what needs attention comes first, then every policy, the urgent ones before the others."""
    waiting = [(one, attention) for one in statuses for attention in one.attention]
    waiting.sort(key=lambda pair: pair[1].since)
    verdict, tone = _verdict(statuses)
    text = _DOCUMENT.substitute(
        title=f"{verdict} - rotator",
        style=_STYLE,
        iso=rfc3339(now),
        shown=now.strftime("%Y-%m-%d %H:%M:%S"),
        version=escape(__version__),
        verdict=verdict,
        tone=tone,
        notices=_notices(waiting, now),
        policies=_table(statuses, now),
    )
    return scrub(text)


def _verdict(statuses: Sequence[PolicyStatus]) -> tuple[str, str]:
    if not statuses:
        return "There are no policies", "soft"
    troubled = sum(1 for one in statuses if one.attention)
    if troubled:
        needs = "needs" if troubled == 1 else "need"
        return f"{troubled} of {words.count(len(statuses), 'policy')} {needs} attention", "needs-attention"
    overdue = sum(1 for one in statuses if one.overdue)
    if overdue:
        return f"{overdue} of {words.count(len(statuses), 'policy')} overdue", "overdue"
    return f"{words.count(len(statuses), 'policy')}, nothing needs attention", "ok"


def _notices(waiting: Iterable[tuple[PolicyStatus, Attention]], now: datetime) -> str:
    shown = "\n".join(
        f'<section class="notice"><h3><bdi>{escape(one.name)}</bdi>: '
        f'<span class="needs-attention">{escape(attention.code)}</span></h3>'
        f"<p><bdi>{_text(attention.message)}</bdi></p>"
        f'<p class="next"><strong>Next:</strong> <bdi>{_text(attention.next)}</bdi></p>'
        f'<p class="soft">since {_moment(attention.since)}, {words.distance(attention.since, now)}</p></section>'
        for one, attention in waiting
    )
    return f"<h2>What needs attention</h2>\n{shown}" if shown else ""


def _table(statuses: Sequence[PolicyStatus], now: datetime) -> str:
    if not statuses:
        return ""
    heads = ("Policy", "State", "Token age", "Next due", "Last outcome", "Last outage")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "\n".join(_row(one, now, heads) for one in sorted(statuses, key=lambda one: _urgency(one.state)))
    return f"<h2>Policies</h2>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"


def _urgency(state: str) -> int:
    return _URGENCY.index(state) if state in _URGENCY else 0


def _row(one: PolicyStatus, now: datetime, heads: Sequence[str]) -> str:
    state = escape(one.state)
    cells = (
        f'<span class="state {state}">{state}</span>',
        words.length(one.age_seconds) if one.age_seconds is not None else "-",
        _due(one.next_due_at, now),
        escape(one.last_outcome or "-"),
        words.bounds(one.last_outage),
    )
    told = "".join(
        f'<td data-label="{name}"><span>{cell}</span></td>'
        for name, cell in zip(heads[1:], cells, strict=True)
    )
    about = f'<div class="soft"><bdi>{_text(one.reason)}</bdi></div>'
    return f'<tr><th scope="row"><bdi>{escape(one.name)}</bdi>{about}</th>{told}</tr>'


def _due(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "-"
    return f'{words.distance(moment, now)}<br><span class="soft">{_moment(moment)}</span>'


def _moment(moment: datetime) -> str:
    exact = rfc3339(moment)
    return f'<time datetime="{exact}">{exact[:16].replace("T", " ")} UTC</time>'


def _text(text: str) -> str:
    """Escaped, with what stands between backticks as something to type."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))
