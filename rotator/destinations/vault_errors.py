"""What Vault's and OpenBao's statuses and texts mean for us. No library is imported here.

No text of the server is quoted: its errors may repeat a request, a path or a claim of a login token. They are
compared with the texts below, which were seen on servers (Vault 1.8.0-dev, OpenBao 2.6.2) or stand in
their sources, and what they mean is said in our own words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rotator import reply
from rotator.destinations.base import DestinationRefused
from rotator.errors import CredentialRejected, RotatorError, Unreachable

READ: Final = ("read",)
DATA: Final = ("create", "read", "update")
"""All that a rotation does to a secret, whatever it was doing when it was denied: mended once, it is mended."""
DELETE: Final = ("delete",)
PATCH: Final = ("patch",)

_CAS_MISMATCH: Final = "check-and-set parameter did not match"
_NO_TOKEN: Final = "missing client token"  # noqa: S105  # a text of the server
_UPGRADING: Final = "upgrading from non-versioned"
_TOO_LARGE: Final = ("value too large", "value being too large", "request body too large")

_AGAIN: Final = "Nothing was changed; repeating it is safe"
_UNKNOWN: Final = "Whether the call was executed is not known; repeating it is safe"

# What a server says of itself in answers of 500 and above: a part of its text, our words, a remedy. The first
# that fits counts.
_STATES: Final = (
    ("namespace is sealed", "its namespace is sealed", "Unseal the namespace"),
    (
        "sealed",
        "it is sealed",
        "Unseal it (`vault operator unseal`); nothing can be read or written until then",
    ),
    ("not initialized", "it is not initialized", "Initialize and unseal it (`vault operator init`)"),
    (
        "locked",
        "its API is locked for this namespace",
        "Unlock it (`vault namespace unlock`) or wait until whoever locked it does",
    ),
    (
        "active",  # "no active Vault instance found", "local node not active but active cluster node not found"
        "this node is a standby and knows no active node",
        "Wait for the cluster to elect one, or look at `vault status` on its nodes",
    ),
    ("standby", "this node is a standby", "Set VAULT_ADDR to the cluster's address or the active node's"),
)

# Answers to a Kubernetes login that come with status 500 and that no repeating will change.
_KUBERNETES: Final = (
    ("could not load backend configuration", "its Kubernetes authentication is not configured there"),
    ("service account name not authorized", "the role does not allow the name of this service account"),
    ("namespace not authorized", "the role does not allow the namespace of this service account"),
    ('claim "iss"', "the issuer of the service account's token is not the one it expects"),
    ("issuer", "the issuer of the service account's token is not the one it expects"),
    ('claim "aud"', "the service account's token was made for another audience"),
    ("audience", "the service account's token was made for another audience"),
    ("expired", "the service account's token has expired"),
    ("claims", "the service account's token lacks what it expects"),
    ("parsing token", "what was presented is no service account's token"),
    ("lookup failed", "the Kubernetes API does not accept the service account's token"),
    ("jws", "what was presented is no service account's token"),
    ("jwt", "what was presented is no service account's token that it accepts"),
    ("square/go-jose", "what was presented is no service account's token"),
)


class Lost(Unreachable):
    """The call was sent, and nobody told what became of it: it may have been executed."""

    code = "answer-lost"


@dataclass(frozen=True)
class Reply(reply.Reply):
    """An answer of Vault's."""

    def says(self, *parts: str) -> bool:
        """Whether one of its error texts holds one of these; in any case of letters."""
        errors = self.json().get("errors")
        said = " ".join(map(str, errors)).lower() if isinstance(errors, list) else ""
        return any(part in said for part in parts)

    @property
    def is_cas_mismatch(self) -> bool:
        """The place is not at the version that the write named. Says that the write would have been allowed."""
        return self.status == 400 and self.says(_CAS_MISMATCH)

    @property
    def is_denied(self) -> bool:
        """The token may not do this, or is no token (any more); which, only the token itself can tell."""
        return self.status in (401, 403) or (self.status == 400 and self.says(_NO_TOKEN))

    @property
    def is_lack_of_policy(self) -> bool:
        """A denial that a token can only get while it lives: a dead one is told `permission denied` alone, or more."""
        return self.status == 403 and self.says("1 error occurred:\n\t* permission denied")

    @property
    def is_nothing(self) -> bool:
        """There is nothing at this path, or a deleted version. Unlike a path that no engine serves, which has an
        error text, and unlike the page of something that is not Vault."""
        if self.status != 404:
            return False
        found = self.json()
        return found.get("errors") == [] or isinstance(found.get("data"), dict)


@dataclass(frozen=True)
class Call:
    """What is asked of Vault: for messages, and for the policy that would allow it."""

    method: str
    path: str
    """As policies name it: without `v1` and without quoting."""
    where: str
    capabilities: tuple[str, ...]

    @property
    def changes(self) -> bool:
        return self.method != "GET"

    @property
    def action(self) -> str:
        return {"GET": "reading", "DELETE": "deleting"}.get(self.method, "writing") + f" {self.path}"


def explain(call: Call, reply: Reply) -> RotatorError:
    """Our error for an answer that is neither a success, nor a refusal of the token, nor about `cas`."""
    status = reply.status
    said = f"Vault answered {status} to {call.action}"
    if status >= 500 and reply.says(*_TOO_LARGE):
        status = 413
    if status == 429:
        remedy = "Try again in a minute, or raise the quota (`vault read sys/quotas/rate-limit`)"
        return Unreachable(f"{said}: too many requests", then=_AGAIN, remedy=remedy)
    if status == 412 or (status == 400 and reply.says(_UPGRADING)):
        why = "it is not ready for this path yet (catching up, or upgrading the engine)"
        return Unreachable(f"{said}: {why}", then=_AGAIN, remedy="Try again in a minute")
    if status >= 500:
        return unavailable(said, reply)
    why, remedy = _refusal(status, reply)
    return DestinationRefused(
        f"{call.where} cannot be used: {said}, {why}", then="Nothing was changed", remedy=remedy
    )


def unavailable(said: str, reply: Reply) -> Unreachable:
    """Our error for a server that cannot serve now, with its state in words as far as it tells."""
    for part, state, remedy in _STATES:
        if reply.says(part):
            # It refused before it did anything.
            return Unreachable(f"{said}: {state}", then=_AGAIN, remedy=remedy)
    if reply.status in (502, 504):
        said += ": what stands before it does not reach it"
    remedy = "Try again; look at `vault status` and at the server's log if it lasts"
    return Lost(said, then=_UNKNOWN, remedy=remedy)


def no_answer(said: str, why: str, *, sent: bool) -> Unreachable:
    """Our error for a connection that failed, or an answer that got lost."""
    if sent:
        remedy = "Check the network between here and Vault, and what stands between"
        return Lost(f"{said}: {why}", then=_UNKNOWN, remedy=remedy)
    remedy = "Check VAULT_ADDR, VAULT_CACERT, the network and the proxy settings"
    return Unreachable(f"{said}: {why}", then="Nothing was sent; repeating it is safe", remedy=remedy)


def _refusal(status: int, reply: Reply) -> tuple[str, str]:
    if status < 400 or (status in (401, 403, 404) and not reply.json()):
        return "which is no answer of Vault's", "Check VAULT_ADDR, and what stands between here and Vault"
    if status == 404 and reply.says("namespace"):
        return "there is no such namespace", "Check VAULT_NAMESPACE"
    if status == 404:
        return "nothing is mounted there", "Check `mount` at this destination, and VAULT_NAMESPACE"
    if status == 405:
        return "it does not know this kind of call", "Vault 1.1 or newer is needed, and KV version 2"
    if status == 413:
        return (
            "it is too large for its storage",
            "Take something out of the secret, or use one of its own for the token",
        )
    return "it does not accept the request", "Check `mount` and `path` of this destination"


def missing_policy(call: Call, who: str) -> RotatorError:
    """Our error for a living token that may not do this. `who` describes the token."""
    needed = ", ".join(f'"{one}"' for one in call.capabilities)
    return CredentialRejected(
        f"Vault does not allow {call.action} (403) to our token, {who}",
        then="Nothing was changed",
        remedy=f'Give it a policy with: path "{call.path}" {{ capabilities = [{needed}] }}',
    )


def dead_token() -> RotatorError:
    """Our error for a given token that Vault does not know (any more)."""
    return CredentialRejected(
        "Vault does not accept our token (403): it is wrong, expired or revoked",
        then="Nothing was changed",
        remedy=(
            "Put a living one into VAULT_TOKEN, or into the file of VAULT_TOKEN_FILE, which is read again; or let "
            "rotator log in by itself (ROTATOR_VAULT_AUTH=approle or kubernetes)"
        ),
    )


def login_refused(method: str, mount: str, reply: Reply) -> RotatorError:
    """Our error for a login that failed: CredentialRejected where repeating it would not help."""
    said = f"Vault answered {reply.status} to the login at auth/{mount}"
    known = next((words for part, words in _KUBERNETES if reply.says(part)), "")
    if reply.status == 429 or (reply.status >= 500 and not (method == "kubernetes" and known)):
        return unavailable(said, reply)
    if reply.ok:
        why = "but gave no token: it asks for another proof, or is not Vault"
        remedy = "Check VAULT_ADDR; multi-factor logins cannot be used by rotator"
    elif reply.status in (404, 405) or (method == "approle" and reply.status == 403):
        why = "nothing of this kind seems to be mounted there"
        remedy = "Check ROTATOR_VAULT_AUTH_MOUNT and VAULT_NAMESPACE; `vault auth list` shows what is mounted"
    elif method == "approle":
        why = "it does not accept the role_id and secret_id: one of them is wrong, expired or used up"
        remedy = (
            "Make a new secret_id and put it into VAULT_SECRET_ID or its file; one that may be used once only "
            "(`secret_id_num_uses`) serves one process until its token ends"
        )
    else:
        if not known and reply.says("invalid role"):
            known = "there is no such role"
        why = known or "it does not accept the service account's token for this role"
        remedy = f"Check VAULT_ROLE, and names, namespaces and audience of the role (`vault read auth/{mount}/role/…`)"
    return CredentialRejected(f"{said}: {why}", then="Nothing was changed", remedy=remedy)
