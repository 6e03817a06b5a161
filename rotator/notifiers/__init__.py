"""Tells people and systems what became of rotations."""
