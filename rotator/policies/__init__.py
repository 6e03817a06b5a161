"""Rotation policies: the written format (`schema`, `load`) and what it means in time (`schedule`)."""
