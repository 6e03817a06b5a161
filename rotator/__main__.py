"""`python -m rotator` and the console script."""

from __future__ import annotations


def main() -> None:
    """Runs the command line."""
    from rotator.cli.main import run  # noqa: PLC0415  # importing this module must cost nothing

    run()


if __name__ == "__main__":
    main()
