"""Ways to have those who use a token read it again: the port in `base`, one file per way."""
