"""The pages for people: made here as text, read-only, without script."""
