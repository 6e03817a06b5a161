"""Ways a command can go with Vault, with several destinations, with the SMTP relay, and under `doctor`."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import VAULT_RULES
from tests.acceptance.moments import MINTED
from tests.acceptance.site import FileStore
from tests.leaks.flows import Flow, look_around
from tests.leaks.watched import WatchedSite

FLOWS: dict[str, Flow] = {}


def flow(function: Flow) -> Flow:
    FLOWS[function.__name__.replace("_", " ")] = function
    return function


def relay(site: WatchedSite, *, implicit: bool) -> None:
    """The simulator's relay, and the environment that leads to it."""
    authority = site.folder / "tmp" / "authority.pem"
    site.simulator.open_relay(authority)
    site.environment["LETTERMINT_SMTP_URL"] = (
        site.simulator.smtps_url if implicit else site.simulator.smtp_url
    )
    site.environment["SSL_CERT_FILE"] = str(authority)


@flow
def a_rotation_to_vault(site: WatchedSite) -> None:
    billing = site.add(store=site.vault_place())
    for _ in range(2):
        assert site.rotate("billing").code == 0
    assert billing.serves_a_living_token
    assert site.run("doctor", "-o", "table").code == 0
    look_around(site, 8)


@flow
def an_approle_login(site: WatchedSite) -> None:
    site.add(store=site.vault_place())
    assert site.vault is not None
    role_id, secret_id = site.vault.approle("rotator", VAULT_RULES, ttl=3600)
    site.more_secrets.append(secret_id)
    del site.environment["VAULT_TOKEN"]
    site.environment |= {
        "ROTATOR_VAULT_AUTH": "approle",
        "VAULT_ROLE_ID": role_id,
        "VAULT_SECRET_ID": secret_id,
    }
    assert site.rotate("billing").code == 0
    site.environment["VAULT_SECRET_ID"] = "LeakMarker-no-such-secret-id-0123456789"
    site.more_secrets.append(site.environment["VAULT_SECRET_ID"])
    assert site.rotate("billing").code == 2
    assert site.run("doctor", "-o", "json").code != 0


@flow
def a_kubernetes_login(site: WatchedSite) -> None:
    site.add(store=site.vault_place())
    assert site.vault is not None
    site.vault.kubernetes("rotator", "rotator", "mail", VAULT_RULES)
    del site.environment["VAULT_TOKEN"]
    jwt = site.vault.jwt("rotator", "mail")
    file = Path(site.folder / "store" / "jwt")
    file.parent.mkdir(exist_ok=True)
    file.write_text(jwt, encoding="utf-8")
    file.chmod(0o600)
    site.environment |= {
        "ROTATOR_VAULT_AUTH": "kubernetes",
        "VAULT_ROLE": "rotator",
        "ROTATOR_VAULT_JWT_FILE": str(file),
    }
    site.hidden.add("store/jwt")
    site.more_secrets.append(jwt)
    assert site.rotate("billing").code == 0
    site.vault.forget_account("rotator", "mail")
    assert site.rotate("billing").code != 0


@flow
def vault_refuses_us(site: WatchedSite) -> None:
    site.add(store=site.vault_place())
    assert site.vault is not None
    site.environment["VAULT_TOKEN"] = site.vault.token({"secret/data/elsewhere": {"read"}})
    site.more_secrets.append(site.environment["VAULT_TOKEN"])
    assert site.rotate("billing").code == 2
    site.vault.expire(site.environment["VAULT_TOKEN"])
    assert site.rotate("billing").code == 2
    assert site.run("doctor", "-o", "table").code != 0


@flow
def vault_fails_and_recovers(site: WatchedSite) -> None:
    billing = site.add(store=site.vault_place())
    assert site.vault is not None
    for kind in ("error-before", "error-after", "lost-answer", "rate-limit"):
        site.vault.faults.add(kind, path="secret/data/*", method="POST")
        assert site.rotate("billing").code in (0, 6), kind
        site.vault.faults.clear()
    site.vault.seal()
    assert site.rotate("billing").code == 6
    look_around(site, 6)
    site.vault.unseal()
    assert site.run("run").code == 0
    assert billing.serves_a_living_token


@flow
def a_destination_that_stays_behind(site: WatchedSite) -> None:
    place = site.vault_place()
    first = FileStore(site.folder / "store" / "billing.json")
    billing = site.add(store=first, destinations=[first.spec, place.spec])
    billing.seed(billing.first, place)
    paused = site.start_until(MINTED, "rotate", "billing", "--yes")
    assert site.vault is not None
    site.vault.expire(site.environment["VAULT_TOKEN"])
    assert site.end(paused.go_on()).code == 4
    look_around(site, 8)
    site.environment["VAULT_TOKEN"] = site.vault.token(VAULT_RULES)
    site.more_secrets.append(site.environment["VAULT_TOKEN"])
    assert site.run("run").code == 0
    billing.seed(billing.first, place)
    assert site.run("status", "--refresh").code == 4
    assert site.run("reconcile", "billing", "--yes").code == 0
    assert billing.stored_in(place) == billing.stored


@flow
def a_login_at_the_relay(site: WatchedSite) -> None:
    project = site.simulator.add_project("billing", team=site.team_token, smtp_enabled=True)
    site.add(project=project, verify=[{"type": "smtp"}])
    relay(site, implicit=True)
    assert site.rotate("billing").code == 0
    site.environment["LETTERMINT_SMTP_URL"] = site.simulator.smtp_url
    assert site.rotate("billing").code == 0
    assert site.run("doctor", "-o", "json").code == 0


@flow
def a_relay_that_refuses(site: WatchedSite) -> None:
    project = site.simulator.add_project("billing", team=site.team_token, smtp_enabled=True)
    site.add(project=project, verify=[{"type": "smtp"}])
    relay(site, implicit=False)
    for code, ends in ((454, 6), (504, 1)):
        for _ in range(3):
            site.simulator.faults.add("smtp-auth", "smtp-answer", code=code)
        assert site.rotate("billing").code == ends, code
        site.simulator.faults.clear()
    del site.environment["SSL_CERT_FILE"]
    assert site.rotate("billing").code == 6


@flow
def doctor_with_everything_wrong(site: WatchedSite) -> None:
    billing = site.add(store=site.vault_place())
    site.add("aws", store=site.aws_place())
    site.simulator.regenerate(billing.project)
    site.environment |= {
        "VAULT_ADDR": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:9",
        "LETTERMINT_TEAM_TOKEN": "lm_team_" + "LeakMarkerUnknown" * 2,
    }
    site.more_secrets.append(site.environment["LETTERMINT_TEAM_TOKEN"])
    for form in ("table", "json"):
        assert site.run("doctor", "-o", form).code != 0
