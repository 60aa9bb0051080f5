# SPDX-License-Identifier: Apache-2.0
"""Dual training: texts in both vocabularies, what the teacher's loss trains, shared projections, what is refused."""

import re
from types import SimpleNamespace

import pytest
import torch
from compressed import DATA, MODEL, TRAINING, assert_same, checked, compress, crashed, integers_agree

from bitloom.qat.config import QuantConfig
from bitloom.qat.methods import MethodError, method_of, read
from bitloom.qat.methods.method import Work
from bitloom.qat.net.model import FloatModel, sequence_loss
from bitloom.qat.net.untrained import untrained_shape
from bitloom.qat.objectives import dual_vocabulary
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import train

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
TEXTS = ["a fine film , well made", "unwatchable !", "it is the best of all"] * 3
LARGER = MODEL.model_copy(update={"hidden": 24, "layers": 3, "intermediate": 40, "dropout": 0.0})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("teacher") / "out"
    train(LARGER, QuantConfig(), TRAINING.model_copy(update={"qat_epochs": 0.0}), DATA, None, out)
    return str(out / "float")


def working(folder, monkeypatch, alike: bool = False, **settings):
    """A method at work on texts, a teacher of two letters a token, a student of single letters; alike: one vocabulary, one shape."""
    large, small = (TextTokenizer.train(TEXTS, size) for size in (80, 80 if alike else 60))
    large.save(folder)
    shape = MODEL.model_copy(update={"dropout": 0.0}) if alike else LARGER
    made = [FloatModel(untrained_shape(config, labels=2, vocabulary=len(reader))).eval() for config, reader in ((shape, large), (MODEL, small))]
    monkeypatch.setattr(dual_vocabulary, "load_teacher", lambda method, data: made[0])
    method = method_of("dual_vocabulary")(read({"method": "dual_vocabulary", "teacher": str(folder)} | settings), "compression.0")
    items = SimpleNamespace(add=lambda key, values: None)
    data = SimpleNamespace(dataset=SimpleNamespace(train=SimpleNamespace(texts=TEXTS)), tokenizer=small, train=items)
    work = Work(phase="float", model=made[1], batches=list, methods=[method], data=data)
    method.begin(work)
    return method, work, made[0], large, small


def test_words_in_both_vocabularies(tmp_path, monkeypatch):
    method, _, teacher, large, small = working(tmp_path, monkeypatch)
    for text, (theirs, ours) in zip(TEXTS, method._words, strict=True):
        assert sum(theirs, []) == large.encode([text]).ids[0][1:-1] and sum(ours, []) == small.encode([text]).ids[0][1:-1]
    torch.manual_seed(0)
    ids, mask = method.mixed([0, 1, 2])
    behind = teacher.shape.vocabulary
    assert bool((ids[mask] >= behind).any()) and bool((ids[mask] < behind).any()) and ids[:, 0].tolist() == [large.encode([""]).ids[0][0]] * 3
    monkeypatch.setattr(method, "cfg", method.cfg.model_copy(update={"share": 1.0}))
    ids, mask = method.mixed([2])
    assert (ids[0, 1:-1] - behind).tolist() == small.encode([TEXTS[2]]).ids[0][1:-1][: MODEL.max_tokens - 2] and bool(mask.all())


def test_the_teachers_loss(tmp_path, monkeypatch):
    """Where the student has the teacher's own table and the projection changes nothing, it is the teacher's on the text."""
    method, work, teacher, large, _ = working(tmp_path, monkeypatch, alike=True, share=1.0, weight=2.0)
    with torch.no_grad():
        work.network.embeddings.sum.word.copy_(teacher.network.embeddings.sum.word)
        method.up.weight.copy_(torch.eye(MODEL.hidden))
    labels = torch.tensor([0, 1])
    ids = large.encode([TEXTS[1], TEXTS[1]]).ids
    want = 2 * sequence_loss(teacher(torch.tensor(ids)).logits, labels)
    got = method.loss(work, torch.zeros(()), {"dual_row": torch.tensor([1, 1]), "labels": labels}, None)
    assert torch.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("projection", ["none", "up", "down"])
def test_what_learns(projection, tmp_path, monkeypatch):
    method, work, teacher, *_ = working(tmp_path, monkeypatch, projection=projection, strength=0.5)
    loss = method.loss(work, torch.zeros(()), {"dual_row": torch.arange(4), "labels": torch.arange(4) % 2}, None)
    loss.backward()
    learns = {name for name, p in work.network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert bool(method.up.weight.grad.any()) and not [p for p in teacher.parameters() if p.grad is not None]
    if projection == "none":
        assert learns == {"embeddings.sum.word"} and not method.sides
        return
    assert {"layer.0.query.weight", "layer.1.ffn.down.weight", "embeddings.sum.word"} <= learns and len(method.sides) == 3
    a, b = (method.sides[key].detach() for key in "fh")
    ours, theirs = work.network.layer[0].ffn.up.weight.detach(), teacher.network.layer[1].ffn.up.weight  # layers 0, 1 of 2 with 1, 2 of 3
    want = ((a @ theirs @ b.T - ours) ** 2).mean() if projection == "down" else ((a.T @ ours @ b - theirs) ** 2).mean()
    monkeypatch.setattr(dual_vocabulary, "SIDES", {"ffn.up": "fh"})
    monkeypatch.setattr(dual_vocabulary, "spaced_pairs", lambda *layers: [(0, 1)])
    assert torch.allclose(method._apart(work.network, teacher.network), want)


@pytest.mark.parametrize("settings", [{}, *(pytest.param({"projection": p}, marks=pytest.mark.slow) for p in ("up", "down"))])
def test_trained(settings, teacher, tmp_path):
    """A plain encoder of the small vocabulary comes out."""
    compress(tmp_path, [{"method": "dual_vocabulary", "teacher": teacher} | settings], data=DATA.model_copy(update={"vocab": 150}))
    assert len(integers_agree(tmp_path).params["embeddings.sum.word"]) <= 150


@pytest.mark.slow
def test_resumes(teacher, tmp_path):
    entries = [{"method": "dual_vocabulary", "teacher": teacher, "projection": "down"}]
    small = {"data": DATA.model_copy(update={"vocab": 150})}
    crashed(tmp_path / "a", entries, "float", 7, **small)
    for name in ("a", "b"):
        compress(tmp_path / name, entries, **small)
    assert_same(tmp_path / "a", tmp_path / "b")


def test_what_is_refused(teacher, tmp_path):
    one = {"method": "dual_vocabulary", "teacher": teacher}
    for entries, model, message in (
        ([one | {"teacher": "float"}], {}, "compression.0.teacher: got 'float', must be another model, of a larger vocabulary; name a checkpoint"),
        ([one | {"phases": ["qat"]}], {}, r"compression.0.phases: got \['qat'\], must be \[float\]"),
        ([one], {"head": "token"}, "compression.0: got a head of each token, must have one vector of logits a sentence"),
        (
            [{"method": "low_rank", "ranks": {"layer.*": 4}}, one | {"projection": "up"}],
            {},
            "compression.1.projection: got 'up' with low_rank, must align whole",
        ),
    ):
        assert re.search(message, checked(entries, MODEL.model_copy(update=model)))
    with pytest.raises(MethodError, match=r"compression.0.teacher: got a teacher of \d+ tokens for a student of \d+, must have more; lower data.vocab"):
        compress(tmp_path, [one], data=DATA.model_copy(update={"vocab": teacher}))
    with pytest.raises(MethodError, match="compression.0.teacher: got 3 layers, must have the student's 4 at least; set projection: none"):
        deep = MODEL.model_copy(update={"layers": 4})
        compress(tmp_path / "deep", [one | {"projection": "up"}], model=deep, data=DATA.model_copy(update={"vocab": 150}))
