# SPDX-License-Identifier: Apache-2.0
"""The choice of bits by trials (Optuna): each is fine-tuned a little and scored, what it takes comes from the hardware's own model.

NSGA-II looks for the front of score against block RAM (bytes without a board), TPE for the best score within the budget; its trials may be pruned between
their parts. A choice beyond the budget is told to the sampler as such, and not trained. All trials lie in the study's storage as they end: a search that was
killed goes on there, and several may share it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitloom.hw.workers import Crew, workers
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.prices import COSTS, Limits, Prices
from bitloom.qat.search.space import Choice, Space
from bitloom.qat.search.trial import Task, trial

if TYPE_CHECKING:
    import optuna

STUDY, JOURNAL, MARK = "bitloom", "study.journal", "study.json"
PARTS = 3  # of a trial, between which it may be pruned
FINGERPRINT, OWNER, COST, SCORE, OVER = "fingerprint", "owner", "cost", "score", "over"  # attributes
INSTALL = "pip install -c constraints.txt 'bitloom[search]'"
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial that ended within the budget."""

    number: int
    choice: dict[str, int]
    score: float
    cost: float


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Of all settings that a study's trials depend on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Study:
    """An Optuna study in its storage.

    out    folder of the search: its journal where no other storage is named, and the mark that it had begun
    print  `fingerprint` of the search's settings
    Raises SearchError: no Optuna; a study of another recipe; one that is gone or cannot be read.
    """

    def __init__(self, config: SearchConfig, out: Path, print: str):
        try:
            import optuna
        except ImportError as error:
            raise SearchError(f"search.method: got trials without Optuna ({error}), must be installed; {INSTALL}") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        self.optuna, self.config, self.several = optuna, config, config.sampler == "nsga2"
        self.where = config.storage or str(out / JOURNAL)
        mark = out / MARK
        begun = mark.is_file() and json.loads(mark.read_text())["storage"] == self.where
        self.study = self._open(begun)
        known = self.study.user_attrs.get(FINGERPRINT)
        if known is None:
            self.study.set_user_attr(FINGERPRINT, print)
        elif known != print:
            raise SearchError(f"search.storage: got a study of another recipe ({known}, not {print}) in {self.where}, must be of this one; use another storage")
        mark.write_text(json.dumps({"storage": self.where}) + "\n")
        self.owner = str(out.resolve())
        self._requeue()

    def _open(self, begun: bool) -> optuna.Study:
        optuna, database = self.optuna, "://" in self.where
        if begun and not database and not Path(self.where).is_file():
            raise SearchError(f"search.storage: got no {self.where}, must be there, as this search had begun in it; put it back or start anew with --force")
        if not database and not (folder := Path(self.where).parent).is_dir():
            raise SearchError(f"search.storage: got '{self.where}', must be a file in a folder that is there; make {folder}")
        try:
            if database:
                storage = optuna.storages.RDBStorage(self.where)
            else:
                storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(self.where))
            names = [s.study_name for s in optuna.get_all_study_summaries(storage)]
            if begun and STUDY not in names:
                raise SearchError(f"search.storage: got no study in {self.where}, must be there, as this search had begun in it; put it back or use --force")
            directions = ["maximize", "minimize"] if self.several else ["maximize"]
            study = optuna.create_study(
                storage=storage, study_name=STUDY, directions=directions, sampler=self._sampler(), pruner=self._pruner(), load_if_exists=True
            )  # fmt: skip
        except SearchError:
            raise
        except Exception as error:  # whatever a database or a damaged file comes with
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise SearchError(f"search.storage: got '{self.where}', must be a study that can be read and written ({reason[:200]}); check it") from error
        if len(study.directions) != len(directions):
            raise SearchError(f"search.storage: got a study of another sampler in {self.where}, must be of '{self.config.sampler}'; use another storage")
        return study

    def _sampler(self):
        samplers, seed = self.optuna.samplers, 0
        return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, self.config.trials // 4))) if self.several else samplers.TPESampler(seed=seed)

    def _pruner(self):
        pruners = self.optuna.pruners
        made = {"none": pruners.NopPruner, "median": pruners.MedianPruner, "hyperband": lambda: pruners.HyperbandPruner(max_resource=PARTS)}
        return made["none" if self.several else self.config.pruner]()

    def _requeue(self) -> None:
        """Trials of this search that a kill broke off are made again."""
        state = self.optuna.trial.TrialState
        for old in self.study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            if old.user_attrs.get(OWNER) == self.owner:
                self.study.tell(old.number, state=state.FAIL)
                self.study.enqueue_trial(old.params)

    def left(self) -> int:
        """Trials that are still to be made: those that ended, here or by others that share the storage, count."""
        state = self.optuna.trial.TrialState
        return self.config.trials - len(self.study.get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED)))

    def tried(self) -> list[Tried]:
        """All that ended within the budget."""
        state = self.optuna.trial.TrialState
        done = self.study.get_trials(deepcopy=False, states=(state.COMPLETE,))
        return [
            Tried(number=t.number, choice=dict(t.user_attrs["choice"]), score=t.user_attrs[SCORE], cost=t.user_attrs[COST])
            for t in done
            if not t.user_attrs[OVER]
        ]


def run_trials(
    study: Study, task: Task, space: Space, prices: Prices, limits: Limits, first: list[Choice], progress: Progress = lambda f, t: None
) -> list[Tried]:
    """Make the trials that are left, and give all.

    first  choices that a new study begins with
    """
    optuna, config = study.optuna, study.config
    if not study.study.get_trials(deepcopy=False):
        for choice in first:
            study.study.enqueue_trial({v.name: v.bits.index(choice[v.name]) for v in space.variables})
    running: dict[int, tuple] = {}
    with workers(Crew(section="search", call="trial", count=config.workers, cluster=config.cluster), trial, task) as pool:
        while (left := study.left() - len(running)) > 0 or running:
            while pool.room and left > 0:
                asked = study.study.ask()
                asked.set_user_attr(OWNER, study.owner)
                choice = {v.name: v.bits[asked.suggest_int(v.name, 0, len(v.bits) - 1)] for v in space.variables}
                if _priced(study, asked, choice, prices, limits):
                    running[asked.number] = asked, choice
                    pool.submit((asked.number, 0), space.quantization(choice), 0, None)
                left -= 1
            if not running:
                continue
            (number, part), (value, state) = pool.next()
            asked, choice = running[number]
            value = value if value is not None else 0.0  # a score that is not defined is as bad as any
            if part + 1 < task.parts:
                asked.report(value, part + 1)
                if not asked.should_prune():
                    pool.submit((number, part + 1), space.quantization(choice), part + 1, state)
                    continue
                study.study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            else:
                asked.set_user_attr(SCORE, value)
                study.study.tell(asked, [value, asked.user_attrs[COST]] if study.several else value)
            del running[number]
            progress(1 - study.left() / config.trials, f"trial {number}: {task.start.dataset.metric} {value:.4f}")
    return study.tried()


def _priced(study: Study, asked: optuna.Trial, choice: dict[str, int], prices: Prices, limits: Limits) -> bool:
    """Enter what a choice takes; one that is beyond the budget ends here. Whether it is to be trained."""
    real = prices.real(choice)
    costs = dict(zip(COSTS, (float(c) for c in real.costs), strict=True))
    over = [(name, costs[name] / most - 1 if most else costs[name]) for name, most in limits.items()]
    cost = costs["block_ram" if prices.board else "bits"]
    beyond = bool(real.fits) or any(excess > 0 for _, excess in over)
    for key, value in {"choice": choice, COST: cost, OVER: beyond}.items():
        asked.set_user_attr(key, value)
    for name, excess in over:
        asked.set_constraint(name, excess)
    asked.set_constraint("board", 1.0 if real.fits else 0.0)
    if beyond:
        asked.set_user_attr(SCORE, 0.0)
        study.study.tell(asked, [0.0, cost] if study.several else 0.0)
    return not beyond


def best_of(tried: list[Tried]) -> Tried:
    """The highest score; of equal ones what takes least.

    Raises SearchError: none ended within the budget.
    """
    if not tried:
        raise SearchError("search.trials: got none within the budget, must have one; raise search.trials or the budget, or use search.method: ilp")
    return max(tried, key=lambda t: (t.score, -t.cost, -t.number))
