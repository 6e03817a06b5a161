"""The mail provider whose tokens are rotated: the port in `base`, one file per implementation."""
