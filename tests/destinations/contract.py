"""What every destination does, whatever kind of store it is. Give it a `place` fixture (see places.py)."""

from __future__ import annotations

import threading

import pytest

from rotator.destinations.base import Content, DestinationRefused
from rotator.errors import VersionConflict
from rotator.secret import Secret

OLD = "lm_" + "A" * 32
NEW = "lm_" + "B" * 32
OTHER = "lm_" + "C" * 22
WRITERS = 50


class DestinationContract:
    """Inherit it in a test module that has a `place` fixture."""

    # --- read -------------------------------------------------------------------------------------

    def test_read_gives_the_token_readers_get(self, place):
        """A reading holds the current token and names the state it was read in."""
        place.seed(OLD)
        reading = place.destination().read()

        assert (reading.content, reading.value) == (Content.TOKEN, Secret(OLD))
        assert reading.version

    def test_read_of_a_missing_place_says_so(self, place):
        """A secret that does not exist reads as missing and has no version."""
        reading = place.destination(create=True).read()

        assert (reading.content, reading.version, reading.value) == (Content.MISSING, None, None)

    def test_a_missing_place_is_refused_where_it_must_not_be_made(self, place):
        """Without `create` nothing reads, proves or writes a secret that does not exist."""
        destination = place.destination(create=False)
        base = place.destination(create=True).read()
        for attempt in (
            destination.read,
            destination.preflight,
            lambda: destination.stage(Secret(NEW), rotation="r1", base=base),
            lambda: destination.publish(Secret(NEW), rotation="r1", base=base),
        ):
            with pytest.raises(DestinationRefused) as caught:
                attempt()
            assert "create: true" in str(caught.value)
        assert place.text() is None

    def test_a_missing_field_reads_as_missing_in_an_existing_place(self, place):
        """A secret without our field is there, has a version, and has nothing of ours in it."""
        if place.key is None:
            pytest.skip("a bare token has no field that could be missing")
        place.seed(None)
        reading = place.destination().read()

        assert (reading.content, reading.value) == (Content.MISSING, None)
        assert reading.version

    def test_an_empty_field_reads_as_empty(self, place):
        """An empty text is neither a token nor somebody else's value."""
        place.seed("")

        assert place.destination().read().content is Content.EMPTY

    def test_a_foreign_value_is_shown_as_foreign(self, place):
        """What is no project token is reported as such, for the rule of ownership to decide."""
        place.seed("hunter2-not-a-token")
        reading = place.destination().read()

        assert (reading.content, reading.value) == (Content.FOREIGN, Secret("hunter2-not-a-token"))

    def test_the_version_changes_with_every_write_by_anybody(self, place):
        """A reading's version is never the same for two states."""
        place.seed(OLD)
        destination = place.destination()
        first = destination.read()
        place.edit()
        second = destination.read()
        destination.publish(Secret(NEW), rotation="r1", base=second)
        third = destination.read()

        assert len({first.version, second.version, third.version}) == 3

    # --- publish ----------------------------------------------------------------------------------

    def test_publish_makes_the_token_current(self, place):
        """After publish readers get the new token, and nothing is staged any more."""
        place.seed(OLD)
        destination = place.destination()
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())

        assert place.visible() == NEW
        assert destination.read().value == Secret(NEW)
        assert destination.read_staged() is None

    def test_publish_preserves_everything_else_to_the_byte(self, place):
        """Every other field keeps its value, spelling and order."""
        place.seed(OLD)
        before = place.text()
        destination = place.destination()
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())

        assert place.text() == before.replace(OLD, NEW)

    def test_publish_adds_a_field_that_was_not_there(self, place):
        """A missing field is added behind what is there."""
        place.seed(None)
        before = place.neighbours()
        destination = place.destination()
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())

        assert place.visible() == NEW
        if place.key is not None:
            assert (place.text() or "").startswith(before.rstrip("}\n"))

    def test_publish_makes_a_missing_place(self, place):
        """With `create` the first token makes the secret."""
        destination = place.destination(create=True)
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())

        assert place.visible() == NEW
        assert destination.read_staged() is None

    def test_publish_is_repeatable(self, place):
        """Repeating a publish whose answer got lost changes nothing and succeeds."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        destination.publish(Secret(NEW), rotation="r1", base=base)
        version = destination.read().version
        destination.publish(Secret(NEW), rotation="r1", base=base)

        assert destination.read().version == version
        assert place.visible() == NEW

    def test_publish_into_a_missing_place_is_repeatable(self, place):
        """The first write of all may be repeated like any other."""
        destination = place.destination(create=True)
        base = destination.read()
        for _ in range(2):
            destination.publish(Secret(NEW), rotation="r1", base=base)

        assert place.visible() == NEW

    def test_publish_after_somebody_elses_write_is_a_conflict(self, place):
        """A place that changed since it was read is left as it is."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        place.edit()
        theirs = place.text()
        with pytest.raises(VersionConflict):
            destination.publish(Secret(NEW), rotation="r1", base=base)

        assert place.text() == theirs

    def test_after_a_conflict_the_change_is_merged(self, place):
        """Read again and publish again keeps what somebody else wrote."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        place.edit()
        theirs = place.neighbours()
        with pytest.raises(VersionConflict):
            destination.publish(Secret(NEW), rotation="r1", base=base)
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())

        assert (place.visible(), place.neighbours()) == (NEW, theirs)

    def test_publish_over_a_place_that_appeared_meanwhile_is_a_conflict(self, place):
        """A secret that somebody made since our look is not overwritten."""
        destination = place.destination(create=True)
        base = destination.read()
        place.seed(OTHER)
        with pytest.raises(VersionConflict):
            destination.publish(Secret(NEW), rotation="r1", base=base)

        assert place.visible() == OTHER

    def test_of_many_writers_with_one_base_exactly_one_wins(self, place):
        """Compare-and-set holds under a race: one publish succeeds, all others see a conflict."""
        place.seed(OLD)
        base = place.destination().read()
        tokens = [f"lm_{number:032d}" for number in range(WRITERS)]
        outcomes: dict[str, str] = {}
        gate = threading.Barrier(WRITERS)

        def write(token):
            destination = place.destination()
            gate.wait()
            try:
                destination.publish(Secret(token), rotation=f"r-{token}", base=base)
                outcomes[token] = "won"
            except VersionConflict:
                outcomes[token] = "conflict"

        threads = [threading.Thread(target=write, args=(token,)) for token in tokens]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        winners = [token for token, outcome in outcomes.items() if outcome == "won"]
        assert sorted(outcomes) == tokens
        assert winners == [place.visible()]

    # --- stage and promote ------------------------------------------------------------------------

    def test_a_staged_token_is_invisible_to_readers(self, place):
        """Staging changes nothing that a reader of the current version gets."""
        place.seed(OLD)
        destination = place.destination()
        before, base = place.text(), destination.read()
        staged = destination.stage(Secret(NEW), rotation="r1", base=base)

        assert place.text() == before
        assert destination.read() == base
        assert destination.read_staged() == staged
        assert staged.value == Secret(NEW)

    def test_staging_in_a_missing_place_shows_readers_no_token(self, place):
        """Even where there was nothing at all, a staged token is not the current one."""
        destination = place.destination(create=True)
        base = destination.read()
        staged = destination.stage(Secret(NEW), rotation="r1", base=base)

        assert place.visible() in (None, "")
        assert destination.read_staged() == staged
        destination.promote(staged, base=base)
        assert place.visible() == NEW

    def test_promote_makes_the_staged_token_current(self, place):
        """After promote readers get the staged token, with everything else as it was."""
        place.seed(OLD)
        before = place.neighbours()
        destination = place.destination()
        base = destination.read()
        destination.promote(destination.stage(Secret(NEW), rotation="r1", base=base), base=base)

        assert (place.visible(), place.neighbours()) == (NEW, before)
        assert destination.read_staged() is None

    def test_stage_and_promote_are_repeatable(self, place):
        """Each of them may be repeated at any later point with the same arguments."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        staged = destination.stage(Secret(NEW), rotation="r1", base=base)
        assert destination.stage(Secret(NEW), rotation="r1", base=base) == staged
        destination.promote(staged, base=base)
        version = destination.read().version
        destination.promote(staged, base=base)
        assert destination.stage(Secret(NEW), rotation="r1", base=base) == staged

        assert destination.read().version == version
        assert place.visible() == NEW
        assert destination.read_staged() is None

    def test_another_process_promotes_what_was_staged(self, place):
        """A staged version found by reading is promoted like one just made."""
        place.seed(OLD)
        first = place.destination()
        first.stage(Secret(NEW), rotation="r1", base=first.read())
        second = place.destination()
        found = second.read_staged()
        assert found is not None
        second.promote(found, base=second.read())

        assert place.visible() == NEW

    def test_staging_again_replaces_the_earlier_one(self, place):
        """There is one staged version at most: the latest."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        destination.stage(Secret(OTHER), rotation="r1", base=base)
        staged = destination.stage(Secret(NEW), rotation="r2", base=base)

        assert destination.read_staged() == staged

    def test_stage_on_a_changed_place_is_a_conflict(self, place):
        """A staged version is always made from what readers get now."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        place.edit()
        with pytest.raises(VersionConflict):
            destination.stage(Secret(NEW), rotation="r1", base=base)

    def test_promote_after_somebody_elses_write_is_a_conflict(self, place):
        """A change made between stage and promote is not lost."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        staged = destination.stage(Secret(NEW), rotation="r1", base=base)
        place.edit()
        theirs = place.text()
        with pytest.raises(VersionConflict):
            destination.promote(staged, base=base)

        assert place.text() == theirs

    def test_a_conflict_keeps_what_was_staged(self, place):
        """The staged token is the evidence a recovery looks for, so a lost promote does not throw it away."""
        place.seed(OLD)
        destination = place.destination()
        base = destination.read()
        staged = destination.stage(Secret(NEW), rotation="r1", base=base)
        place.edit()
        with pytest.raises(VersionConflict):
            destination.promote(staged, base=base)

        assert destination.read_staged() == staged

    # --- discard, recall, preflight ---------------------------------------------------------------

    def test_discard_removes_the_staged_token(self, place):
        """After discard nothing is staged, and readers have seen nothing."""
        place.seed(OLD)
        destination = place.destination()
        before = place.text()
        destination.stage(Secret(NEW), rotation="r1", base=destination.read())
        destination.discard()

        assert destination.read_staged() is None
        assert place.text() == before

    @pytest.mark.parametrize("exists", [True, False])
    def test_discard_of_nothing_is_fine(self, place, exists):
        """Nothing staged, or no secret at all: there is nothing to do."""
        if exists:
            place.seed(OLD)
        before = place.text()
        place.destination().discard()
        place.destination().discard()

        assert place.text() == before

    def test_nothing_is_staged_in_a_missing_place(self, place):
        """A secret that does not exist has no staged version."""
        assert place.destination().read_staged() is None

    def test_recall_finds_the_former_token(self, place):
        """What was current before is found again, for a rollback."""
        place.seed(OLD)
        destination = place.destination()
        for number, token in enumerate((NEW, OTHER)):
            destination.publish(Secret(token), rotation=f"r{number}", base=destination.read())

        assert destination.recall(lambda token: token == Secret(NEW)) == Secret(NEW)
        assert destination.recall(lambda token: token == Secret(OLD)) == Secret(OLD)

    def test_recall_gives_nothing_where_nothing_matches(self, place):
        """Neither the current token nor a stranger's is a former one of ours."""
        place.seed(OLD)
        destination = place.destination()
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())

        assert destination.recall(lambda token: token == Secret(NEW)) is None
        assert destination.recall(lambda token: token == Secret(OTHER)) is None

    def test_recall_in_a_missing_place_finds_nothing(self, place):
        """A secret that does not exist has no former versions."""
        assert place.destination().recall(lambda _: True) is None

    def test_rolling_back_is_a_publish_of_the_former_token(self, place):
        """The former token can be made current again, in a rotation of its own."""
        place.seed(OLD)
        destination = place.destination()
        destination.publish(Secret(NEW), rotation="r1", base=destination.read())
        former = destination.recall(lambda token: token == Secret(OLD))
        assert former is not None
        destination.publish(former, rotation="r1", base=destination.read())

        assert place.visible() == OLD

    def test_preflight_changes_nothing_that_anybody_sees(self, place):
        """A proof of writability leaves readers, the version and the staged token alone."""
        place.seed(OLD)
        destination = place.destination()
        before = place.text()
        base = destination.read()
        staged = destination.stage(Secret(NEW), rotation="r1", base=base)
        for _ in range(3):
            destination.preflight()

        assert place.text() == before
        assert destination.read() == base
        assert destination.read_staged() == staged
        destination.promote(staged, base=base)
        assert place.visible() == NEW

    def test_preflight_of_a_missing_place_leaves_no_token(self, place):
        """Where `create` allows it a missing secret passes, and a reading from before still is a base."""
        destination = place.destination(create=True)
        base = destination.read()
        destination.preflight()

        assert place.visible() in (None, "")
        destination.publish(Secret(NEW), rotation="r1", base=base)
        assert place.visible() == NEW

    def test_preflight_refuses_a_text_that_cannot_be_merged(self, place):
        """A document we could not write into is found before anything is minted."""
        if place.key is None:
            pytest.skip("a bare token needs no form")
        broken = (
            f'{{"{place.key}": "a", "{place.key}": "b"}}'
            if place.form == "json"
            else f"{place.key}=a\n{place.key}=b\n"
        )
        place.write(broken)
        with pytest.raises(DestinationRefused):
            place.destination().preflight()
        with pytest.raises(DestinationRefused):
            place.destination().read()

        assert place.text() == broken

    def test_describe_names_the_place_and_the_field(self, place):
        """A person can tell from it which secret is meant."""
        text = place.destination().describe()

        assert (place.key or "") in text
        assert any(name in text for name in ("prod/billing/lettermint", "secret"))
