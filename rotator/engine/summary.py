"""What a rotation came to, in words."""

from __future__ import annotations

from datetime import timedelta

from rotator.model import Rotation


def summary(rotation: Rotation) -> str:
    """One sentence for the end of a rotation: what holds now, and what it cost."""
    parts = ["The new token is stored and verified"] if verified(rotation) else ["The new token was stored"]
    if rotation.old_token_dead:
        parts.append("the old one is proved dead")
    elif rotation.old_fingerprint is not None:
        parts.append("the old one could not be presented, so its death is not proved")
    if rotation.outage is not None and rotation.outage.max > 0:
        parts.append(
            f"the store held no living token for {rotation.outage.min:.3f} to {rotation.outage.max:.3f} s"
        )
    elif rotation.outage is not None:
        parts.append(f"readers held a living token throughout{_overlap(rotation)}")
    return "; ".join(parts) + "."


def _overlap(rotation: Rotation) -> str:
    seconds = rotation.overlap
    if seconds is None:
        return ""
    return f", both tokens for {timedelta(seconds=round(seconds)) if seconds >= 10 else f'{seconds:.1f} s'}"


def verified(rotation: Rotation) -> bool:
    """Whether every verifier passed."""
    return bool(rotation.verified) and all(result.ok for result in rotation.verified)
