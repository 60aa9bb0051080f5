# SPDX-License-Identifier: Apache-2.0
"""Distillation: what each objective minimizes, by hand; teachers of larger shape; what does not fit is told before the training."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from compressed import DATA, MODEL, TRAINING, assert_same, compress, crashed, integers_agree, weights
from random_models import padded, random_float, random_sentences
from torch.nn import functional as TF

from bitloom.hw.errors import BitloomError
from bitloom.hw.ops.keep_tokens import kept
from bitloom.qat.checkpoint import save_float
from bitloom.qat.compress import reshaped
from bitloom.qat.config import DistillConfig, QuantConfig
from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.method import Work
from bitloom.qat.methods.token_elimination import kept_shape
from bitloom.qat.net.model import FloatModel
from bitloom.qat.objectives.teacher import spaced_pairs
from bitloom.qat.tokenizer import TextTokenizer
from bitloom.qat.train import train

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
LARGER = MODEL.model_copy(update={"layers": 4, "hidden": 24})
ONE_STEP = {"max_steps": 2, "save_steps": 100}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    """A trained Hugging Face folder, deeper and wider than the student."""
    out = tmp_path_factory.mktemp("teacher") / "out"
    train(LARGER, QuantConfig(), TRAINING.model_copy(update={"qat_epochs": 0.0}), DATA, None, out)
    return str(out / "float")


def all_three(teacher: str) -> list[dict]:
    return [
        {"method": "logits", "teacher": teacher, "alpha": 0.7},
        {"method": "hidden_states", "teacher": teacher, "weight": 2.0},
        {"method": "attention_maps", "teacher": teacher, "distance": "divergence"},
    ]


def student(teacher: str) -> dict:
    return {"data": DATA.model_copy(update={"vocab": teacher})}


def plain(layers: int = 2, **changes) -> FloatModel:
    return FloatModel.from_hugging_face(random_float(MODEL.model_copy(update={"layers": layers, "dropout": 0.0} | changes), layers), MODEL.max_tokens).eval()


def batch() -> dict:
    return padded(*random_sentences(1, 6, MODEL.max_tokens))


def added(entry: dict, student: FloatModel, teacher: FloatModel) -> torch.Tensor:
    """What an objective adds to a loss of 0, in the float phase."""
    method = method_of(entry["method"])(read(entry | {"teacher": "there"}), "compression.0")
    work = Work(phase="float", model=student, batches=list, methods=[], data=SimpleNamespace(models={"there": teacher}))
    method.begin(work)
    inputs = batch()
    student(**inputs)
    return method.loss(work, torch.zeros(()), inputs, None)


def layers_of(model: FloatModel, name: str = "") -> list[torch.Tensor]:
    """Outputs of all layers, or of their operators `name`."""
    found, hooks = [], []
    for layer in model.network.layer:
        module = layer.get_submodule(name) if name else layer
        hooks.append(module.register_forward_hook(lambda m, a, y: found.append(y[0] if isinstance(y, tuple) else y)))  # of a layer: beside its mask
    with torch.no_grad():
        model(**batch())
    for hook in hooks:
        hook.remove()
    return found


def test_layers_are_paired_as_pkd_does():
    assert spaced_pairs(6, 12) == [(0, 1), (1, 3), (2, 5), (3, 7), (4, 9), (5, 11)] and spaced_pairs(2, 2) == [(0, 0), (1, 1)]


@pytest.mark.parametrize("distance", ["square", "normalized"])
@pytest.mark.parametrize("tokens", ["all", "first"])
def test_hidden_states_by_hand(distance, tokens):
    model, teacher, real = plain(), plain(4), batch()["attention_mask"].bool()
    got = added({"method": "hidden_states", "weight": 3.0, "distance": distance, "tokens": tokens}, model, teacher)
    want = 0.0
    for x, y in zip(layers_of(model), layers_of(teacher)[1::2], strict=True):
        x, y = (x[:, 0], y[:, 0]) if tokens == "first" else (x[real], y[real])
        want += (
            (x - y).square().mean() if distance == "square" else (x / x.norm(dim=-1, keepdim=True) - y / y.norm(dim=-1, keepdim=True)).square().sum(-1).mean()
        )
    assert torch.allclose(got, 3.0 * want / 2, rtol=1e-5) and got > 0.1
    assert added({"method": "hidden_states", "distance": distance}, model, model) == 0


@pytest.mark.parametrize("heads", ["each", "mean"])
@pytest.mark.parametrize("distance", ["square", "divergence"])
def test_attention_maps_by_hand(distance, heads):
    """Over pairs of real tokens, so padding counts nowhere."""
    model, teacher, mask = plain(), plain(4, heads=8 if heads == "mean" else 4), batch()["attention_mask"]
    got = added({"method": "attention_maps", "weight": 3.0, "distance": distance, "heads": heads}, model, teacher)
    name, terms = ("scores" if distance == "square" else "probs"), []
    for x, y in zip(layers_of(model, name), layers_of(teacher, name)[1::2], strict=True):
        for s, n in enumerate(mask.sum(1).tolist()):
            a, b = x[s, :, :n, :n], y[s, :, :n, :n]
            a, b = (a.mean(0, keepdim=True), b.mean(0, keepdim=True)) if heads == "mean" else (a, b)
            terms.append((a - b).square().flatten() if distance == "square" else TF.kl_div(a.log(), b, reduction="none").sum(-1).flatten())
    half = len(terms) // 2
    want = (torch.cat(terms[:half]).mean() + torch.cat(terms[half:]).mean()) / 2
    assert torch.allclose(got, 3.0 * want, rtol=1e-3) and got > 1e-4
    assert added({"method": "attention_maps", "distance": distance}, model, model) == 0


def in_place(model: FloatModel, name: str) -> tuple[list[list[list[int]]], list[torch.Tensor]]:
    """By layer, of each sentence: its tokens behind the layer (`ffn.norm`) or within its attention; and the tensors."""
    probs, left, places = layers_of(model, "probs"), [list(range(n)) for n in batch()["attention_mask"].sum(1).tolist()], []
    for layer, p in zip(model.network.layer, probs, strict=True):
        before = left
        if layer.kept is not None:
            left = [[own[j] for j in kept(p[s, :, : len(own), : len(own)].sum((0, 1)).numpy(), layer.kept.keep)] for s, own in enumerate(left)]
        places.append(left if name == "ffn.norm" else before)
    return places, layers_of(model, name)


@pytest.mark.parametrize("entry", [{"method": "hidden_states"}, {"method": "attention_maps"}, {"method": "attention_maps", "distance": "divergence"}])
def test_tokens_that_both_have_are_compared(entry):
    """Of student and teacher that take out tokens, each its own."""
    models = [FloatModel(kept_shape(plain().shape, keeps)).eval() for keeps in ([180, 90], [120, 200])]
    for seed, model in enumerate(models):
        of = FloatModel.from_hugging_face(random_float(MODEL.model_copy(update={"dropout": 0.0}), seed), MODEL.max_tokens)
        model.load_state_dict(dict(of.named_parameters()), strict=False)
    got, want = added(entry, *models), 0.0
    name = {"hidden_states": "ffn.norm"}.get(entry["method"], "probs" if "distance" in entry else "scores")
    (ours, xs), (theirs, ys) = (in_place(model, name) for model in models)
    for own, x, its, y in zip(ours, xs, theirs, ys, strict=True):
        terms = []
        for s, tokens in enumerate(own):
            both = sorted({*tokens} & {*its[s]})
            i, j = ([where[s].index(t) for t in both] for where in (own, its))
            if name == "ffn.norm":
                terms.append((x[s, i] - y[s, j]).square().flatten())
                continue
            a, b = x[s][:, i][..., i], y[s][:, j][..., j]
            if name == "scores":
                terms.append((a - b).square().flatten())
            else:
                a, b = (p / p.sum(-1, keepdim=True) for p in (a, b))
                terms.append((b * (b.log() - a.log())).sum(-1).flatten())
        want += torch.cat(terms).mean() / 2
    assert any(own != its for own, its in zip(ours, theirs, strict=True)) and torch.allclose(got, want, rtol=1e-3) and got > 1e-4


def test_heads_with_fixed_patterns_are_left_out():
    """The others are compared with the teacher's of their number; a layer without any is left out."""
    model, teacher = plain(), plain(4)
    fixed = method_of("fixed_patterns")
    for patterns, layers in ((["next"], "layer.0"), (["next"] * 4, "layer.1")):
        method = fixed(read({"method": "fixed_patterns", "patterns": patterns, "layers": layers}), "")
        model = reshaped(model, method.reshape(model.shape), method).eval()
    got = added({"method": "attention_maps"}, model, teacher)
    y, lengths, seen = layers_of(teacher, "scores")[1], batch()["attention_mask"].sum(1).tolist(), []
    hook = model.network.layer[0].scores.register_forward_hook(lambda m, a, out: seen.append(out))
    with torch.no_grad():
        model(**batch())
    hook.remove()
    want = torch.cat([(seen[0][s, :, :n, :n] - y[s, 1:, :n, :n]).square().flatten() for s, n in enumerate(lengths)]).mean()
    assert torch.allclose(got, want, rtol=1e-5) and got > 1e-4


def test_a_student_can_start_from_its_teachers_layers():
    model, teacher = plain(), plain(4)
    added({"method": "hidden_states", "initialize": True}, model, teacher)
    for i, g in ((0, 1), (1, 3)):
        assert torch.equal(model.network.layer[i].ffn.up.weight, teacher.network.layer[g].ffn.up.weight)
    assert torch.equal(model.network.embeddings.sum.word, teacher.network.embeddings.sum.word)
    assert torch.equal(model.network.logits.weight, teacher.network.logits.weight)


def test_a_larger_teacher_in_both_phases(teacher, tmp_path):
    """All three objectives move both models; the projection is not in what is written; a crash changes nothing; integers agree."""
    for name, entries in (("whole", all_three(teacher)), ("alone", [{"method": "depth", "keep": 2}])):
        compress(tmp_path / name, entries, **student(teacher))
    integers_agree(tmp_path / "whole")
    with_it, without = weights(tmp_path / "whole"), weights(tmp_path / "alone")
    assert with_it.keys() == without.keys()
    for phase in ("float", "qat"):
        assert not torch.equal(with_it[f"{phase}/network.logits.weight"], without[f"{phase}/network.logits.weight"])
    crashed(tmp_path / "out", all_three(teacher), "qat", 8, **student(teacher))
    compress(tmp_path / "out", all_three(teacher), **student(teacher))
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_the_own_float_model_as_a_teacher(tmp_path):
    """In the quantized phase alone; `training.distill` is the same as the entry."""
    entries = [{"method": "hidden_states", "teacher": "float"}, {"method": "logits", "teacher": "float", "alpha": 0.9}]
    distill = {"distill": DistillConfig(teacher="float", alpha=0.9)}
    for name, given, training in (("entry", entries, {}), ("short", entries[:1], distill), ("none", [{"method": "depth", "keep": 2}], {})):
        compress(tmp_path / name, given, training=ONE_STEP | training)
    assert_same(tmp_path / "entry", tmp_path / "short")
    one, other = weights(tmp_path / "entry"), weights(tmp_path / "none")
    assert all(torch.equal(value, other[name]) for name, value in one.items() if name.startswith("float"))
    assert not torch.equal(one["qat/network.logits.weight"], other["qat/network.logits.weight"])


@pytest.mark.slow  # in the plain run a trained folder is one, above, and one without a training is read in the last test
def test_a_compressed_run_is_a_teacher(tmp_path):
    """Its labels have names, and its folder a tokenizer."""
    compress(tmp_path / "first", [{"method": "depth", "keep": 2}], training=ONE_STEP | {"qat_epochs": 0.0})
    folder = tmp_path / "first" / "float"
    assert json.loads((folder / "float.json").read_text())["labels"] == ["negative", "positive"]
    compress(tmp_path / "second", all_three(str(folder)), training=ONE_STEP, **student(str(folder)))
    compress(
        tmp_path / "third",
        [{"method": "logits", "teacher": str(folder), "phases": ["float"]}],
        training=ONE_STEP | {"distill": DistillConfig()},
        **student(str(folder)),
    )
    a, b = weights(tmp_path / "second"), weights(tmp_path / "third")
    assert not torch.equal(a["float/network.logits.weight"], b["float/network.logits.weight"])


def refused(tmp_path: Path, entries: list[dict], **kwargs) -> str:
    with pytest.raises(BitloomError) as error:
        compress(tmp_path / "out", entries, training=ONE_STEP | kwargs.pop("training", {}), **kwargs)
    assert "\n" not in str(error.value) and not (tmp_path / "out" / "float").exists() and not (tmp_path / "out" / "checkpoints").exists()
    return str(error.value)


def test_teachers_that_do_not_fit(teacher, tmp_path):
    """Each in one line, before any training."""
    hidden, maps, logits = ({"method": name, "teacher": teacher} for name in ("hidden_states", "attention_maps", "logits"))
    good = student(teacher)
    wide = MODEL.model_copy(update={"heads": 2})
    cases = [
        ([hidden], {}, f"compression.0.teacher: got a teacher whose 250 tokens are not the student's 200, must read the same tokens; set data.vocab: {teacher}"),
        ([hidden], good | {"model": MODEL.model_copy(update={"layers": 5})},
         "compression.0.teacher: got a teacher of 4 layers, must have the student's 5 at least; choose a deeper one"),
        ([maps], good | {"model": wide}, "compression.0.heads: got 'each' with 2 heads in layer 0 and 4 in the teacher's, must be pairs; set heads: mean"),
        ([maps, {"method": "head_pruning", "keep": 0.5}], good,
         "compression.0.heads: got 'each' with 2 heads in layer 0 and 4 in the teacher's, must be pairs; set heads: mean"),
        ([hidden | {"initialize": True}], good,
         "compression.0.initialize: got a teacher of 24 channels, 4 heads and a feed-forward of 32, must have the student's 16, 4 and 32; set initialize: false"),
        ([logits], good | {"training": {"distill": DistillConfig()}}, "training.distill: got a second 'logits', must be there once; remove one"),
        ([{"method": "hidden_states", "teacher": "float"}], {"training": {"qat_epochs": 0.0}},
         "compression.0.phases: got qat with no epochs, must train in one of them; set training.qat_epochs"),
    ]  # fmt: skip
    cases[0] = (cases[0][0], {"data": DATA.model_copy(update={"vocab": 200})}, cases[0][2])
    for entries, kwargs, expected in cases:
        assert refused(tmp_path, entries, **kwargs) == expected
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_teachers_of_other_labels(teacher, tmp_path):
    folder = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "cold", "1": "warm"}, "label2id": {"cold": 0, "warm": 1}}))
    plain_folder = tmp_path / "plain"
    save_float(plain(), plain_folder, ["cold", "warm"])
    TextTokenizer.load(teacher).save(plain_folder)
    for name in (folder, plain_folder):
        for method in ("logits", "hidden_states"):
            text = refused(tmp_path, [{"method": method, "teacher": str(name)}], **student(teacher))
            assert text.startswith(f"checkpoint: {name}: got labels cold, warm, must be the data set's (negative, positive), in any order")
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
    save_float(FloatModel.from_hugging_face(random_float(MODEL, labels=3), 16), plain_folder)
    text = refused(tmp_path, [{"method": "logits", "teacher": str(plain_folder)}], **student(teacher))
    assert (
        text
        == f"compression.0.teacher: got '{plain_folder}' with a sequence head of 3 logits, must have a sequence head of 2; choose one that was trained on this task"
    )
