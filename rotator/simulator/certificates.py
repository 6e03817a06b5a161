"""An authority and a certificate for this machine, made when the SMTP relay is."""

from __future__ import annotations

import ssl

import trustme

NAMES = ("127.0.0.1", "localhost", "::1")


class Certificates:
    """`ca_pem` is what a client has to trust; `server` what the relay shows. Worth nothing elsewhere."""

    def __init__(self) -> None:
        authority = trustme.CA(organization_name="rotator simulator")
        self.ca_pem = authority.cert_pem.bytes()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*NAMES).configure_cert(self.server)
