"""Alerts fire when they must and stay quiet close by; the dashboard's queries run on the metrics there really are."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rotator.http.app import make_app
from rotator.http.metrics import Metrics
from rotator.http.server import HttpServer
from rotator.model import ATTENTION_CODES, Attention, Bounds
from rotator.settings_values import Listen
from rotator.views import RehearsalStatus
from tests.acceptance.site import eventually
from tests.deploy.manifests import Manifest, load_all
from tests.deploy.tools import DEPLOY, done, need
from tests.http.conftest import T0, SmallBoard, ended, policy

FOLDER = DEPLOY / "chart" / "monitoring"
RUNBOOK = (DEPLOY / "runbook.md").read_text(encoding="utf-8")
DASHBOARD: Manifest = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
FILES = ("alerts.yaml", "alerts-cron.yaml")
NOT_OURS = re.compile(r"up|kube_\w+")


def rules_of(name: str) -> list[Manifest]:
    (document,) = load_all((FOLDER / name).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


RULES = {rule["alert"]: rule for name in FILES for rule in rules_of(name)}


# --- each alert fires, and stays quiet ------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, one value each minute; `quiet` is as close to firing as it can be. The clock
    begins at 0: what is long ago is a negative time."""

    fires: dict[str, str]
    at: str
    quiet: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    """What the alert names."""


def ours(name: str, **labels: str) -> str:
    named = {"job": "rotator", "instance": "a", **labels}
    listed = ",".join(f'{key}="{value}"' for key, value in named.items())
    return f"{name}{{{listed}}}"


def matter(code: str) -> str:
    return ours("rotator_attention", policy="p", code=code)


def until(minutes: int, value: str = "1") -> str:
    """There for this long, then gone."""
    return f"{value}x{minutes - 1} stale _x60"


REHEARSED = ours("rotator_rehearsal_last_success_timestamp_seconds", policy="p")
ASKS = ours("rotator_rehearsal_needs_attention", policy="p")
DUE = ours("rotator_next_due_timestamp_seconds", policy="p")
STATE = ours("rotator_policy_state", policy="p", state="unknown")
RAN = 'kube_cronjob_status_last_successful_time{namespace="n",cronjob="rotator"}'
MADE = 'kube_cronjob_created{namespace="n",cronjob="rotator"}'
P = {"policy": "p"}
CRON = {"namespace": "n", "cronjob": "rotator"}
CASES: dict[str, Case] = {
    "RotatorAbsent": Case({ours("up"): "1x4 0x60"}, "16m", {ours("up"): "1x4 0x8 1x60"}),
    "RotatorAbsent (no target at all)": Case(
        {'up{job="other"}': "1x60"}, "11m", {ours("up"): "0x60", ours("up", instance="b"): "1x60"}
    ),
    "RotatorStatusUnreadable": Case(
        {ours("rotator_status_readable"): "0x60"},
        "11m",
        {ours("rotator_status_readable"): "0x60", ours("rotator_status_readable", instance="b"): "1x60"},
    ),
    # A day is 86,400 seconds, and the alert waits a quarter of an hour.
    "RotatorOverdue": Case({DUE: "-86400x60"}, "17m", {DUE: "-86250x60"}, P),
    "RotatorDueDateUnknown": Case({STATE: "1x80"}, "61m", {STATE: "1x50 stale"}, P),
    "RotatorTokenDead": Case({matter("token-dead"): "1x9"}, "2m", {matter("old-token-alive"): "1x3"}, P),
    "RotatorEndpointGone": Case({matter("endpoint-gone"): "1x9"}, "2m", {matter("unclear"): "1x3"}, P),
    "RotatorDrainStuck": Case({matter("drain-stuck"): "1x9"}, "6m", {matter("drain-stuck"): until(4)}, P),
    "RotatorBridgeOld": Case({matter("bridge-old"): "1x80"}, "61m", {matter("bridge-old"): until(50)}, P),
    "RotatorNeedsAttention": Case(
        {matter("out-of-band"): "1x9"},
        "6m",
        {matter("bridge-old"): "1x9", matter("orphan"): until(4)},
        {**P, "code": "out-of-band"},
    ),
    "RotatorAuditFailing": Case(
        {ours("rotator_audit_failures_total"): "0x9 1x20"},
        "20m",
        {ours("rotator_audit_failures_total"): "4x30"},
    ),
    "RotatorPoliciesNotReloaded": Case(
        {ours("rotator_policies_reload_failed"): "1x30"},
        "16m",
        {ours("rotator_policies_reload_failed"): "1x12 0x30"},
    ),
    "RotatorNoticesUntold": Case(
        {ours("rotator_notices_untold", policy="p"): "1x80"},
        "61m",
        {ours("rotator_notices_untold", policy="p"): "1x50 0x30"},
        P,
    ),
    # 35 days are 3,024,000 seconds, and the alert waits an hour.
    "RotatorRehearsalTooOld": Case({REHEARSED: "-3024000x80"}, "62m", {REHEARSED: "-3023750x80"}, P),
    "RotatorRehearsalNeedsAttention": Case({ASKS: "2x80"}, "61m", {ASKS: "1x50 0x30"}, P),
    # Three hours are 180 minutes.
    "RotatorRunMissing": Case({RAN: "0x300"}, "192m", {RAN: "0x170 10200x100"}, CRON),
    "RotatorNeverRan": Case({MADE: "0x300"}, "192m", {MADE: "0x300", RAN: "0x100 6000x100 12000x100"}, CRON),
}


def said(rule: Manifest, labels: dict[str, str]) -> dict[str, str]:
    """The annotations with the labels put in."""

    def put_in(text: str) -> str:
        return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)

    return {name: put_in(text) for name, text in rule["annotations"].items()}


def unit(series: dict[str, str], at: str, expected: dict[str, list[Manifest]]) -> Manifest:
    """One of promtool's unit tests: which alerts there are of the expected names at that time."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": alert, "exp_alerts": found} for alert, found in expected.items()
        ],
    }


def promtool(folder: Path, *units: Manifest) -> None:
    """Runs unit tests over the shipped rules."""
    tool = need("promtool", "the alerts were")
    document = {
        "rule_files": [str(FOLDER / name) for name in FILES],
        "evaluation_interval": "1m",
        "tests": units,
    }
    file = folder / "unit.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    done(tool, "test", "rules", file)


@pytest.mark.parametrize("name", CASES)
def test_alert_fires(name: str, tmp_path: Path) -> None:
    """With its labels and its text."""
    case, alert = CASES[name], name.partition(" ")[0]
    rule = RULES[alert]
    expected = {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": said(rule, case.labels),
    }
    promtool(tmp_path, unit(case.fires, case.at, {alert: [expected]}))


@pytest.mark.parametrize("name", CASES)
def test_alert_stays_quiet(name: str, tmp_path: Path) -> None:
    """At the same moment, where the trouble is another one, somebody else's, or over in time."""
    case, alert = CASES[name], name.partition(" ")[0]
    promtool(tmp_path, unit(case.quiet, case.at, {alert: []}))


def test_every_alert_has_its_cases() -> None:
    """None is without a test, and none is tested that is not there."""
    assert {name.partition(" ")[0] for name in CASES} == set(RULES)


def test_every_matter_alerts_once(tmp_path: Path) -> None:
    """Each code that a policy can have fires exactly one alert of those about matters."""
    about = [name for name, rule in RULES.items() if "rotator_attention" in rule["expr"]]
    units = []
    for code in sorted(ATTENTION_CODES):
        own = [name for name in about if f'code="{code}"' in RULES[name]["expr"]]
        (alert,) = own or ["RotatorNeedsAttention"]
        labels = {**P, "code": code} if alert == "RotatorNeedsAttention" else P
        expected: dict[str, list[Manifest]] = {name: [] for name in about}
        rule = RULES[alert]
        expected[alert] = [
            {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": said(rule, labels)}
        ]
        units.append(unit({matter(code): "1x120"}, "100m", expected))
    promtool(tmp_path, *units)


# --- with the metrics there really are ------------------------------------------------------------


@pytest.fixture
def board() -> SmallBoard:
    """One policy with everything a policy can have, one with nothing wrong."""
    made = SmallBoard()
    soon = datetime.now(UTC)
    found = Attention("billing", "drain-stuck", T0, "still used", "`rotator status`")
    rehearsed = RehearsalStatus(soon, 60.0, 12.5, "completed", None, False, "")
    made.policies = [
        policy(
            "billing",
            attention=(found,),
            state="needs-attention",
            rotation=ended("r-9"),
            rehearsal=rehearsed,
        ),
        policy("checkout", token_generated_at=soon, next_due_at=soon.replace(year=soon.year + 1)),
    ]
    made.past = [ended("r-1", policy="billing"), ended("r-2", policy="checkout")]
    return made


@pytest.fixture
def endpoint(board: SmallBoard) -> Iterator[str]:
    """Host and port of a daemon's HTTP port over that board, with something in every counter."""
    metrics = Metrics()
    metrics.rotation_ended(ended(outage=Bounds(0.2, 0.4)))
    metrics.provider_called("ping", "200", 0.02)
    metrics.audit_failed()
    metrics.notified("slack", "sent")
    server = HttpServer(make_app(board, metrics, None, open_to_network=False), Listen("127.0.0.1", 0))
    server.start()
    yield f"127.0.0.1:{server.address.port}"
    server.stop(2)


def names_in(expression: str) -> set[str]:
    """Metrics that an expression asks for."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    return set(re.findall(r"\b(?:up|(?:rotator|kube)_\w+)\b", bare))


def expressions() -> list[str]:
    """Every query of the dashboard, with its variable as Grafana puts it in."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [text.replace("$policy", ".*") for text in panels]


def test_names_in_alerts_and_dashboard_are_metrics(endpoint: str) -> None:
    """Nothing asks for a metric that a real scrape of the daemon does not have."""
    text = httpx.get(f"http://{endpoint}/metrics", trust_env=False, timeout=30).text
    there = {one.name for family in text_string_to_metric_families(text) for one in family.samples}
    asked = set().union(*map(names_in, [*expressions(), *(rule["expr"] for rule in RULES.values())]))
    assert {name for name in asked if not NOT_OURS.fullmatch(name)} <= there
    assert {name for name in there if name.startswith("rotator_")} - {
        name for name in there if re.search("_(count|sum)$", name)
    } <= asked | {"rotator_needs_attention", "rotator_status_readable"}


@pytest.fixture
def prometheus(endpoint: str, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that scrapes it every second and has the alerts loaded; its URL."""
    tool = need("prometheus", "the dashboard's queries were")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / name) for name in FILES],
        "scrape_configs": [{"job_name": "rotator", "static_configs": [{"targets": [endpoint]}]}],
    }
    file = tmp_path / "prometheus.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [
                tool,
                f"--config.file={file}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://{address}"
        finally:
            running.terminate()
            running.wait(10)


def asked(prometheus: str, path: str, **query: str) -> Any:
    answer = httpx.get(f"{prometheus}/api/v1/{path}", params=query, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def answers(prometheus: str) -> bool:
    try:
        return httpx.get(f"{prometheus}/-/ready", trust_env=False, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def scrapes(prometheus: str) -> float:
    """How often it has looked at the daemon."""
    seen = asked(prometheus, "query", query='count_over_time(up{job="rotator"}[1m])')["result"]
    return float(seen[0]["value"][1]) if seen else 0.0


def test_every_query_of_the_dashboard_finds_something(prometheus: str) -> None:
    """In a real Prometheus, over real scrapes; and every alert is evaluated without an error."""
    # While it starts it does not listen, and then answers 503.
    eventually(lambda: answers(prometheus), patience=60)
    eventually(lambda: scrapes(prometheus) >= 4, patience=60)
    empty = [text for text in expressions() if not asked(prometheus, "query", query=text)["result"]]
    assert empty == []
    (variable,) = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    selector = re.fullmatch(r"label_values\((.*), policy\)", variable["definition"])
    assert selector is not None
    found = asked(prometheus, "query", query=selector[1])["result"]
    assert {one["metric"]["policy"] for one in found} == {"billing", "checkout"}
    rules = [rule for group in asked(prometheus, "rules")["groups"] for rule in group["rules"]]
    assert {(rule["name"], rule["health"]) for rule in rules} == {(name, "ok") for name in RULES}
    alerts = {
        (one["labels"]["alertname"], one["labels"].get("policy"))
        for one in asked(prometheus, "alerts")["alerts"]
    }
    assert ("RotatorDrainStuck", "billing") in alerts
    assert not [name for name, about in alerts if about == "checkout"]


def test_dashboard_is_well_formed() -> None:
    """Panels have ids and places of their own and one data source; none lies beside the grid of 24 columns."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in taken) < 24
        cells |= taken
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]


# --- the runbook ----------------------------------------------------------------------------------


def entry(alert: str) -> str:
    return RUNBOOK.split(f"\n## {alert}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("alert", RULES)
def test_alert_has_an_entry_in_the_runbook(alert: str) -> None:
    """What happened, what to check, what to type: each there, with a command; and the annotation leads to it."""
    assert RULES[alert]["annotations"]["runbook"] == f"deploy/runbook.md#{alert.lower()}"
    text = entry(alert)
    for part in ("**Happened.**", "**Check.**", "**Type.**"):
        assert part in text
    assert "```sh\n" in text


def test_runbook_has_no_entry_for_nothing() -> None:
    """Each heading is an alert."""
    assert set(re.findall(r"^## (Rotator\w+)$", RUNBOOK, re.MULTILINE)) == set(RULES)
