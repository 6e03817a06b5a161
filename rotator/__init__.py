"""Rotates Lettermint project API tokens and leaves evidence of having done so."""

__version__ = "0.1.0"
