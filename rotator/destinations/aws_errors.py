"""What AWS's error codes mean for us. Judged by code, because AWS and its emulators differ in HTTP status.

No message of AWS is quoted: messages of Secrets Manager may carry a part of the request.
"""

from __future__ import annotations

from typing import Final

from rotator.destinations.base import DestinationRefused
from rotator.errors import CredentialRejected, RotatorError, Unreachable

NOT_FOUND: Final = "ResourceNotFoundException"
EXISTS: Final = "ResourceExistsException"
INVALID_PARAMETER: Final = "InvalidParameterException"
INVALID_REQUEST: Final = "InvalidRequestException"

_THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
    }
)
_SERVER: Final = frozenset(
    {
        "InternalServiceError",
        "InternalServerError",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
    }
)
_CREDENTIAL: Final = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AuthFailure",
    }
)
_READS: Final = ("Get", "Describe", "List")


def _then(action: str) -> str:
    if action.rpartition(":")[2].startswith(_READS):
        return "Nothing was changed; repeating it is safe"
    return "Whether the call was executed is not known; repeating it is safe"


def is_credential_problem(code: str, status: int) -> bool:
    """Whether AWS does not accept who we say we are (rather than what we want to do)."""
    return code in _CREDENTIAL or (status == 401 and not _is_denied(code))


def _is_denied(code: str) -> bool:
    return code.startswith("AccessDenied") or code in ("UnauthorizedOperation", "403")


def explain(*, action: str, where: str, code: str, status: int, message: str) -> RotatorError:
    """Our error for an error answer of AWS. `message` is looked at for two fixed words, never quoted."""
    said = f"AWS answered {action} on {where} with {code}"
    if code in _THROTTLED or status == 429:
        return Unreachable(f"{said}: too many requests", then=_then(action), remedy="Try again in a minute")
    if is_credential_problem(code, status):
        return CredentialRejected(
            f"{said}: it does not accept our credentials",
            then="Nothing was changed",
            remedy="Check the AWS credentials of this process, their expiry, and the machine's clock",
        )
    if _is_denied(code) or status in (401, 403):
        kms = "kms" in message.lower()
        needed = "kms:Decrypt and kms:GenerateDataKey on the secret's KMS key" if kms else action
        return CredentialRejected(
            f"{said}: we may not do this",
            then="Nothing was changed",
            remedy=f"Allow {needed} to the identity that `aws sts get-caller-identity` shows",
        )
    if code in _SERVER or status >= 500:
        return Unreachable(
            said, then=_then(action), remedy="Try again; look at the AWS Health Dashboard if it lasts"
        )
    why, remedy = _refusal(code, message)
    return DestinationRefused(f"{said}: {why}", then="Nothing was changed", remedy=remedy)


def no_answer(*, action: str, where: str, kind: str) -> RotatorError:
    """Our error for a connection that failed or an answer that got lost, after boto3's own repeats."""
    return Unreachable(
        f"{action} on {where} got no answer ({kind})",
        then=_then(action),
        remedy="Check the network, proxy and VPC endpoint between here and AWS",
    )


def _refusal(code: str, message: str) -> tuple[str, str]:
    if code == NOT_FOUND:
        return "there is no such secret", "Create it, or say `create: true` at this destination"
    if code == INVALID_REQUEST and "delet" in message.lower():
        return "the secret is scheduled for deletion", "Restore it with `aws secretsmanager restore-secret`"
    if code == INVALID_REQUEST:
        return (
            "the secret is in a state that does not allow it",
            "Look with `aws secretsmanager describe-secret`: a replica, managed, or rotating?",
        )
    if code == "LimitExceededException":
        return (
            "a quota of the secret is used up",
            "AWS keeps every version for 24 hours and about 100 in all; write less often and try again later",
        )
    if code in ("DecryptionFailure", "EncryptionFailure"):
        return "its KMS key cannot be used", "Check that the key exists, is enabled and is not to be deleted"
    return "it does not accept the request", "Check `secret_id` and `region` of this destination"
