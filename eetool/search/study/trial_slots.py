"""Trials of a study by the slots of their candidates."""

from collections.abc import Sequence
from typing import Any

from eetool.errors import ArtefactError
from eetool.search.space.space import genome_key

SLOT, GENOME = "slot", "genome"  # attributes of a trial
_ATTEMPTS = 5  # workers that may fail on one candidate


class TrialSlots:
    """Trials grouped by slot; trials of other programs are ignored."""

    def __init__(self, trials: Sequence[Any]) -> None:
        self.slots: dict[int, list[Any]] = {}
        for trial in trials:
            if SLOT in trial.user_attrs:
                self.slots.setdefault(trial.user_attrs[SLOT], []).append(trial)

    def done(self) -> list[Any]:
        """Return the complete trials of the first slots, up to the first slot that is not complete."""
        complete: list[Any] = []
        while (trial := self._first(len(complete), "COMPLETE")) is not None:
            complete.append(trial)
        return complete

    def owner(self, slot: int) -> int | None:
        """Return the number of the trial that counts: a complete one, else the first that runs or waits."""
        trial = self._first(slot, "COMPLETE") or self._first(slot, "RUNNING", "WAITING")
        return None if trial is None else int(trial.number)

    def waiting(self) -> bool:
        """Return whether a trial waits for a worker."""
        return any(t.state.name == "WAITING" for trials in self.slots.values() for t in trials)

    def running(self) -> list[Any]:
        """Return the trials that workers evaluate now."""
        return [t for trials in self.slots.values() for t in trials if t.state.name == "RUNNING"]

    def lost(self) -> dict[int, Any]:
        """Return a failed trial of every slot that has no complete, running or waiting trial.

        Raises:
            ArtefactError: too many workers failed on one candidate.
        """
        lost = {}
        for slot, trials in self.slots.items():
            failed = [t for t in trials if t.state.name == "FAIL"]
            if self.owner(slot) is None and failed:
                if len(failed) >= _ATTEMPTS:
                    candidate = genome_key(failed[0].user_attrs[GENOME])[:12]
                    raise ArtefactError(
                        f"candidate {candidate} failed {len(failed)} workers in turn",
                        "Its network may need more memory than there is; try a smaller space.",
                    )
                lost[slot] = failed[0]
        return lost

    def _first(self, slot: int, *states: str) -> Any:
        trials = [t for t in self.slots.get(slot, ()) if t.state.name in states]
        return min(trials, key=lambda t: t.number, default=None)
