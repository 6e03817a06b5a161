"""Logging in to Vault, keeping the token alive, and what each refusal means; over the strict fake and a real server."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import threading
import traceback
from dataclasses import replace
from functools import partial

import pytest
import trustme

from rotator.clock import SystemClock
from rotator.destinations.base import DestinationRefused
from rotator.destinations.vault_errors import DATA, READ, Call, Lost
from rotator.destinations.vault_login import span
from rotator.destinations.vault_session import VaultSession
from rotator.destinations.vault_transport import MAX_BYTES
from rotator.errors import CredentialRejected, InvalidInput, RotatorError, Unreachable
from rotator.secret import Secret
from tests.destinations.places import vault_access
from tests.destinations.strict_vault import StrictVault
from tests.destinations.vault_servers import FakeServer
from tests.provider.scripted_peer import Peer, answer, drip, hang, raw, reset

ALL = {"read", "create", "update"}


class Client:
    """A session with one server, a secret to read, and a way to let time pass for both."""

    def __init__(self, server, clock, access, mount):
        self.server, self.clock, self.mount = server, clock, mount
        self.session = VaultSession(access, clock)

    def pass_time(self, seconds):
        self.server.pass_time(seconds)
        if not isinstance(self.clock, SystemClock):
            self.clock.advance(seconds)

    def read(self, path="x"):
        return self.session.call(Call("GET", f"{self.mount}/data/{path}", "the secret", READ))

    def write(self, path="x"):
        call = Call("POST", f"{self.mount}/data/{path}", "the secret", DATA)
        return self.session.call(call, body='{"data": {"a": 1}}')


@pytest.fixture
def make_client(clock):
    """Makes a client of a server, with the clock that fits it; `rules` are for paths below its own mount."""
    made = []

    def make(method="token", *, server, rules=None, **options):
        mount = server.mount()
        given = {f"{mount}/{path}": held for path, held in (rules or {"data/x": ALL}).items()}
        mine = clock if isinstance(server, FakeServer) else SystemClock()
        if method == "token":
            token = server.token(given, **options)
            access = vault_access(server.url, token)
        elif method == "approle":
            where, role_id, secret_id = server.approle(given, **options)
            access = vault_access(
                server.url,
                auth="approle",
                auth_mount=where,
                role_id=lambda: Secret(role_id),
                secret_id=lambda: Secret(secret_id),
            )
        else:
            where, role = server.kubernetes("mailer", "shop", given, **options)
            jwt = server.jwt("mailer", "shop")
            access = vault_access(
                server.url, auth="kubernetes", auth_mount=where, role=role, jwt=lambda: Secret(jwt)
            )
        one = Client(server, mine, access, mount)
        made.append(one)
        return one

    yield make
    for one in made:
        one.session.close()


@pytest.fixture
def client(any_vault, make_client):
    """Makes clients of each kind of server."""
    return partial(make_client, server=any_vault)


@pytest.fixture
def fake(vault):
    return FakeServer(vault)


@pytest.fixture
def fake_client(fake, make_client):
    """Makes clients of the strict fake, which can be broken in more ways."""
    return partial(make_client, server=fake)


def refused(attempt, kind=CredentialRejected):
    with pytest.raises(kind) as caught:
        attempt()
    error = caught.value
    assert type(error) is kind
    assert error.then
    assert error.remedy
    return str(error)


def paths(vault, method="*"):
    return [one.path for one in vault.requests if method in ("*", one.method)]


# --- each way to log in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["token", "approle", "kubernetes"])
def test_each_way_to_log_in_works(client, method):
    """A token as given, an AppRole and a service account all read and write what their policy allows."""
    one = client(method)

    assert one.write().status == 200
    assert one.read().json()["data"]["data"] == {"a": 1}


@pytest.mark.parametrize("method", ["approle", "kubernetes"])
def test_one_login_serves_many_calls(fake, vault, fake_client, method):
    """The token of a login is used again, by all threads."""
    one = fake_client(method)
    threads = [threading.Thread(target=one.read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([path for path in paths(vault) if path.endswith("/login")]) == 1


def test_nothing_is_asked_before_the_first_call(fake, vault, fake_client):
    """Making a session sends nothing, so a policy without Vault never needs one."""
    fake_client("approle")

    assert vault.requests == []


def test_a_projected_token_is_read_again_at_each_login(fake_client, clock, fake, vault):
    """What is presented is what stands in the file at the moment of the login."""
    one = fake_client("kubernetes", rules={"data/x": {"read"}})
    presented = []
    jwts = iter(
        [vault.jwt("mailer", "shop"), vault.jwt("mailer", "shop", ttl=7200), vault.jwt("mailer", "shop")]
    )

    def load():
        presented.append(next(jwts))
        return Secret(presented[-1])

    session = VaultSession(replace(one.session._access, jwt=load), clock)
    call = Call("GET", f"{one.mount}/data/x", "x", READ)
    session.call(call)
    for token in [token for token in vault.auth.tokens if token != vault.root]:
        vault.expire(token)
    session.call(call)

    # Once to see that it is there, then at each of two logins.
    assert len(presented) == 3


def test_identity_is_in_vaults_own_words(client):
    """Display name, policies and what is left of the token's time; never the token."""
    one = client("approle", ttl=7200)
    said = one.session.identity()

    assert one.session._access.auth_mount in said
    assert "policies: default, " in said
    assert "the token lives" in said
    assert "1 h" in said or "119 min" in said or "120 min" in said or "2 h" in said
    assert not any(one.session._lease.token.reveal() in text for text in (said, repr(one.session._lease)))


def test_identity_of_a_root_token(any_vault, clock):
    """A token without an end is said to have none."""
    session = VaultSession(vault_access(any_vault.url, any_vault.root), clock)

    assert session.identity().endswith("(policies: root); the token never expires")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_times_for_people(seconds, words):
    """The largest unit of which there are two."""
    assert span(seconds) == words


def test_a_strange_display_name_is_not_repeated(fake, clock):
    """What Vault says of a token is shown only where it looks like a name."""
    token = fake.vault.token({}, display_name="x\x1b[31m" + "y" * 200)

    assert VaultSession(vault_access(fake.url, token), clock).identity().startswith("[unprintable]")


def test_a_namespace_is_used_for_logins_and_calls(any_vault, clock):
    """Login, secret and policy all lie in the namespace."""
    namespace = any_vault.namespace()
    mount = any_vault.mount(namespace=namespace)
    where, role_id, secret_id = any_vault.approle({f"{mount}/data/x": ALL}, namespace=namespace)
    access = vault_access(
        any_vault.url,
        auth="approle",
        auth_mount=where,
        namespace=namespace.strip("/"),
        role_id=lambda: Secret(role_id),
        secret_id=lambda: Secret(secret_id),
    )
    session = VaultSession(access, clock)
    call = Call("POST", f"{mount}/data/x", "x", DATA)

    assert session.call(call, body='{"data": {}}').ok
    assert "policies" in session.identity()
    for wrong in (None, "nowhere"):
        other = VaultSession(replace(access, namespace=wrong), clock)
        with pytest.raises(RotatorError, match="VAULT_NAMESPACE"):
            other.call(call, body='{"data": {}}')


# --- time ------------------------------------------------------------------------------------------------


def renewals(vault):
    return paths(vault).count("auth/token/renew-self")


def logins(vault):
    return sum(path.endswith("/login") for path in paths(vault))


def test_a_token_is_renewed_when_two_thirds_are_used_up(fake, vault, fake_client):
    """Not before, once then, and again two thirds later: a token of 90 s serves for as long as it may."""
    one = fake_client("token", ttl=90)
    one.read()
    one.pass_time(58)
    one.read()
    assert renewals(vault) == 0
    one.pass_time(3)
    for _ in range(3):
        one.read()
    assert renewals(vault) == 1
    for number in range(2, 6):
        one.pass_time(61)
        one.read()
        assert renewals(vault) == number


def test_what_is_left_of_a_given_token_counts(fake, vault, fake_client):
    """A token that is old already when it is first used is renewed at once."""
    one = fake_client("token", ttl=90)
    vault.advance(70)
    one.read()

    assert renewals(vault) == 1


def test_a_token_that_cannot_be_renewed_is_not_asked_to(fake, vault, fake_client):
    """It is used to its end, and then the error says what to do."""
    one = fake_client("token", ttl=90, renewable=False)
    one.read()
    one.pass_time(80)
    one.read()
    assert renewals(vault) == 0
    one.pass_time(11)

    assert "VAULT_TOKEN_FILE" in refused(one.read)


def test_a_login_is_renewed_and_at_its_longest_life_made_anew(vault, fake_client):
    """Renewing costs no secret_id; near the end of what it can give the session logs in again."""
    one = fake_client("approle", ttl=60, max_ttl=150)
    one.read()
    for number in (1, 2):
        one.pass_time(41)
        one.read()
        assert (logins(vault), renewals(vault)) == (1, number)
    one.pass_time(41)  # 27 s of 150 are left: less than half of the 60 that a token has
    one.read()

    assert (logins(vault), renewals(vault)) == (2, 3)


def test_renewal_on_a_real_clock(client):
    """A token of a few seconds, renewed in time, outlives its first time to live on any server."""
    one = client("token", ttl=3, max_ttl=3600)
    one.read()
    for _ in range(3):
        one.pass_time(2)
        one.read()


def test_the_daemon_may_ask_for_renewal_by_itself(fake, vault, fake_client):
    """`renew_if_due` does nothing before the first call and before it is time."""
    one = fake_client("approle", ttl=60)
    one.session.renew_if_due()
    assert vault.requests == []
    one.read()
    one.session.renew_if_due()
    assert renewals(vault) == 0
    one.pass_time(41)
    one.session.renew_if_due()
    assert renewals(vault) == 1


def test_a_one_use_secret_id_serves_as_long_as_renewing_can(client):
    """The token is used to its end; then the error says why another login is refused, and goes on doing so."""
    one = client("approle", uses=1, ttl=4, max_ttl=6)
    one.read()
    one.pass_time(3)
    one.read()
    one.pass_time(3)
    for _ in range(2):
        said = refused(one.read)
        assert "secret_id_num_uses" in said
        assert "used up" in said


@pytest.mark.parametrize("fault", ["error-before", "drop-before", "rate-limit"])
def test_a_failed_renewal_stops_no_call_while_the_token_lives(fake, vault, fake_client, caplog, fault):
    """It is tried again later, more often towards the end."""
    one = fake_client("approle", ttl=90)
    one.read()
    vault.faults.add(fault, "auth/*", times=100)
    for seconds in (61, 5, 10, 5):
        one.pass_time(seconds)
        one.read()
    attempts = len([path for path in paths(vault) if path.startswith("auth/") and "login" not in path])
    assert 2 <= attempts <= 6
    assert "was not renewed" in caplog.text
    vault.faults.clear()
    one.pass_time(5)
    one.read()
    one.pass_time(50)
    one.read()


def test_an_outage_longer_than_the_token_ends_in_a_new_login(fake, vault, fake_client):
    """A session that could ask nothing until its token died logs in when Vault is back."""
    one = fake_client("approle", ttl=60)
    one.read()
    vault.seal()
    one.pass_time(100)
    assert "sealed" in refused(one.read, Unreachable)
    vault.unseal()
    one.read()

    assert logins(vault) == 2


# --- a token that dies -----------------------------------------------------------------------------------


def test_a_revoked_login_is_made_anew_and_the_call_repeated(fake, vault, fake_client):
    """A 403 to a dead token costs one look-up and one login; the caller sees none of it."""
    one = fake_client("approle")
    one.read()
    vault.expire(one.session._lease.token.reveal())
    vault.requests.clear()

    assert one.read().is_nothing
    data = f"{one.mount}/data/x"
    assert paths(vault) == [
        data,
        "auth/token/lookup-self",
        f"auth/{one.session._access.auth_mount}/login",
        data,
    ]


def test_a_write_is_repeated_with_the_new_token(fake, vault, fake_client):
    """What a dead token was refused is done once, not twice."""
    one = fake_client("approle")
    one.read()
    vault.expire(one.session._lease.token.reveal())
    one.write()

    assert list(vault.raw_versions(one.mount, "x")) == [1]


def test_many_threads_with_a_dead_token_log_in_once(fake, vault, fake_client):
    """Who comes second takes the token that the first one got."""
    one = fake_client("approle")
    one.read()
    vault.expire(one.session._lease.token.reveal())
    gate = threading.Barrier(20)
    done = []

    def work():
        gate.wait()
        done.append(one.read().status)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == [404] * 20
    assert logins(vault) == 2


@pytest.mark.parametrize("method", ["approle", "kubernetes"])
def test_relogin_on_any_server(client, method):
    """Revoked by somebody else: the next call works all the same."""
    one = client(method)
    one.read()
    transport, token = one.session._transport, one.session._lease.token
    transport.send("POST", "auth/token/revoke-self", token=token)

    assert one.read().is_nothing
    assert one.session._lease.token != token


def test_a_replaced_token_file_is_read_again(any_vault, client):
    """A refused token is looked for again where it lives, so that a running process takes over a new one."""
    one = client("token")
    mount = one.mount
    tokens = [one.session._access.token().reveal(), any_vault.token({f"{mount}/data/x": ALL})]
    held = [tokens[0]]
    session = VaultSession(replace(one.session._access, token=lambda: Secret(held[0])), one.clock)
    call = Call("GET", f"{mount}/data/x", "x", READ)
    session.call(call)
    session._transport.send("POST", "auth/token/revoke-self", token=Secret(tokens[0]))
    assert "VAULT_TOKEN_FILE" in refused(lambda: session.call(call))
    held[0] = tokens[1]

    assert session.call(call).is_nothing


def test_a_token_file_that_is_gone_is_said(fake, fake_client, caplog):
    """The error is about the token, the log tells that the file could not be read."""
    one = fake_client("token")
    one.read()

    def gone():
        raise InvalidInput("VAULT_TOKEN_FILE: /x cannot be read")

    session = VaultSession(replace(one.session._access), one.clock)
    session.call(Call("GET", f"{one.mount}/data/x", "x", READ))
    fake.vault.expire(one.session._access.token().reveal())
    object.__setattr__(session._access, "token", gone)
    refused(lambda: session.call(Call("GET", f"{one.mount}/data/x", "x", READ)))

    assert "could not be read again" in caplog.text


def test_a_wrong_token_is_refused_with_the_remedy(any_vault, clock):
    """Not retried: the same token would be refused again."""
    session = VaultSession(vault_access(any_vault.url, "s." + "w" * 24), clock)
    said = refused(lambda: session.call(Call("GET", "secret/data/x", "x", READ)))

    assert "wrong, expired or revoked" in said
    assert "wwww" not in said


@pytest.mark.parametrize(
    "token", ["s.“quoted”", "s.x y", "s.x\ny", "s.x\r\nX-Vault-Wrap-TTL: 1", " s.x", "s.x\t"]
)
def test_a_token_no_header_can_carry_is_refused(fake, clock, token):
    """Found before anything is sent."""
    session = VaultSession(vault_access(fake.url, token), clock)
    with pytest.raises(InvalidInput, match="VAULT_TOKEN holds a character"):
        session.identity()
    assert fake.vault.requests == []


# --- a policy that is missing ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["token", "approle", "kubernetes"])
def test_a_missing_policy_names_path_and_capabilities(client, method):
    """A 403 to a living token is a policy; the error has what to put into it, and who we are."""
    one = client(method, rules={"data/x": {"read"}})
    said = refused(one.write)

    assert f'path "{one.mount}/data/x" {{ capabilities = ["create", "read", "update"] }}' in said
    assert "policies: default, " in said
    one.read()


def test_a_missing_policy_costs_no_login(fake, vault, fake_client):
    """A living token is not thrown away because it may not do one thing."""
    one = fake_client("approle", rules={"data/x": {"read"}})
    for _ in range(3):
        refused(one.write)

    assert logins(vault) == 1


def test_a_token_that_may_not_look_itself_up(any_vault, clock):
    """Servers word it otherwise than for a dead token, so the policy is named and no login is tried for it."""
    mount = any_vault.mount()
    rules = {f"{mount}/data/x": {"read"}, "auth/token/lookup-self": {"deny"}}
    where, role_id, secret_id = any_vault.approle(rules)
    given = vault_access(any_vault.url, any_vault.token(rules))
    approle = vault_access(
        any_vault.url,
        auth="approle",
        auth_mount=where,
        role_id=lambda: Secret(role_id),
        secret_id=lambda: Secret(secret_id),
    )
    for access in (given, approle):
        session = VaultSession(access, clock)
        session.call(Call("GET", f"{mount}/data/x", "x", READ))
        token = session._lease.token
        said = refused(partial(session.call, Call("POST", f"{mount}/data/x", "x", DATA), body='{"data": {}}'))
        assert "which may not look itself up" in said
        assert 'path "auth/token/lookup-self"' in refused(session.identity)
        assert session._lease.token == token
        session.close()


@pytest.mark.parametrize("method", ["token", "approle"])
def test_a_token_that_nothing_is_known_of(vault, fake_client, method):
    """Where the wording tells nothing either, one new login is tried, and then the policy is named."""
    one = fake_client(method, rules={"data/x": {"read"}})
    vault.faults.add("error-before", "auth/token/lookup-self", status=403, times=100)
    one.read()
    said = refused(one.write)

    assert ("may not look itself up" in said) is (method == "approle")
    assert logins(vault) == (2 if method == "approle" else 0)


# --- logins that are refused -----------------------------------------------------------------------------


def test_a_wrong_secret_id(client):
    """The error tells what may be wrong with it and is the same each time."""
    one = client("approle")
    session = VaultSession(replace(one.session._access, secret_id=lambda: Secret("5ec2e71d-" * 4)), one.clock)
    said = refused(session.identity)

    assert "role_id and secret_id" in said
    assert "secret_id_num_uses" in said


@pytest.mark.parametrize("method", ["approle", "kubernetes"])
def test_a_method_that_is_not_mounted(client, method):
    """A wrong mount is named, with the setting that says it."""
    one = client(method)
    session = VaultSession(replace(one.session._access, auth_mount="nowhere"), one.clock)
    said = refused(session.identity)

    assert "auth/nowhere" in said
    assert method == "kubernetes" or "ROTATOR_VAULT_AUTH_MOUNT" in said


def test_a_role_that_is_not_there(client):
    """The Kubernetes role is a setting, so it is named."""
    one = client("kubernetes")
    said = refused(VaultSession(replace(one.session._access, role="nobody"), one.clock).identity)

    assert "no such role" in said
    assert "VAULT_ROLE" in said


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("present", "words"),
    [
        (lambda server: server.jwt("another", "shop"), "name"),
        (lambda server: server.jwt("mailer", "elsewhere"), "namespace"),
        (lambda server: server.jwt("mailer", "shop", audience="api"), "audience"),
        (lambda server: "no.jwt", "service account's token"),
    ],
    ids=["name", "namespace", "audience", "malformed"],
)
def test_a_service_account_that_is_refused(fake, fake_client, old, present, words):
    """Also where the server says so with a 500, as older ones do: it is a refusal, and not retried."""
    one = fake_client("kubernetes", audience="vault")
    fake.vault.old = old
    jwt = present(fake)
    said = refused(VaultSession(replace(one.session._access, jwt=lambda: Secret(jwt)), one.clock).identity)

    assert words in said
    assert jwt not in said


@pytest.mark.parametrize("account", ["another", "mailer"])
def test_a_refused_service_account_on_any_server(any_vault, client, account):
    """A name that the role does not allow, and an account that the cluster no longer has."""
    one = client("kubernetes")
    jwt = any_vault.jwt(account, "shop")
    any_vault.forget_account(account, "shop")

    refused(VaultSession(replace(one.session._access, jwt=lambda: Secret(jwt)), one.clock).identity)


def scripted(clock, *replies, auth="token", **options):
    """A session with a peer that answers as it is told."""
    peer = Peer(*replies)
    access = vault_access(
        peer.url.removesuffix("/v1"),
        "s.given" if auth == "token" else "",
        auth=auth,
        role="r",
        role_id=lambda: Secret("role"),
        secret_id=lambda: Secret("secret"),
        jwt=lambda: Secret("a.b.c"),
        **options,
    )
    return peer, VaultSession(access, clock)


LOGGED_IN = answer(200, {"data": {"ttl": 0}, "auth": {"client_token": "s.x", "lease_duration": 0}})
KUBERNETES_500 = [
    ("could not load backend configuration", "not configured"),
    ("service account name not authorized", "name of this service account"),
    ("namespace not authorized", "namespace of this service account"),
    ('claim "iss" is invalid', "issuer"),
    ("invalid issuer (iss) claim", "issuer"),
    ('claim "aud" is invalid', "audience"),
    ("invalid audience (aud) claim: audience claim does not match", "audience"),
    ("Token is expired", "expired"),
    ("square/go-jose: compact JWS format must have three parts", "no service account's token"),
    ("lookup failed: service account jwt not valid", "Kubernetes API"),
]


@pytest.mark.parametrize(("text", "words"), KUBERNETES_500)
def test_known_500_texts_of_a_kubernetes_login_are_refusals(clock, text, words):
    """Each text that a server is known to say with 500 is told in our words, and never as something to repeat."""
    _, session = scripted(clock, answer(500, {"errors": [text]}), auth="kubernetes")

    assert words in refused(session.identity)


@pytest.mark.parametrize("auth", ["approle", "kubernetes"])
@pytest.mark.parametrize(
    ("status", "text"), [(500, "internal error"), (503, "Vault is sealed"), (429, "quota")]
)
def test_other_failures_of_a_login_may_be_repeated(clock, auth, status, text):
    """A server that cannot serve says nothing about our credentials."""
    _, session = scripted(clock, answer(status, {"errors": [text]}), auth=auth)
    with pytest.raises(Unreachable):
        session.identity()


@pytest.mark.parametrize("given", ["", ["s.x"], "s.x\ny", 7])
def test_a_login_without_a_token_in_it(clock, given):
    """A second factor that is asked for, or a page of something else, is no login."""
    _, session = scripted(clock, answer(200, {"auth": {"client_token": given}}), auth="approle")

    assert "no token" in refused(session.identity)


# --- what the server says of itself ----------------------------------------------------------------------

STATES = [
    (503, "Vault is sealed", "sealed", "Unseal"),
    (503, "error performing token check: Vault is sealed", "sealed", "Unseal"),
    (503, "namespace is sealed", "namespace is sealed", "namespace"),
    (501, "Vault is not initialized", "not initialized", "Initialize"),
    (503, "API access to this endpoint has been locked", "locked", "Unlock"),
    (500, "local node not active but active cluster node not found", "standby", "elect"),
    (503, "no active Vault instance found", "standby", "elect"),
    (429, "rate limit quota exceeded", "too many requests", "quota"),
    (412, "required index state not present", "not ready", "minute"),
    (
        400,
        "Upgrading from non-versioned to versioned data. This backend will be unavailable",
        "not ready",
        "minute",
    ),
    (502, "", "does not reach it", "server's log"),
    (504, "", "does not reach it", "server's log"),
    (500, "1 error occurred", "500", "server's log"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("status", "text", "words", "remedy"), STATES)
def test_a_server_that_cannot_serve_is_unreachable(clock, method, status, text, words, remedy):
    """Each state in words, and whether the call may have been executed."""
    _, session = scripted(clock, LOGGED_IN, answer(status, {"errors": [text]}))
    with pytest.raises(Unreachable) as caught:
        session.call(
            Call(method, "secret/data/x", "the secret", READ), body="{}" if method == "POST" else None
        )
    error = caught.value

    assert words in error.happened
    assert remedy in error.remedy
    assert isinstance(error, Lost) is (words in ("does not reach it", "500"))
    assert text not in str(error) or text in ("", "namespace is sealed")


REFUSALS = [
    (404, {"errors": ['no handler for route "secret/data/x"']}, "nothing is mounted", "mount"),
    (404, {"errors": ["namespace not found"]}, "no such namespace", "VAULT_NAMESPACE"),
    (404, b"<html>nginx</html>", "no answer of Vault's", "VAULT_ADDR"),
    (405, {"errors": ["unsupported operation"]}, "this kind of call", "KV version 2"),
    (413, {"errors": ["http: request body too large"]}, "too large", "Take something out"),
    (
        500,
        {"errors": ["put failed due to value being too large; got 9 bytes"]},
        "too large",
        "Take something out",
    ),
    (400, {"errors": ["no data provided"]}, "does not accept the request", "path"),
]


@pytest.mark.parametrize(("status", "body", "words", "remedy"), REFUSALS)
def test_other_answers_are_refusals(clock, status, body, words, remedy):
    """What repeating does not mend is not Unreachable."""
    _, session = scripted(clock, LOGGED_IN, answer(status, body))
    with pytest.raises(DestinationRefused) as caught:
        session.call(Call("POST", "secret/data/x", "the secret", DATA), body="{}")

    assert words in caught.value.happened
    assert remedy in caught.value.remedy


def test_a_denial_by_what_stands_between_is_no_missing_policy(clock):
    """A page with 403 for one path, while Vault knows the token: nobody is sent to write a policy."""
    _, session = scripted(clock, LOGGED_IN, answer(403, b"<html>blocked</html>"), LOGGED_IN)
    with pytest.raises(DestinationRefused, match="no answer of Vault's") as caught:
        session.call(Call("POST", "secret/data/x", "the secret", DATA), body="{}")

    assert "what stands between" in caught.value.remedy


@pytest.mark.parametrize(
    ("reply", "words", "lost"),
    [
        (reset, "connection", True),
        (raw(b""), "connection", True),
        (raw(b"not HTTP at all\r\n\r\n"), "connection", True),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "ended before the answer", True),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            "ended before the answer",
            True,
        ),
        (hang, "no answer within 0.2 s", True),
        (
            drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b" ", pause=0.02),
            "no whole answer within 0.2 s",
            True,
        ),
        (answer(200, b" " * (MAX_BYTES + 1)), f"larger than {MAX_BYTES} bytes", True),
    ],
    ids=["reset", "closed", "garbage", "cut", "chunk", "silence", "drip", "huge"],
)
def test_an_answer_that_does_not_come(clock, reply, words, lost):
    """Whatever breaks after the request was sent, the call may have been executed."""
    _, session = scripted(clock, LOGGED_IN, reply, timeouts=(1.0, 0.2))
    with pytest.raises(Lost) as caught:
        session.call(Call("POST", "secret/data/x", "the secret", DATA), body="{}")

    assert words in caught.value.happened
    assert "may" in str(caught.value) or "not known" in str(caught.value)
    assert lost


def test_the_largest_answer_is_read_whole(clock):
    """One byte less than too much, and one that comes in chunks."""
    text = json.dumps({"data": {"ttl": 0}}).encode()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(text),
        text,
    )
    _, session = scripted(clock, answer(200, text.ljust(MAX_BYTES)), raw(chunked))

    assert session.identity().endswith("never expires")


def test_an_answer_that_is_packed_is_not_unpacked(clock):
    """A small answer cannot become a large one."""
    packed = gzip.compress(json.dumps({"data": {"type": "kv", "options": {"version": "2"}}}).encode())
    peer, session = scripted(clock, LOGGED_IN, answer(200, packed, {"Content-Encoding": "gzip"}))
    with pytest.raises(DestinationRefused):
        session.require_kv2("secret", "the secret")

    assert {seen.headers["accept-encoding"] for seen in peer.seen} == {"identity"}


NONSENSE = [
    {"ttl": "1h", "creation_ttl": [1], "policies": 5, "display_name": {}},
    {"ttl": float("nan"), "creation_ttl": float("inf")},
    {"ttl": -1, "policies": {"a": 1}, "identity_policies": "root"},
]


@pytest.mark.parametrize("about", NONSENSE)
def test_nonsense_about_a_token_breaks_nothing(clock, about):
    """What Vault tells of a token is a courtesy: a number that is none stands for no end, a list that is none for
    an empty one."""
    _, session = scripted(clock, answer(200, {"data": about}))

    assert session.identity() == "[unprintable] (policies: none); the token never expires"


@pytest.mark.parametrize("about", [[1], "kv", {"type": "kv", "options": "2"}, {"type": "kv", "options": [2]}])
def test_nonsense_about_a_mount_is_no_version_2(clock, about):
    """A refusal in our words, whatever the shape of the answer."""
    _, session = scripted(clock, LOGGED_IN, answer(200, {"data": about}))
    with pytest.raises(DestinationRefused, match="not KV version 2"):
        session.require_kv2("secret", "the secret")


def test_a_login_with_a_nonsensical_time_does_not_end(clock):
    """The token is used as one without an end; a 403 tells when it does end."""
    login = answer(200, {"auth": {"client_token": "s.x", "lease_duration": "1h"}, "data": {"ttl": 0}})
    _, session = scripted(clock, login, auth="approle")

    assert "never expires" in session.identity()


def test_threads_that_waited_for_one_another_share_one_silence(clock):
    """A Vault that says nothing is waited for once, not once for each policy; the next to come asks anew."""
    peer, session = scripted(clock, hang, timeouts=(1.0, 0.5))
    found = []

    def ask():
        try:
            session.identity()
        except Unreachable as error:
            found.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(error) for error in found}) == 6
    assert {type(error) for error in found} == {Lost}
    assert len({str(error) for error in found}) == 1
    together = len(peer.seen)
    assert together <= 2  # a thread may have come late
    ask()
    assert len(peer.seen) == together + 1


def test_a_refused_connection_was_not_executed(clock):
    """Nobody listens: certainly nothing happened."""
    peer, session = scripted(clock, LOGGED_IN)
    peer.close()
    with pytest.raises(Unreachable) as caught:
        session.identity()

    assert not isinstance(caught.value, Lost)
    assert "refused" in caught.value.happened
    assert "VAULT_ADDR" in caught.value.remedy


def test_a_host_name_that_is_not_there(clock):
    """A mistyped address is told as such."""
    session = VaultSession(vault_access("http://vault.invalid:8200", "s.x"), clock)
    with pytest.raises(Unreachable, match="host name cannot be looked up"):
        session.identity()


def test_an_unsealed_vault_serves_again(fake, vault, fake_client):
    """The state is asked for anew with each call, and the token is still good."""
    one = fake_client("approle")
    one.read()
    vault.seal()
    assert "Unseal" in refused(one.read, Unreachable)
    vault.unseal()
    one.read()

    assert logins(vault) == 1


def test_a_standby_without_an_active_node(fake, vault, fake_client):
    """A node that can forward to nobody is told by its state."""
    one = fake_client("token")
    one.read()
    vault.standby(None)

    assert "standby" in refused(one.read, Unreachable)


# --- redirects -------------------------------------------------------------------------------------------


def test_a_standby_redirects_to_the_active_node(fake, vault, clock):
    """A 307 of a node that cannot forward is followed, with the token, once."""
    with StrictVault() as active:
        token = active.token({"secret/data/a b": ALL})
        vault.standby(active.url)
        session = VaultSession(vault_access(vault.url, token), clock)
        session.call(Call("POST", "secret/data/a b", "x", DATA), body='{"data": {"n": 1}}')
        reply = session.call(Call("GET", "secret/data/a b", "x", READ), version=1)

        assert reply.json()["data"]["data"] == {"n": 1}
        assert active.read("secret", "a b") == {"n": 1}


def test_two_standbys_that_name_one_another_end(vault, clock):
    """One redirect is followed; the second one is an error."""
    vault.standby(vault.url)
    session = VaultSession(vault_access(vault.url, "s.x"), clock)

    assert "redirect (307)" in refused(session.identity, DestinationRefused)
    assert len(vault.requests) == 2


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (301, "http://127.0.0.1:1/v1/x"),
        (302, "http://127.0.0.1:1/v1/x"),
        (308, "http://127.0.0.1:1/v1/x"),
        (307, "https://vault.example.com/v1/x"),
        (307, "ftp://vault.example.com/v1/x"),
        (307, "http://user:pw@vault.example.com/v1/x"),
        (307, "http://vault.example.com:99999/"),
        (307, "//vault.example.com/v1/x"),
        (307, "/v1/x"),
        (307, ""),
    ],
)
def test_no_other_redirect_is_followed(clock, status, location):
    """Another scheme, another kind of redirect, or nonsense: the token is not sent there, and the setting is named."""
    peer, session = scripted(clock, answer(status, {}, {"Location": location}))
    said = refused(session.identity, DestinationRefused)

    assert "VAULT_ADDR" in said
    assert "pw" not in said
    assert len(peer.seen) == 1


# --- what counts besides our settings --------------------------------------------------------------------


def test_nothing_of_the_machine_counts(fake, vault, clock, tmp_path, monkeypatch):
    """Neither Vault's own variables nor ~/.vault-token nor ~/.netrc reach a session of ours."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text("s.of-the-machine")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login of-the-machine password of-the-machine\n")
    (tmp_path / ".netrc").chmod(0o600)
    for name in (
        "VAULT_ADDR",
        "VAULT_TOKEN",
        "VAULT_NAMESPACE",
        "VAULT_CACERT",
        "VAULT_CLIENT_CERT",
        "VAULT_CAPATH",
    ):
        monkeypatch.setenv(name, "of-the-machine")
    peer, session = scripted(clock, answer(200, {"data": {"ttl": 0}}))
    session.identity()

    for seen in peer.seen:
        assert seen.headers["x-vault-token"] == "s.given"
        assert "x-vault-namespace" not in seen.headers
        assert "authorization" not in seen.headers
        assert not any("of-the-machine" in value for value in seen.headers.values())


def test_cookies_are_not_kept(clock):
    """Whatever stands before Vault, each request is sent alike."""
    peer, session = scripted(clock, answer(200, {"data": {"ttl": 0}}, {"Set-Cookie": "a=b; Path=/"}))
    session.identity()
    session.identity()

    assert len(peer.seen) >= 3
    assert not any("cookie" in seen.headers for seen in peer.seen)


def test_a_proxy_is_used_but_not_for_loopback(fake, clock, monkeypatch, tmp_path):
    """The proxies of the environment are how companies reach a Vault; this machine is reached without. What
    ~/.netrc has for the host is not sent."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(
        "machine vault.example.com login of-the-machine password of-the-machine\n"
    )
    proxy = Peer(answer(200, {"data": {"ttl": 0}}))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    VaultSession(vault_access(fake.url, fake.root), clock).identity()
    assert proxy.seen == []
    VaultSession(vault_access("http://vault.example.com:8200", "s.x"), clock).identity()

    assert {seen.path for seen in proxy.seen} == {"http://vault.example.com:8200/v1/auth/token/lookup-self"}
    assert not any("authorization" in seen.headers for seen in proxy.seen)


# --- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls_vault(authority, tmp_path):
    """The fake over TLS with a private CA; gives server, CA file."""
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    chain, key, ca = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    with StrictVault(certificate=chain, key=key) as server:
        yield server, ca


def test_a_private_ca_is_named_by_vault_cacert(tls_vault, clock, monkeypatch):
    """With the file it works, without it the certificate is what is wrong; other bundles do not matter then."""
    server, ca = tls_vault
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert "root" in VaultSession(vault_access(server.url, server.root, cacert=ca), clock).identity()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Unreachable) as caught:
        VaultSession(vault_access(server.url, server.root), clock).identity()
    assert "certificate is not accepted" in caught.value.happened
    assert "VAULT_CACERT" in caught.value.remedy
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))

    assert "root" in VaultSession(vault_access(server.url, server.root), clock).identity()


def test_another_ca_and_another_name_are_refused(tls_vault, clock, tmp_path, authority):
    """A certificate of somebody else's, or for somebody else's name, gets no token."""
    server, _ = tls_vault
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(Unreachable, match="certificate is not accepted"):
        VaultSession(vault_access(server.url, server.root, cacert=other), clock).identity()
    certificate = authority.issue_cert("vault.example.com")
    chain, key, ca = tmp_path / "c2.pem", tmp_path / "k2.pem", tmp_path / "ca2.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    with StrictVault(certificate=chain, key=key) as misnamed:
        with pytest.raises(Unreachable, match="certificate is not accepted"):
            VaultSession(vault_access(misnamed.url, misnamed.root, cacert=ca), clock).identity()
        assert misnamed.requests == []


def test_https_to_a_server_of_http(fake, clock):
    """The usual mix-up is guessed at."""
    session = VaultSession(vault_access(fake.url.replace("http:", "https:"), fake.root), clock)
    with pytest.raises(Unreachable, match="is it http"):
        session.identity()


# --- settings --------------------------------------------------------------------------------------------


def problem(clock, **access):
    with pytest.raises(InvalidInput) as caught:
        VaultSession(vault_access(None, **access), clock).identity()
    assert not isinstance(caught.value, CredentialRejected)
    return str(caught.value)


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ("token", ["2 settings", "VAULT_ADDR is not set", "it is not set"]),
        ("approle", ["3 settings", "VAULT_ADDR is not set", "it is not set; it is not set"]),
        ("kubernetes", ["3 settings", "VAULT_ADDR is not set", "VAULT_ROLE is not set", "it is not set"]),
    ],
)
def test_all_settings_that_are_missing_are_said_at_once(clock, auth, words):
    """Only those that the method needs, and only when a call needs them."""
    said = problem(clock, auth=auth)

    assert all(word in said for word in words)
    assert ("VAULT_ROLE" in said) is (auth == "kubernetes")


def test_one_problem_is_one_sentence(clock):
    """Without a count before it."""
    assert problem(clock, token="s.x").startswith("VAULT_ADDR is not set")


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("not PEM", "no certificates")])
def test_a_ca_file_is_checked_before_it_is_used(clock, tmp_path, content, words):
    """The file and what is wrong with it are named."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    said = problem(clock, token="s.x", cacert=path)

    assert f"VAULT_CACERT: {path}" in said
    assert words in said


# --- the engine behind a mount ---------------------------------------------------------------------------


def test_the_version_of_a_mount_is_asked_for_once(fake, vault, fake_client):
    """KV version 2 passes and is remembered."""
    one = fake_client("token")
    for _ in range(3):
        one.session.require_kv2(one.mount, "the secret")

    assert paths(vault).count(f"sys/internal/ui/mounts/{one.mount}") == 1


def test_version_1_and_nothing_at_all_are_refused(any_vault, clock):
    """What is mounted there is told apart from nothing, as far as the server tells."""
    first = any_vault.mount(version=1)
    session = VaultSession(vault_access(any_vault.url, any_vault.root), clock)

    assert "not KV version 2" in refused(lambda: session.require_kv2(first, "the secret"), DestinationRefused)
    assert "is not there" in refused(lambda: session.require_kv2("nowhere", "the secret"), DestinationRefused)


def test_an_engine_that_cannot_be_asked_about_is_unreachable(fake, vault, fake_client):
    """Not knowing is not the same as a wrong version."""
    one = fake_client("token")
    vault.faults.add("error-before", "sys/internal/*", status=500)
    with pytest.raises(Unreachable):
        one.session.require_kv2(one.mount, "the secret")


# --- the end ---------------------------------------------------------------------------------------------


def test_the_token_of_a_login_is_revoked_at_the_end(client):
    """Nothing that could still be used is left behind; closing twice is harmless."""
    one = client("approle")
    one.read()
    transport, token = one.session._transport, one.session._lease.token
    one.session.close()
    one.session.close()

    assert transport.send("GET", "auth/token/lookup-self", token=token).status == 403
    transport.close()


def test_a_given_token_is_not_revoked(any_vault, client):
    """It belongs to whoever gave it."""
    one = client("token")
    one.read()
    one.session.close()

    one.read()


def test_an_end_without_vault_is_quiet(fake, vault, fake_client):
    """A token that cannot be revoked ends by itself."""
    one = fake_client("approle")
    one.read()
    vault.seal()
    one.session.close()
    vault.unseal()
    again = fake_client("approle")
    again.read()
    vault.faults.add("drop-before", "auth/token/revoke-self")
    again.session.close()


# --- what leaks ------------------------------------------------------------------------------------------

MARK = "hvs." + "LeakMarkerVaultToken" + "0123456789"


def everything(error):
    """All that a careless printer could show of an error."""
    shown = "".join(traceback.format_exception(error))
    while error is not None:
        shown += f"{error!s}{error!r}{vars(error)}"
        error = error.__context__
    return shown


@pytest.mark.parametrize(
    "reply",
    [
        reset,
        hang,
        raw(b"x"),
        *(answer(status, {"errors": [MARK]}) for status in (400, 403, 404, 405, 500, 503)),
    ],
    ids=["reset", "silence", "garbage", "400", "403", "404", "405", "500", "503"],
)
@pytest.mark.parametrize("auth", ["token", "approle", "kubernetes"])
def test_errors_and_logs_hold_no_credential(clock, caplog, reply, auth):
    """Neither what we present nor what the server says is quoted, chained or logged, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("rotator", "urllib3", "requests", "hvac"):
        caplog.set_level(logging.DEBUG, logger=name)
    peer = Peer(reply)
    secret = lambda: Secret(MARK)  # noqa: E731  # one value for all of them
    access = vault_access(
        peer.url.removesuffix("/v1"),
        MARK,
        auth=auth,
        role="r",
        role_id=secret,
        secret_id=secret,
        jwt=secret,
        timeouts=(1.0, 0.2),
    )
    session = VaultSession(access, clock)
    with pytest.raises(RotatorError) as caught:
        session.call(Call("POST", "secret/data/x", "the secret", DATA), body=f'{{"data": "{MARK}"}}')
    session.close()

    assert peer.seen
    shown = everything(caught.value) + caplog.text + repr(session) + repr(access)
    assert MARK not in shown
    assert base64.b64encode(MARK.encode()).decode()[:20] not in shown
