"""`python -m rotator.simulator`: a local Lettermint to try rotator on, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rotator.simulator.server import Simulator


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line of JSON with the URLs and the tokens, then serves on loopback."""
    parser = argparse.ArgumentParser(
        prog="python -m rotator.simulator",
        description="A local Lettermint on loopback, for trying rotator. Its tokens are worth nothing.",
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--projects", type=int, default=2, help="projects to make (default: 2)")
    parser.add_argument(
        "--rotate-limit", type=int, default=3, help="rotate-token calls in any 60 s (default: 3)"
    )
    parser.add_argument("--read-limit", type=int, default=300, help="reads in any 60 s (default: 300)")
    parser.add_argument("--write-limit", type=int, default=60, help="writes in any 60 s (default: 60)")
    parser.add_argument("--marker", default="", help="letters and digits that every token shall begin with")
    parser.add_argument(
        "--ca-file",
        type=Path,
        help="start an SMTP relay too, and write here the certificate to name in SSL_CERT_FILE",
    )
    parser.add_argument("--smtp-port", type=int, help="the relay's port for STARTTLS (default: a free one)")
    parser.add_argument("--smtps-port", type=int, help="the relay's port for TLS (default: a free one)")
    options = parser.parse_args(arguments)
    if options.ca_file is None and (options.smtp_port, options.smtps_port) != (None, None):
        parser.error("a port of the SMTP relay needs --ca-file")
    # Blocked before any thread starts, so that each inherits it and the signal waits for sigwait.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        simulator = Simulator(
            options.port,
            rotate_limit=options.rotate_limit,
            read_limit=options.read_limit,
            write_limit=options.write_limit,
            marker=options.marker,
        )
        if options.ca_file is not None:
            simulator.open_relay(
                options.ca_file, smtp_port=options.smtp_port or 0, smtps_port=options.smtps_port or 0
            )
        simulator.start()
    except (ValueError, OSError, OverflowError) as problem:
        parser.error(str(problem))
    with_projects = simulator.furnish(options.projects, smtp_enabled=options.ca_file is not None)
    line = {
        "url": simulator.url,
        "admin_url": simulator.admin_url,
        "team_token": with_projects.team_token.reveal(),
        "domain": with_projects.domain,
        "projects": [{"id": one, "token": token.reveal()} for one, token in with_projects.projects],
    }
    if options.ca_file is not None:
        line |= {
            "smtp_url": simulator.smtp_url,
            "smtps_url": simulator.smtps_url,
            "ca_file": str(simulator.ca_file),
        }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    signal.sigwait(signals)
    simulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
