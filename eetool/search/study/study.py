"""A study shared by many workers, stored in a database by Optuna, so that no candidate is evaluated twice or lost.

Candidates have slots 0, 1, …; a planner fills them one generation at a time. Each slot is a trial that waits, runs or
is complete. All workers plan the same candidates, so any of them may do it. Where two did, the trial with the lower
number counts. A worker sends heartbeats while it evaluates. Another worker fails a trial whose heartbeats have stopped,
and queues every candidate without a live trial again.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.progress import SILENT, Progress
from eetool.search.methods.planners import ObjectiveValues, Planner
from eetool.search.search_results import Candidate, EvaluatedCandidate, figure_value, limit_excess
from eetool.search.space.space import Genome, Space
from eetool.search.study.heartbeat import HeartbeatMonitor, send_heartbeats
from eetool.search.study.storage import Storage
from eetool.search.study.trial_slots import GENOME, SLOT, TrialSlots
from eetool_measure.records import encode
from eetool_runtime.records import decode

_CANDIDATE = "candidate"  # attribute of a trial
_SETTINGS = "terms"  # attribute of a study; the name in databases that exist
_POLL_SECONDS = 0.3
_OTHER_STUDY = "Repeat its options, or give another --study."
_CHANGED_SPACE = (
    "The space has the same name and other genes, as built-in ones may have in a new version. Give another --study; "
    "the supernet fits as well where the backbones are the same."
)


class Study:
    """A named study in a storage; all of its workers have the same settings.

    Args:
        storage: database that holds the study.
        name: name of the study in it.
        space: space of the candidates.
        settings: settings that every worker must share, with the key `objective`.

    Raises:
        UsageError: the study exists with other settings, or is not of eetool.
    """

    def __init__(self, storage: Storage, name: str, space: Space, settings: Mapping[str, Any]) -> None:
        import optuna

        self.storage, self.name, self.space, self.objective = storage, name, space, str(settings["objective"])
        self._monitor = HeartbeatMonitor(storage.heartbeat.timeout_seconds)
        self.study: Any = storage.with_retry(
            lambda: optuna.create_study(
                study_name=name,
                storage=storage.database,
                directions=["minimize", "minimize"],
                sampler=optuna.samplers.RandomSampler(seed=0),  # never asked: waiting trials have their genes
                load_if_exists=True,
            )
        )
        self._check_settings(settings)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        """Store the settings, or compare them with the stored ones."""
        expected = json.loads(json.dumps(encode(dict(settings))))
        text = self._stored_settings()
        if text is None and self.storage.with_retry(lambda: self.study.get_trials(deepcopy=False)):
            text = self._stored_settings()  # a worker that started at the same time stored them and queued trials
            if text is None:
                raise UsageError(f"the study {self.name!r} is not of eetool", "Give another --study.")
        if text is None:
            self.storage.with_retry(lambda: self.study.set_user_attr(_SETTINGS, json.dumps(expected)))
            return
        stored = json.loads(text)
        different = [name for name in expected if stored.get(name) != expected[name]]
        if different:
            details = "; ".join(
                f"{name}: {_shorten(stored.get(name))}, not {_shorten(expected[name])}" for name in different
            )
            raise UsageError(
                f"the study {self.name!r} in {self.storage.url} is of another {different[0]} ({details})",
                _CHANGED_SPACE if _has_changed_space(stored, expected) else _OTHER_STUDY,
            )

    def _stored_settings(self) -> str | None:
        """Return the stored settings as JSON."""
        text: str | None = self.storage.with_retry(lambda: self.study.user_attrs.get(_SETTINGS))
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
        """Evaluate until `trials` candidates are complete, by whichever worker; return them in the order of slots.

        The result is shorter where the planner finds no more networks.
        """
        with progress("evaluating candidates", trials) as advance:
            shown = 0
            while True:
                slots = self._slots()
                done = slots.done()
                advance(min(len(done), trials) - shown)
                shown = min(len(done), trials)
                if len(done) >= trials:
                    break
                if self._process_slots(slots, done, evaluate):
                    continue
                plan = self._plan(planner, done, objective, limits)[: trials - len(done)]
                if not plan:
                    break
                for slot, genome in enumerate(plan, start=len(done)):
                    self._enqueue(slot, genome)
        return [self._candidate(trial) for trial in done[:trials]]

    def _process_slots(self, slots: TrialSlots, done: Sequence[Any], evaluate: Callable[[Genome], Candidate]) -> bool:
        """Take one step on the planned slots; return False where all of them are complete."""
        lost = slots.lost()
        for slot, trial in lost.items():
            self._enqueue(slot, trial.user_attrs[GENOME])
        if not lost and slots.waiting():
            self._evaluate_next(evaluate)
        elif not lost and (running := slots.running()):
            self._fail_silent(running)
            time.sleep(_POLL_SECONDS)
        return bool(lost) or len(slots.slots) > len(done)

    def _plan(self, planner: Planner, done: Sequence[Any], objective: str, limits: Mapping[str, float]) -> list[Genome]:
        candidates = [self._candidate(trial) for trial in done]
        return planner.plan([objective_values(candidate, objective, limits) for candidate in candidates])

    def _candidate(self, trial: Any) -> Candidate:
        def refuse(reason: str) -> EarlyExitError:
            return ArtefactError(f"trial {trial.number} of the study {self.name!r}: {reason}")

        return decode(EvaluatedCandidate, json.loads(trial.user_attrs[_CANDIDATE]), refuse)

    def _slots(self) -> TrialSlots:
        return TrialSlots(self.storage.with_retry(lambda: self.study.get_trials(deepcopy=False)))

    def _enqueue(self, slot: int, genome: Genome) -> None:
        import optuna

        genes = [gene for gene in self.space.genes if gene.name in genome]
        waiting = optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=genome,
            distributions={g.name: optuna.distributions.CategoricalDistribution(g.choices) for g in genes},
            user_attrs={SLOT: slot, GENOME: genome},
        )
        self.storage.with_retry(lambda: self.study.add_trial(waiting))

    def _evaluate_next(self, evaluate: Callable[[Genome], Candidate]) -> None:
        from optuna.trial import TrialState

        trial = self.storage.with_retry(self.study.ask)
        slot = trial.user_attrs.get(SLOT)
        if slot is None or self._slots().owner(slot) != trial.number:  # another worker was faster
            self._tell(trial, state=TrialState.PRUNED)
            return
        try:
            with send_heartbeats(self.storage, trial._trial_id):
                candidate = evaluate(self.space.parse(trial.user_attrs[GENOME]))
        except BaseException:
            with suppress(Exception):
                self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            raise
        self._store(trial, candidate)

    def _store(self, trial: Any, candidate: Candidate) -> None:
        """Complete a trial, unless another worker failed it because heartbeats of this one were missing."""
        import optuna

        text = json.dumps(encode(candidate))
        values = (1 - candidate.figures.accuracy, figure_value(candidate, self.objective) or 0.0)
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.with_retry(
                lambda: self.storage.database.set_trial_user_attr(trial._trial_id, _CANDIDATE, text)
            )
        self._tell(trial, values)

    def _tell(self, trial: Any, *values: Any, **state: Any) -> None:
        """End a trial, unless another worker has ended it: before, or while Optuna compares and sets its state."""
        import optuna

        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.with_retry(partial(self.study.tell, trial, *values, **state, skip_if_finished=True))

    def _fail_silent(self, running: Sequence[Any]) -> None:
        """Fail the trials whose heartbeats have stopped."""
        from optuna.trial import TrialState

        for trial in self._monitor.silent(running):
            self._tell(trial.number, state=TrialState.FAIL)


def objective_values(candidate: Candidate, objective: str, limits: Mapping[str, float]) -> ObjectiveValues:
    """Return the figures of a candidate that a planner minimises."""
    cost = figure_value(candidate, objective) or 0.0
    excess = limit_excess(candidate, limits)
    exits = (candidate.exit_accuracies, candidate.exit_costs) if isinstance(candidate, EvaluatedCandidate) else ()
    return ObjectiveValues(candidate.encoding, 1 - candidate.figures.accuracy, cost, excess, *exits)


def _has_changed_space(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Return whether the spaces have one name and different hashes."""
    spaces = [str(settings.get("space")) for settings in (stored, expected)]
    return spaces[0] != spaces[1] and spaces[0].partition(" ")[0] == spaces[1].partition(" ")[0]


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
