"""Signatures by the Standard Webhooks scheme."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from rotator import signing
from rotator.errors import InvalidInput
from rotator.secret import Secret

WHSEC = "whsec_" + base64.b64encode(b"thirty-two bytes of signing key!").decode()


def test_the_example_that_receivers_libraries_are_tested_with() -> None:
    """The scheme's own example: id, time, body and key give this signature."""
    key = Secret("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signing.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert (made["webhook-id"], made["webhook-timestamp"]) == ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")


def test_each_key_signs(clock: object) -> None:
    """While a key is replaced both sign, in their order, so that either receiver is content."""
    keys = signing.keys_of(Secret(f"{WHSEC}\n\n  plain-key-of-sixteen-bytes\n"))
    first, second = signing.headers("m", 7, b"x", keys)["webhook-signature"].split(" ")
    for key, signature in (
        (b"thirty-two bytes of signing key!", first),
        (b"plain-key-of-sixteen-bytes", second),
    ):
        expected = base64.b64encode(hmac.new(key, b"m.7.x", hashlib.sha256).digest()).decode()
        assert signature == f"v1,{expected}"


@pytest.mark.parametrize("text", ["", "\n", "whsec_", "whsec_%%%", "fifteen-bytes-k", f"{WHSEC}\nshort"])
def test_a_key_that_proves_nothing_is_refused(text: str) -> None:
    """No key, an unreadable one and a guessable one; the message does not hold it."""
    with pytest.raises(InvalidInput) as caught:
        signing.keys_of(Secret(text))
    assert len(text.strip()) < 8 or text.strip() not in str(caught.value)


def test_without_a_key_the_id_and_the_time_are_told() -> None:
    """An unsigned message can still be recognised when it comes twice."""
    assert signing.headers("m", 7, b"x", ()) == {"webhook-id": "m", "webhook-timestamp": "7"}
