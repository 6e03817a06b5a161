"""Ways to use a token as a consumer would: the port in `base`, one file per way."""
