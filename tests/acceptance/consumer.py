"""A program that sends mail the way applications do: the vendor's SDK, and a token kept for some seconds.

    python -P consumer.py '[{"url": …, "store": {"type": "aws-secrets-manager", …}, "cache": 2.0, "interval": 0.02,
        "output": 5}]'

Each order is an application in a process of its own, forked when the libraries are loaded, which takes a second.
It does nothing clever: no reading anew on 401, no second try. It says `sending` on the descriptor `output` once its
first message was accepted, goes on until standard input ends, and tells there what it saw. Times are seconds of the
boot clock, which all processes of a machine share. Tokens appear as digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import lettermint

KEY = "token"


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def aws_reader(store: dict[str, Any]) -> Callable[[], str]:
    import boto3  # noqa: PLC0415  # a consumer of one store does not load the other's client

    client = boto3.client("secretsmanager", region_name=store["region"])
    return lambda: json.loads(client.get_secret_value(SecretId=store["secret_id"])["SecretString"])[KEY]


def vault_reader(store: dict[str, Any]) -> Callable[[], str]:
    import hvac  # noqa: PLC0415  # as above

    kv = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"]).secrets.kv.v2

    def read() -> str:
        found = kv.read_secret_version(
            store["path"], mount_point=store["mount"], raise_on_deleted_version=True
        )
        return str(found["data"]["data"][KEY])

    return read


READERS = {"aws-secrets-manager": aws_reader, "vault-kv": vault_reader}


class Consumer:
    """One application. A token is used for at most `cache` seconds after it was asked for."""

    def __init__(self, url: str, read: Callable[[], str], cache: float, sender: str) -> None:
        self._url = url
        self._read = read
        self._cache = cache
        self._mail: Any = {
            "from": sender,
            "to": ["ok@testing.lettermint.co"],
            "subject": "Order 4711",
            "text": "Thanks.",
        }
        self._mailer: lettermint.Lettermint | None = None
        self._token = ""
        self._asked = float("-inf")
        self.reads: list[tuple[float, float, str]] = []
        """When it asked, when it was answered, and for which token."""
        self.sends: list[tuple[float, float, str, str]] = []
        """When it was sent, when it was answered, with which token, and why it failed (empty: accepted)."""

    def send(self) -> bool:
        """One message, and whether it was accepted."""
        failure, began = "", now()
        try:
            mailer = self._current()
            began = now()
            mailer.emails.send(self._mail)
        except Exception as error:  # noqa: BLE001  # whatever it is, this application's mail was not sent
            failure = type(error).__name__
        self.sends.append((began, now(), digest(self._token), failure))
        return not failure

    def _current(self) -> lettermint.Lettermint:
        asked = now()
        if self._mailer is None or asked - self._asked >= self._cache:
            token = self._read()
            self._asked = asked
            self.reads.append((asked, now(), digest(token)))
            if self._mailer is None or token != self._token:
                if self._mailer is not None:
                    self._mailer.close()
                self._token = token
                self._mailer = lettermint.Lettermint(sending_token=token, base_url=self._url, timeout=10)
        return self._mailer


def work(consumer: Consumer, interval: float, output: int) -> None:
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    said, due = False, now()
    with os.fdopen(output, "w", encoding="utf-8") as told:
        while not ended.is_set():
            if consumer.send() and not said:
                said = True
                told.write("sending\n")
                told.flush()
            due = max(due + interval, now())  # what was held up is not made up for in a burst
            ended.wait(due - now())
        json.dump({"reads": consumer.reads, "sends": consumer.sends}, told)


def main() -> None:
    orders = json.loads(sys.argv[1])
    consumers = [
        Consumer(
            order["url"], READERS[order["store"]["type"]](order["store"]), order["cache"], order["sender"]
        )
        for order in orders
    ]
    for consumer, order in zip(consumers, orders, strict=True):
        if os.fork() == 0:
            code = 1
            try:
                for other in orders:
                    if other is not order:
                        os.close(other["output"])  # the end of an application is to end what is read of it
                work(consumer, order["interval"], order["output"])
                code = 0
            except BaseException:  # noqa: BLE001  # what became of it must not go on as the parent
                traceback.print_exc()
            finally:
                os._exit(code)
    for order in orders:
        os.close(order["output"])
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in orders]
    sys.exit(int(any(codes)))


if __name__ == "__main__":
    main()
