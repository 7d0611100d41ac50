"""One timer for all sessions: a wheel of quarter seconds. No `call_later` per socket."""

from typing import Protocol

SLOT_S = 0.25


class Timed(Protocol):
    slot: int | None
    """The slot that the wheel keeps this in; the wheel's own."""

    def tick(self, now: float) -> float | None:
        """Does what is due at `now`; returns when to come again, or None for never."""


class Wheel:
    """Ticks things when they are due, up to `SLOT_S` late, never early. Times are loop time, in seconds."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._done = int(now / SLOT_S)

    def schedule(self, timed: Timed, when: float) -> None:
        """Makes sure of a tick soon after `when`; an earlier one that is planned already is enough."""
        slot = max(int(when / SLOT_S) + 1, self._done + 1)
        if timed.slot is not None:
            if timed.slot <= slot:
                return
            self.forget(timed)
        timed.slot = slot
        self._slots.setdefault(slot, set()).add(timed)

    def forget(self, timed: Timed) -> None:
        if timed.slot is not None:
            self._slots.get(timed.slot, set()).discard(timed)
            timed.slot = None

    def turn(self, now: float) -> None:
        """Ticks everything that is due."""
        target = int(now / SLOT_S)
        for slot in range(self._done + 1, target + 1):
            self._done = slot
            for timed in self._slots.pop(slot, ()):
                timed.slot = None
                again = timed.tick(now)
                if again is not None:
                    self.schedule(timed, again)
