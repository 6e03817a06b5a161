"""Places a token is written to: the port in `base`, one file per kind of secret store."""
