# SPDX-License-Identifier: Apache-2.0
"""Trials: short trainings that come out the same wherever they run, and a study that goes on after a kill and tells what it cannot go on with."""

from types import SimpleNamespace

import pytest
import torch
from search_cases import TOKENS, batches, inputs, space, task

from bitloom.hw.board import Board
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.search import blackbox
from bitloom.qat.search.blackbox import Study, Tried, best_of, fingerprint, run_trials
from bitloom.qat.search.config import SearchConfig
from bitloom.qat.search.errors import SearchError
from bitloom.qat.search.ilp import best
from bitloom.qat.search.learned import Learner, Places, distances
from bitloom.qat.search.prices import COSTS, Prices, fill
from bitloom.qat.search.rounded import Rounded
from bitloom.qat.search.trial import trial

optuna = pytest.importorskip("optuna", reason="no Optuna: pip install 'bitloom[search]'")
FEW = {"weights": [2, 8], "activations": [], "embeddings": [], "scores": [], "probs": []}


def test_a_trial_in_parts_is_the_whole_one():
    of = space(**FEW)
    quant = of.quantization(of.least)
    whole, state = trial(task(2, 1), quant)
    assert state is None and whole == trial(task(2, 1), quant)[0]
    first, state = trial(task(2, 2), quant)
    halves, end = trial(task(2, 2), quant, 1, state)
    assert halves == whole and end is None
    again = trial(task(2, 2), quant)[1]
    assert all(torch.equal(state["model"][name], again["model"][name]) for name in state["model"])


@pytest.fixture
def fake(monkeypatch):
    """Trials that score the mean number of bits, at once, in this process; `calls` are those that were made."""
    calls = []

    class Pool:
        def __init__(self):
            self.done = []

        @property
        def room(self):
            return 1 - len(self.done)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, key, quant, part, state):
            calls.append((key, quant))
            bits = [settings["weights"] for settings in quant.overrides.values()]
            self.done.append((key, (sum(bits) / 100 / len(bits), None)))

        def next(self):
            return self.done.pop()

    monkeypatch.setattr(blackbox, "workers", lambda *_: Pool())
    return calls


def case(tmp_path, trials=6, **config):
    of = space(**FEW, quant={"weights": 4})
    made = SimpleNamespace(board=None, real=lambda c: priced(of, c))
    config = SearchConfig.model_validate(FEW | {"trials": trials, "method": "trials", "pruner": "none"} | config)
    return of, made, config


def priced(of, choice):
    costs = [0.0] * len(COSTS)
    costs[COSTS.index("bits")] = float(sum(choice.values()))
    return SimpleNamespace(costs=costs, fits="")


def go(tmp_path, trials=6, print="a", stop=None, parts=1, limits=None, **config):
    of, made, config = case(tmp_path, trials, **config)

    def progress(fraction, text):
        if stop is not None and int(text.split()[1].rstrip(":")) >= stop:
            raise KeyboardInterrupt

    shared = SimpleNamespace(parts=parts, start=SimpleNamespace(dataset=SimpleNamespace(metric="accuracy")))
    limits = limits or {"bits": 1e9}
    return run_trials(Study(config, tmp_path, print), shared, of, made, limits, [of.uniform(8), of.uniform(2)], progress)


@pytest.mark.parametrize(("sampler", "storage"), [("nsga2", None), ("tpe", "sqlite")])
def test_a_study_that_was_killed_goes_on_where_it_was(fake, tmp_path, sampler, storage):
    config = {"sampler": sampler} | ({"storage": f"sqlite:///{tmp_path}/s.db"} if storage else {})
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, stop=2, **config)
    assert len(fake) == 3
    before = {t.number: t.choice for t in Study(case(tmp_path, **config)[2], tmp_path, "a").tried()}
    tried = go(tmp_path, **config)
    assert len(fake) == 6 and len(tried) == 6 and before.items() <= {t.number: t.choice for t in tried}.items()
    assert set(tried[0].choice.values()) == {8} and set(tried[1].choice.values()) == {2}  # what it begins with
    assert best_of(tried).score == max(t.score for t in tried) == pytest.approx(0.08)
    assert go(tmp_path, **config) == tried and len(fake) == 6


def test_a_trial_that_a_kill_broke_off_is_made_again(fake, tmp_path):
    study = Study(case(tmp_path)[2], tmp_path, "a")
    study.study.enqueue_trial({name: i % 2 for i, name in enumerate(space(**FEW).by_name)})  # which no sampler would draw again
    asked = study.study.ask()
    asked.set_user_attr("owner", study.owner)
    indices = {name: asked.suggest_int(name, 0, 1) for name in space(**FEW).by_name}
    tried = go(tmp_path)
    assert [t.choice for t in tried if t.choice == {name: (2, 8)[i] for name, i in indices.items()}] and len(tried) == 6
    assert study.study.trials[0].state == optuna.trial.TrialState.FAIL


def test_a_choice_beyond_the_budget_is_not_trained(fake, tmp_path):
    of = space(**FEW)
    most = sum(of.top.values()) - 1
    tried = go(tmp_path, sampler="tpe", limits={"bits": float(most)})
    assert all(t.cost <= most for t in tried) and len(fake) == len(tried) < 6
    with pytest.raises(SearchError, match="search.trials: got none within the budget, must have one; raise search.trials or the budget"):
        best_of([])


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_bad_trial_is_pruned(fake, tmp_path, pruner):
    study = Study(case(tmp_path, 8, sampler="tpe", pruner=pruner)[2], tmp_path, "a")
    go(tmp_path, 8, parts=3, sampler="tpe", pruner=pruner)
    states = [t.state for t in study.study.trials]
    assert len(states) == 8 and states.count(optuna.trial.TrialState.PRUNED) > 0 < states.count(optuna.trial.TrialState.COMPLETE)


def test_equal_scores_go_to_what_takes_least():
    tried = [Tried(number=i, choice={}, score=s, cost=c) for i, (s, c) in enumerate([(0.5, 3), (0.7, 9), (0.7, 8), (0.1, 1)])]
    assert best_of(tried) == tried[2]


def test_what_a_study_cannot_go_on_with(fake, tmp_path):
    out = tmp_path / "a"
    out.mkdir()
    go(out, 2, print="a")
    with pytest.raises(SearchError, match=r"search.storage: got a study of another recipe \(a, not b\) in .*, must be of this one; use another storage"):
        go(out, 2, print="b")
    with pytest.raises(SearchError, match="got a study of another sampler in .*, must be of 'tpe'"):
        go(out, 2, sampler="tpe")
    (out / blackbox.JOURNAL).unlink()
    with pytest.raises(SearchError, match=r"search.storage: got no .*study.journal, must be there, as this search had begun in it; put it back or start anew"):
        go(out, 2)
    (out / blackbox.JOURNAL).write_text("no journal\n")
    with pytest.raises(SearchError, match="search.storage: got no study in .*study.journal, must be there, as this search had begun in it"):
        go(out, 2)
    with pytest.raises(SearchError, match="search.storage: got '.*', must be a file in a folder that is there; make "):
        go(out, 2, storage=str(tmp_path / "none" / "x.journal"))
    with pytest.raises(SearchError, match="search.storage: got 'nosql://x', must be a study that can be read and written"):
        go(out, 2, storage="nosql://x")
    database = f"sqlite:///{tmp_path}/s.db"
    go(out, 2, storage=database)
    (tmp_path / "s.db").unlink()
    with pytest.raises(SearchError, match="search.storage: got no study in sqlite.*, must be there, as this search had begun in it"):
        go(out, 2, storage=database)


def test_fingerprints_differ_with_the_settings():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [None, "local"])
def test_real_trials_run_side_by_side(tmp_path, cluster):
    if cluster:
        pytest.importorskip("ray", reason="no Ray: pip install 'bitloom[ray]'")
    of, made, config = case(tmp_path, 4, workers=2, cluster=cluster)
    study = Study(config, tmp_path, "a")
    tried = run_trials(study, task(2), of, made, {"bits": 1e9}, [of.top, of.least], lambda fraction, text: None)
    alone = trial(task(2), of.quantization(of.top))[0]
    assert len(tried) == 4 and [t.score for t in tried if t.choice == of.top] == [alone]


def learner(limits=None, steps=3):
    whole = task(steps)
    of = space(**(FEW | {"weights": [2, 4, 8]}))
    data = [{key: value % 60 for key, value in inputs(b).items()} for b in batches(1)]
    network = Rounded(whole.start.model, of, TOKENS, data)
    made = Prices(of, network.graph, HardwareConfig(target_cycles=512), Board.load("ulx3s_85f"))
    fill([made])
    return Learner(whole, network, made, limits or {}), made


def test_costs_at_whole_places_are_those_of_the_choice():
    of, made = learner()
    names = list(made.space.by_name)
    choice = made.space.top | {names[0]: 4, names[3]: 2}
    with torch.no_grad():
        for i, v in enumerate(made.space.variables):
            of.places.at[i] = v.bits.index(choice[v.name])
    assert of.cost().tolist() == pytest.approx(made.total(choice).tolist(), rel=1e-6)
    with torch.no_grad():
        of.places.at[0] = 0.25  # a quarter of the way from 2 to 4 bits
    ends = [made.total(choice | {names[0]: bits}) for bits in (2, 4)]
    assert of.cost().tolist() == pytest.approx((0.75 * ends[0] + 0.25 * ends[1]).tolist(), rel=1e-6)


def test_the_slope_of_a_place_is_that_between_its_neighbours():
    of, made = learner()
    index = list(made.space.by_name).index("logits:weights")
    batch = {key: value % 60 for key, value in batches(1)[0].items()}
    with torch.no_grad():
        of.places.at[index] = 0.5
    for bits in (2, 4):  # whichever is drawn
        of.choice = made.space.top | {"logits:weights": bits}
        model = of.rounded.choose(of.choice).eval()
        logits = model(**inputs(batch)).logits
        of.places.zero_grad()
        logits[:, 0].sum().backward()
        values = {b: of.rounded.choose(made.space.top | {"logits:weights": b})(**inputs(batch)).logits[:, 0].sum() for b in (2, 4)}
        assert float(of.places.at.grad[index]) == pytest.approx(float(values[4] - values[2]), rel=1e-3, abs=1e-4)
        assert torch.equal(logits[:, 0].sum(), values[bits])  # the addition's value is 0


@pytest.mark.slow  # in the plain run test_search_run.py has a search whose learned bits are within the budget
def test_learning_comes_down_to_the_budget():
    free, made = learner(steps=6)
    most = float(made.total(made.space.top)[COSTS.index("bits")])
    assert all(place > 1.5 for place in free.run().values())
    tight, made = learner({"bits": 0.5 * most}, steps=6)
    places = tight.run()
    assert all(place < 2 for place in places.values())
    names = list(made.space.by_name)
    near = distances(dict.fromkeys(names, 0.6), made.space.variables)
    assert near[names[0]] == pytest.approx({2: 0.36, 4: 0.16, 8: 1.96})
    made.graph_of = Rounded(task(6).start.model, made.space, TOKENS, [{k: v % 60 for k, v in inputs(b).items()} for b in batches(1)]).graph
    assert set(best(made, near, {"bits": most}).choice.values()) == {4}


def test_places_stay_between_the_fewest_and_the_most_bits():
    places = Places(space(**FEW).variables)
    with torch.no_grad():
        places.at += 3
    places.clip()
    assert set(places.at.tolist()) == {1.0} and places.probabilities(0).tolist() == [0.0, 1.0]
