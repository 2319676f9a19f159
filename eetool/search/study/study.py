"""One study, many workers: who evaluates what, kept in a database by Optuna, so that nothing is done twice or lost.

Candidates have slots, 0, 1, …; a planner fills them a generation at a time. Each slot is a trial that waits, runs, or
is complete. Workers plan alike, so it does not matter who does it: where two did, the trial with the lower number
counts. A worker says with a heartbeat that it lives; the trial of one that fell silent is failed by whoever looks next,
and what has no living trial is put up again.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.progress import SILENT, Progress
from eetool.search.methods.methods import ObjectiveValues, Planner
from eetool.search.search_results import Candidate, EvaluatedCandidate, figure_value, limit_excess
from eetool.search.space.space import Genome, Space, genome_key
from eetool.search.study.storage import Storage
from eetool_measure.records import encode
from eetool_runtime.records import decode

_SLOT, _GENOME, _FOUND, _TERMS, _BEAT = "slot", "genome", "candidate", "terms", "beat"
_ATTEMPTS = 5  # that a candidate may kill its worker
_POLL_SECONDS = 0.3
_LONGEST_LOOK_SECONDS = 1.0


class Study:
    """A named study in a storage, about fixed terms: a worker with others is refused."""

    def __init__(self, storage: Storage, name: str, space: Space, terms: Mapping[str, Any]) -> None:
        import optuna

        self.storage, self.name, self.space, self.objective = storage, name, space, str(terms["objective"])
        self._signs: dict[int, tuple[int | None, float]] = {}  # last beat of a trial, and for how long there was none
        self._looked = time.monotonic()
        self.study: Any = storage.patiently(
            lambda: optuna.create_study(
                study_name=name,
                storage=storage.database,
                directions=["minimize", "minimize"],
                sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: trials wait with their genes
                load_if_exists=True,
            )
        )
        self._agree(terms)

    def _agree(self, terms: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(encode(dict(terms))))
        text = self._terms()
        if text is None and self.storage.patiently(lambda: self.study.get_trials(deepcopy=False)):
            text = self._terms()  # a worker that began at the same time has set them, and put up trials
            if text is None:
                raise UsageError(f"the study {self.name!r} is not of eetool", "Give another --study.")
        if text is None:
            self.storage.patiently(lambda: self.study.set_user_attr(_TERMS, json.dumps(wanted)))
            return
        held = json.loads(text)
        other = [name for name in wanted if held.get(name) != wanted[name]]
        if other:
            shown = "; ".join(f"{name}: {_brief(held.get(name))}, not {_brief(wanted[name])}" for name in other)
            raise UsageError(
                f"the study {self.name!r} in {self.storage.address} is of another {other[0]} ({shown})",
                "Repeat its options, or give another --study.",
            )

    def _terms(self) -> str | None:
        """Those that are held, as JSON."""
        text: str | None = self.storage.patiently(lambda: self.study.user_attrs.get(_TERMS))
        return text

    def work(
        self,
        planner: Planner,
        evaluate: Callable[[Genome], Candidate],
        trials: int,
        objective: str,
        limits: Mapping[str, float],
        progress: Progress = SILENT,
    ) -> list[Candidate]:
        """Evaluate until `trials` candidates are complete, by whichever worker; returns them by their slots.

        Fewer come back where the planner finds no more networks.
        """
        with progress("evaluating candidates", trials) as advance:
            shown = 0
            while True:
                board = self._board()
                done = board.done()
                advance(min(len(done), trials) - shown)
                shown = min(len(done), trials)
                if len(done) >= trials:
                    break
                if self._step(board, done, evaluate):
                    continue
                plan = self._plan(planner, done, objective, limits)[: trials - len(done)]
                if not plan:
                    break
                for slot, genome in enumerate(plan, start=len(done)):
                    self._put_up(slot, genome)
        return [self._candidate(trial) for trial in done[:trials]]

    def _step(self, board: "_Board", done: Sequence[Any], evaluate: Callable[[Genome], Candidate]) -> bool:
        """Do what there is to do before anything new can be planned; False where there is nothing."""
        lost = board.lost()
        for slot, trial in lost.items():
            self._put_up(slot, trial.user_attrs[_GENOME])
        if not lost and board.waiting():
            self._evaluate_next(evaluate)
        elif not lost and (running := board.running()):
            self._fail_silent(running)
            time.sleep(_POLL_SECONDS)
        return bool(lost) or len(board.slots) > len(done)

    def _plan(self, planner: Planner, done: Sequence[Any], objective: str, limits: Mapping[str, float]) -> list[Genome]:
        found = [self._candidate(trial) for trial in done]
        return planner.plan([objective_values(candidate, objective, limits) for candidate in found])

    def _candidate(self, trial: Any) -> Candidate:
        def refuse(reason: str) -> EarlyExitError:
            return ArtefactError(f"trial {trial.number} of the study {self.name!r}: {reason}")

        return decode(EvaluatedCandidate, json.loads(trial.user_attrs[_FOUND]), refuse)

    def _board(self) -> "_Board":
        return _Board(self.storage.patiently(lambda: self.study.get_trials(deepcopy=False)))

    def _put_up(self, slot: int, genome: Genome) -> None:
        import optuna

        genes = [gene for gene in self.space.genes if gene.name in genome]
        waiting = optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=genome,
            distributions={g.name: optuna.distributions.CategoricalDistribution(g.choices) for g in genes},
            user_attrs={_SLOT: slot, _GENOME: genome},
        )
        self.storage.patiently(lambda: self.study.add_trial(waiting))

    def _evaluate_next(self, evaluate: Callable[[Genome], Candidate]) -> None:
        from optuna.trial import TrialState

        trial = self.storage.patiently(self.study.ask)
        slot = trial.user_attrs.get(_SLOT)
        if slot is None or self._board().owner(slot) != trial.number:  # another worker was faster
            self.storage.patiently(lambda: self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True))
            return
        try:
            with _alive(self.storage, trial._trial_id):
                candidate = evaluate(self.space.parse(trial.user_attrs[_GENOME]))
        except BaseException:
            with suppress(Exception):
                self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        self._store(trial, candidate)

    def _store(self, trial: Any, candidate: Candidate) -> None:
        """Complete a trial, unless this worker was silent for so long that it is another's by now."""
        import optuna

        text = json.dumps(encode(candidate))
        values = (1 - candidate.figures.accuracy, figure_value(candidate, self.objective) or 0.0)
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.patiently(lambda: self.storage.database.set_trial_user_attr(trial._trial_id, _FOUND, text))
            self.storage.patiently(lambda: self.study.tell(trial, values, skip_if_finished=True))

    def _fail_silent(self, running: Sequence[Any]) -> None:
        """Fail the trials of workers that fell silent.

        Beats are watched, so that no two clocks have to agree; time in which this worker itself stood still is none.
        """
        from optuna.trial import TrialState

        now = time.monotonic()
        watched, self._looked = min(now - self._looked, _LONGEST_LOOK_SECONDS), now
        for trial in running:
            sign, silent = self._signs.get(trial.number, (None, 0.0))
            if trial.number not in self._signs or sign != trial.user_attrs.get(_BEAT):
                self._signs[trial.number] = (trial.user_attrs.get(_BEAT), 0.0)
            elif silent + watched <= self.storage.pulse.silence:
                self._signs[trial.number] = (sign, silent + watched)
            else:
                tell = partial(self.study.tell, trial.number, state=TrialState.FAIL, skip_if_finished=True)
                self.storage.patiently(tell)


class _Board:
    """The trials of a study by their slots."""

    def __init__(self, trials: Sequence[Any]) -> None:
        self.slots: dict[int, list[Any]] = {}
        for trial in trials:
            if _SLOT in trial.user_attrs:
                self.slots.setdefault(trial.user_attrs[_SLOT], []).append(trial)

    def done(self) -> list[Any]:
        """Complete trials of the first slots, up to the first slot that is not complete."""
        found: list[Any] = []
        while (trial := self._first(len(found), "COMPLETE")) is not None:
            found.append(trial)
        return found

    def owner(self, slot: int) -> int | None:
        """Number of the trial that counts: a complete one, or else the first that lives."""
        trial = self._first(slot, "COMPLETE") or self._first(slot, "RUNNING", "WAITING")
        return None if trial is None else int(trial.number)

    def waiting(self) -> bool:
        """Whether a trial waits for a worker."""
        return any(t.state.name == "WAITING" for trials in self.slots.values() for t in trials)

    def running(self) -> list[Any]:
        """Trials that are with a worker."""
        return [t for trials in self.slots.values() for t in trials if t.state.name == "RUNNING"]

    def lost(self) -> dict[int, Any]:
        """Of slots without a living trial, one of the dead.

        Raises:
            ArtefactError: a candidate failed again and again.
        """
        found = {}
        for slot, trials in self.slots.items():
            failed = [t for t in trials if t.state.name == "FAIL"]
            if self.owner(slot) is None and failed:
                if len(failed) >= _ATTEMPTS:
                    raise ArtefactError(
                        f"candidate {genome_key(failed[0].user_attrs[_GENOME])[:12]} failed {len(failed)} workers in turn",
                        "Its network may need more memory than there is; try a smaller space.",
                    )
                found[slot] = failed[0]
        return found

    def _first(self, slot: int, *states: str) -> Any:
        found = [t for t in self.slots.get(slot, ()) if t.state.name in states]
        return min(found, key=lambda t: t.number, default=None)


def objective_values(candidate: Candidate, objective: str, limits: Mapping[str, float]) -> ObjectiveValues:
    """What a planner is told of a candidate."""
    cost = figure_value(candidate, objective) or 0.0
    return ObjectiveValues(candidate.encoding, 1 - candidate.figures.accuracy, cost, limit_excess(candidate, limits))


@contextmanager
def _alive(storage: Storage, trial_id: int) -> Iterator[None]:
    """Beat while the block runs. A beat that is lost because the storage is away is no reason to stop."""
    ended = threading.Event()

    def beat() -> None:
        for count in itertools.count():
            with suppress(Exception):
                storage.database.set_trial_user_attr(trial_id, _BEAT, count)
            if ended.wait(storage.pulse.beat):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
