"""Posts a notice as a CloudEvent."""

from __future__ import annotations

from typing import Final

from rotator.notifiers.base import Event, Notice
from rotator.posting import EventPoster

_TYPES: Final = {
    (Event.COMPLETED, False): "rotator.rotation.completed.v1",
    (Event.FAILED, False): "rotator.rotation.failed.v1",
    (Event.FAILED, True): "rotator.rotation.recovered.v1",
    (Event.NEEDS_ATTENTION, False): "rotator.attention.raised.v1",
    (Event.NEEDS_ATTENTION, True): "rotator.attention.ended.v1",
    (Event.EMERGENCY, False): "rotator.emergency.begun.v1",
    (Event.EMERGENCY, True): "rotator.emergency.ended.v1",
}


class WebhookNotifier:
    """Implements `notifiers.base.Notifier`."""

    def __init__(self, poster: EventPoster) -> None:
        self._poster = poster

    def send(self, notice: Notice) -> None:
        self._poster.post(
            _TYPES[notice.event, notice.over],
            id=notice.id,
            subject=notice.policy,
            at=notice.at,
            data={
                "policy": notice.policy,
                "owner": notice.owner,
                "event": notice.event,
                "matter": notice.matter,
                "over": notice.over,
                "title": notice.title,
                "message": notice.message,
                "next": notice.next,
                **notice.data,
            },
        )
