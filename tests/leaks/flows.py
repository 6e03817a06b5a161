"""Every way a command can go, good and bad. Each flow asserts that it went that way."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx

from tests.acceptance.moments import MINTED
from tests.acceptance.site import PING_AND_SEND, Entry, eventually
from tests.crash.harness import KILLED
from tests.leaks.watched import PASSWORD, WatchedSite

Flow = Callable[[WatchedSite], None]
FLOWS: dict[str, Flow] = {}


def flow(function: Flow) -> Flow:
    FLOWS[function.__name__.replace("_", " ")] = function
    return function


def accident(name: str, *arguments: Any) -> dict[str, Any]:
    return {"call": f"tests.leaks.accidents:{name}", "with": list(arguments)}


def sender(site: WatchedSite) -> Entry:
    """A policy that verifies by sending."""
    entry = site.add(verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project])
    return entry


SHOWING = (
    ("status", "--refresh"),
    ("history",),
    ("audit", "tail"),
    ("audit", "verify"),
    ("verify", "billing"),
    ("reconcile", "billing"),
    ("plan",),
    ("validate",),
    ("audit", "export"),
)


def look_around(site: WatchedSite, commands: int = 3) -> None:
    """Commands that show something, in the form for programs where the log is, else in that for people."""
    form = "json" if site.environment["ROTATOR_LOG_FORMAT"] == "json" else "table"
    for argv in SHOWING[:commands]:
        site.run(*argv, "-o", form)


# it goes well


@flow
def a_rotation_to_a_file(site: WatchedSite) -> None:
    sender(site)
    assert site.rotate("billing").code == 0
    assert site.run("run").code == 0
    look_around(site, len(SHOWING))


@flow
def a_rotation_to_aws(site: WatchedSite) -> None:
    billing = site.add(store=site.aws_place())
    assert site.rotate("billing").code == 0
    assert site.rotate("billing").code == 0
    assert billing.serves_a_living_token


@flow
def a_first_issue(site: WatchedSite) -> None:
    site.add().seed("")
    assert site.rotate("billing").code == 0


@flow
def searching_for_a_token(site: WatchedSite) -> None:
    billing = site.add()
    assert site.rotate("billing").code == 0
    for token, code in ((billing.first, 0), (billing.stored, 0), (site.team_token, 1)):
        given = accident("standard_input", token.reveal() + "\n")
        assert site.run("audit", "search", "-o", "json", prepare=given).code == code


# a daemon


API_TOKEN = "http-api-" + "LeakMarker-0123456789abcdef"
ASKED = ("/", "/policies/billing", "/api/v1/status", "/api/v1/rotations", "/metrics", "/readyz", "/nowhere")


@flow
def a_daemon_and_its_pages(site: WatchedSite) -> None:
    sender(site)
    # An answer that is late on a busy machine would cost a minute of back-off.
    site.environment |= {"ROTATOR_LISTEN": "127.0.0.1:0", "ROTATOR_CALL_TIMEOUT": "2s"}
    site.environment["ROTATOR_API_TOKEN"] = API_TOKEN
    site.more_secrets.append(API_TOKEN)
    child = site.start("serve")
    eventually(lambda: "serving" in child.errors)
    (address,) = set(re.findall(r"http://127\.0\.0\.1:[1-9]\d*", child.errors)) - {site.simulator.url}
    with httpx.Client(base_url=address, trust_env=False) as client:
        asked = client.post(
            "/api/v1/policies/billing/rotate",
            json={"reason": "spring cleaning"},
            headers={"Authorization": f"Bearer {API_TOKEN}"},
        )
        assert asked.status_code == 202
        site.printed["answer to POST"] = asked.content
        audit = site.folder / "state" / "audit.jsonl"
        eventually(lambda: b"rotation.close" in audit.read_bytes())
        eventually(lambda: '"completed"' in client.get("/api/v1/rotations").text)
        for path in ASKED:
            answer = client.get(path)
            site.printed[f"answer to GET {path}"] = answer.content + str(answer.headers).encode()
        assert b"b-outage" in site.printed["answer to GET /policies/billing"]
    child.signal(signal.SIGTERM)
    assert site.end(child).code == 143


# answers that got lost


LOST: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lost-answer", {}),
    ("lost-answer", {"hang": 0.7}),
    ("dropped", {}),
    ("error-before", {"status": 500}),
    ("error-after", {"status": 502, "page": True}),
    ("truncated", {}),
    ("oversized", {}),
    ("malformed", {}),
    ("wrong-content-type", {}),
)


@flow
def answers_that_get_lost(site: WatchedSite) -> None:
    for number, (kind, params) in enumerate(LOST):
        entry = site.add(f"policy-{number}")
        site.simulator.faults.add("rotate", kind, project=entry.project, **params)
    assert site.rotate().code == 0
    assert site.simulator.faults.waiting() == []
    assert all(entry.serves_a_living_token for entry in site.entries.values())


# bad input


@flow
def a_team_token_that_is_refused(site: WatchedSite) -> None:
    site.add()
    site.more_secrets.append("lm_team_" + "LeakMarkerUnknown" * 2)
    site.environment["LETTERMINT_TEAM_TOKEN"] = site.more_secrets[0]
    assert site.rotate("billing").code == 2
    assert site.run("run").code == 2


@flow
def tokens_in_wrong_places(site: WatchedSite) -> None:
    billing = site.add()
    token, team = billing.first.reveal(), site.team_token.reveal()
    password = quote(PASSWORD, safe="")
    journal = f"postgresql://u:{password}@127.0.0.1:1/db"
    for name, value in (
        ("LETTERMINT_TEAM_TOKEN", token),
        ("LETTERMINT_TEAM_TOKEN", team + "!"),
        ("LETTERMINT_API_URL", f"http://user:{team}@127.0.0.1/v1"),
        ("LETTERMINT_API_URL", f"http://127.0.0.1/v1?token={team}"),
        ("ROTATOR_LEASE", token),
        ("ROTATOR_LOG_LEVEL", token),
        ("ROTATOR_SELECT", token),
        ("ROTATOR_JOURNAL", f"postgresql://u:{PASSWORD}@127.0.0.1:1/db"),
        ("ROTATOR_JOURNAL", f"postgresql://u@127.0.0.1:1/db?no_such_option={PASSWORD}"),
        ("ROTATOR_JOURNAL", f"postgresql://u:{password}%zz@127.0.0.1:1/db"),
        ("ROTATOR_JOURNAL", journal),
    ):
        former = site.environment.get(name)
        site.environment[name] = value
        argv = ("rotate", "--yes") if name == "ROTATOR_SELECT" else ("rotate", "billing", "--yes")
        assert site.run(*argv).code == (6 if value == journal else 2), name
        if name == "ROTATOR_JOURNAL":
            look_around(site, 4)
            site.run("doctor")
        site.environment = {k: v for k, v in site.environment.items() if k != name}
        if former is not None:
            site.environment[name] = former
    for argv in (
        ("rotate", token),
        ("rotate", "--yes", "-l", token),
        ("rotate", "billing", "--token", token),
        ("rotate", "billing", f"--token={team}"),
        (token,),
        ("status", token),
        ("history", "--rotation", token),
        ("--config", f"/nowhere/{token}", "status"),
        ("audit", "search", token),
    ):
        assert site.run(*argv).code != 0, argv[0]


@flow
def a_token_as_the_reason(site: WatchedSite) -> None:
    billing = site.add()
    reason = f"leaked: {billing.first.reveal()} and {site.team_token.reveal()}"
    assert site.run("rotate", "billing", "--yes", "--reason", reason).code == 0
    site.environment["ROTATOR_REASON"] = reason
    assert site.rotate("billing").code == 0
    assert site.run("hold", "billing", "--reason", reason).code in (0, 2)
    look_around(site)


@flow
def a_token_in_a_policy(site: WatchedSite) -> None:
    billing = site.add()
    outside = site.folder / "policies" / "bad.yaml"
    for field in ("name", "project", "strategy", "owner", "verify", "on_out_of_band", "unknown"):
        wrong = {**billing.document, "name": "other", field: billing.first.reveal()}
        outside.write_text(json.dumps({"policies": [wrong]}), encoding="utf-8")
        assert site.run("validate").code == 2, field
        assert site.run("rotate", "billing", "--yes").code == 2, field
    outside.write_text(f"policies: [{billing.first.reveal()}: {{", encoding="utf-8")
    assert site.run("validate").code == 2
    outside.unlink()


@flow
def a_secret_with_something_else(site: WatchedSite) -> None:
    for name, store in (("billing", None), ("aws", site.aws_place())):
        entry = site.add(name, store=store)
        for content in (
            PASSWORD,
            json.dumps({"token": PASSWORD}),
            json.dumps([PASSWORD]),
            f'{{"token": "{PASSWORD}',
        ):
            entry.store.write(content)
            assert site.rotate(name).code == 1


@flow
def a_dead_token_that_nobody_explains(site: WatchedSite) -> None:
    billing = site.add(schedule={"every": "1s"})
    site.simulator.regenerate(billing.project)
    ended = site.run("run", "-o", "json")
    while not ended.rotations:
        ended = site.run("run", "-o", "json")
    assert ended.code == 4
    look_around(site)
    assert site.rotate("billing").code == 0


@flow
def nothing_can_be_reached(site: WatchedSite) -> None:
    site.add("billing")
    site.add("aws", store=site.aws_place())
    site.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = "http://127.0.0.1:9"
    assert site.rotate("aws").code == 6
    site.environment["LETTERMINT_API_URL"] = "http://127.0.0.1:9/v1"
    assert site.rotate("billing").code == 6
    look_around(site)


@flow
def aws_refuses_us(site: WatchedSite) -> None:
    site.add(store=site.aws_place())
    assert site.aws is not None
    site.aws.bad_keys["testing"] = "UnrecognizedClientException"
    assert site.rotate("billing").code == 2


@flow
def a_wrong_audit_key(site: WatchedSite) -> None:
    site.add()
    assert site.rotate("billing").code == 0
    site.environment["ROTATOR_AUDIT_KEY"] = "LeakMarkerOtherAuditKey0123456789abcdef"
    site.more_secrets.append(site.environment["ROTATOR_AUDIT_KEY"])
    assert site.rotate("billing").code == 2


# it fails late


@flow
def a_verification_that_fails(site: WatchedSite) -> None:
    sender(site)
    site.simulator.faults.add("send", "status", status=422, skip=1)
    assert site.rotate("billing").code == 4
    look_around(site)
    assert site.run("run").code == 0


@flow
def a_publish_that_is_refused(site: WatchedSite) -> None:
    site.add(store=site.aws_place())
    assert site.aws is not None
    paused = site.start_until(MINTED, "rotate", "billing", "--yes")
    site.aws.denied = {"PutSecretValue"}
    child = paused.go_on()
    eventually(lambda: "in memory only" in child.errors)
    for said in ("Stopping after", "Giving up"):
        child.signal(signal.SIGTERM)
        eventually(lambda said=said: said in child.errors)
    assert site.end(child).code == 4
    look_around(site)
    site.aws.denied = set()
    assert site.run("run").code == 0


@flow
def aws_fails_and_recovers(site: WatchedSite) -> None:
    billing = site.add(store=site.aws_place())
    assert site.aws is not None
    for kind in ("error-before", "error-after", "lost-answer", "throttle"):
        site.aws.inject(kind, "PutSecretValue")
        site.aws.inject(kind, "UpdateSecretVersionStage")
        assert site.rotate("billing").code in (0, 6), kind
    assert billing.serves_a_living_token


@flow
def a_kill_and_its_recovery(site: WatchedSite) -> None:
    billing = site.add()
    paused = site.start_until(MINTED, "rotate", "billing", "--yes")
    paused.child.signal(signal.SIGKILL)
    assert site.end(paused.child).code == KILLED
    assert not billing.serves_a_living_token
    look_around(site)
    assert site.run("run").code == 0


@flow
def a_signal(site: WatchedSite) -> None:
    site.add()
    paused = site.start_until(MINTED, "rotate", "billing", "--yes")
    paused.child.signal(signal.SIGTERM)
    eventually(lambda: "Stopping after" in paused.child.errors)
    assert site.end(paused.go_on()).code == 143


# something breaks that nobody expected to


def _accident(name: str, *arguments: Any, aws: bool = False, codes: tuple[int, ...] = (1, 4)) -> Flow:
    def run(site: WatchedSite) -> None:
        site.add(store=site.aws_place() if aws else None)
        ended = site.run("rotate", "billing", "--yes", prepare=accident(name, *arguments))
        assert ended.code in codes, ended.errors
        look_around(site, 2)

    return run


FLOWS |= {
    "the engine explodes": _accident("engine_explodes", codes=(4,)),
    "the command explodes": _accident("command_explodes", codes=(1,)),
    "a thread explodes": _accident("thread_explodes", codes=(0,)),
    "httpx explodes": _accident("http_explodes", codes=(6,)),
    "the provider quotes us": _accident("provider_quotes", 403, codes=(2,)),
    "the provider quotes us and breaks": _accident("provider_quotes", 500, codes=(6,)),
    "aws quotes us": _accident("aws_quotes", aws=True, codes=(1,)),
    "boto3 fails": _accident("boto_explodes", "library", aws=True, codes=(0,)),
    "boto3 explodes": _accident("boto_explodes", "unknown", aws=True, codes=(0,)),
    "the journal explodes": _accident("journal_explodes"),
    "something warns": _accident("something_warns", codes=(0,)),
}
