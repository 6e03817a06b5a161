"""The words of `rotator.words`, under the name that the commands use."""

from rotator.words import bounds, count, distance, length, seconds

__all__ = ["bounds", "count", "distance", "length", "seconds"]
