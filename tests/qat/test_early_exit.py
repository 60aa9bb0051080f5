# SPDX-License-Identifier: Apache-2.0
"""Early exit in training: what is minimized, how the rule is chosen, the integers that come out, what is refused."""

import json

import numpy as np
import pytest
import torch
from compressed import MODEL, assert_same, checked, compress, crashed, inputs, integers_agree, plain_model

from bitloom.hw.ops.off_ramps import off_ramps
from bitloom.hw.settings import ConfigError
from bitloom.qat.compress import Compression, reshaped
from bitloom.qat.config import ExitWarning, QuantConfig, TrainConfig
from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.cut import cut_hidden
from bitloom.qat.methods.early_exit import correct, leaving, thresholds, told
from bitloom.qat.methods.method import Step, Work
from bitloom.qat.net.model import FloatModel, QuantModel, sequence_loss
from bitloom.qat.net.off_ramps import NEVER, margins, taken

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning", "ignore::bitloom.qat.config.ExitWarning")
DEEP = MODEL.model_copy(update={"layers": 3, "dropout": 0.0})


def made(**settings):
    return method_of("early_exit")(read({"method": "early_exit"} | settings), "compression.0")


def deep(method=None, seed: int = 0) -> FloatModel:
    """A model of three layers with off-ramps that answer differently."""
    model, method = plain_model(seed, layers=3), method or made()
    new = reshaped(model, method.reshape(model.shape), method)
    torch.manual_seed(seed)
    for ramp in new.network.exit:
        torch.nn.init.normal_(ramp.logits.weight, std=0.3)
    return new


def working(model: FloatModel, method) -> tuple[Work, dict]:
    batch = inputs() | {"labels": torch.arange(8) % 2}
    work = Work(phase="float", model=model, batches=lambda: [batch], methods=[method])
    method.begin(work)
    return work, batch


def every(model: FloatModel, batch: dict) -> list[torch.Tensor]:
    """The logits of each off-ramp."""
    seen = []
    handle = model.network.answer.register_forward_pre_hook(lambda module, logits: seen.extend(logits))
    model.eval()(**batch)
    handle.remove()
    return seen


def test_all_off_ramps_begin_as_the_pooled_answer_does():
    """Where tanh is a line: the pooler's matrix is in the logits' now."""
    model = plain_model(layers=3)
    with torch.no_grad():
        model.network.pooler.pre.weight.mul_(1e-3)
        model.network.pooler.pre.bias.mul_(1e-3)
    new = reshaped(model, made().reshape(model.shape), made()).eval()
    assert torch.allclose(new(**inputs()).logits, model(**inputs()).logits, atol=1e-4) and new.shape.exits and not new.shape.pooler
    assert all(torch.equal(ramp.logits.weight, new.network.logits.weight) for ramp in new.network.exit)


def test_a_first_token_that_starts_as_a_mean_one():
    """Its row and that of its position, nothing else."""
    model, method = plain_model(layers=3), made(first_token="mean")
    method.first = 7
    new, old = reshaped(model, method.reshape(model.shape), method).network.embeddings.sum, model.network.embeddings.sum
    for name, index in (("word", 7), ("position", 0)):
        rows, before = getattr(new, name), getattr(old, name)
        assert torch.allclose(rows[index], before.mean(dim=0), atol=1e-6)
        assert torch.equal(rows[index + 1 :], before[index + 1 :]) and torch.equal(rows[:index], before[:index])


@pytest.mark.parametrize(("weighting", "shares"), [("depth", (1, 2, 3)), ("equal", (1, 1, 1))])
def test_joint_loss(weighting, shares):
    """PABEE's sum j L_j / sum j, or the mean; while it trains, the model answers as its last off-ramp."""
    model, method = deep(), made(weighting=weighting)
    work, batch = working(model, method)
    outputs = model.train()(**batch)
    got = method.loss(work, outputs.loss, batch, outputs)
    losses = [sequence_loss(logits, batch["labels"]) for logits in method._seen]
    assert torch.equal(outputs.loss, losses[-1]) and torch.allclose(got, sum(s * own for s, own in zip(shares, losses, strict=True)) / sum(shares))


def test_two_stages():
    """First all but the off-ramps learn, then the off-ramps alone."""
    model, method = deep(), made(train="two_stage")
    work, batch = working(model, method)

    def learning() -> set[str]:
        model.zero_grad()
        outputs = model.train()(**batch)
        method.loss(work, outputs.loss, batch, outputs).backward()
        return {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}

    assert learning() == {"embeddings", "layer", "logits"}
    method.during(work, Step(number=6, total=12))
    assert learning() == {"exit"}


def test_torch_and_golden_leave_alike():
    """With ties, on codes."""
    logits = torch.randint(-3, 4, (4, 500, 3), generator=torch.Generator().manual_seed(0)).double()
    for threshold, patience in (((2.0, 1.0, 3.0), 1), ((0.0, 0.0, 0.0), 2), ((1.0, 2.0, 0.0), 2), ((0.0,) * 3, 4)):
        want = off_ramps(list(logits.numpy().astype(np.int64)), np.array(threshold, dtype=np.int64), patience)[1]
        assert np.array_equal(taken(logits, torch.tensor(threshold), patience).numpy(), want), (threshold, patience)


def test_thresholds_are_chosen():
    """Each off-ramp's own, as far down as the accuracy on the training sentences allows; the model then answers by them."""
    model, method = deep(seed=3), made(accuracy_drop=13)
    work, batch = working(model, method)
    logits = torch.stack(every(model, batch))
    batch["labels"] = logits[-1].argmax(-1)  # one of eight may be wrong
    method.finish(work)
    found = model.network.answer.threshold.detach()
    left = taken(logits, found, 1)
    right = logits[left, torch.arange(8)]
    assert torch.allclose(model.eval()(**batch).logits, right) and len(left.unique()) > 1 and (found < NEVER).any()
    assert correct(right, batch["labels"]) >= 7 / 8
    for ramp, margin in enumerate(margins(logits)[0][:-1].detach()):  # a level lower is one too low
        lower = found.clone()
        lower[ramp] = max([float(m) for m in margin if m < found[ramp]], default=-1.0)
        assert lower[ramp] < 0 or leaving(logits, batch["labels"], lower, 1)[0] < 7 / 8


def test_off_ramps_that_are_less_sure_get_lower_thresholds():
    """The first one is right where its margin is 0.2, the second where it is 20: one threshold for both would do for one alone."""
    labels = torch.arange(400) % 2
    sure = torch.arange(400) % 4 > 0
    signs = 2.0 * labels - 1
    margin = torch.stack([torch.where(sure, 0.2, 0.1), torch.where(sure, 20.0, 10.0), torch.full((400,), 5.0)])
    signs = torch.stack([torch.where(sure, signs, -signs), torch.where(sure, signs, -signs), signs]) * margin
    logits = torch.stack([torch.zeros_like(signs), signs], dim=-1)
    found = thresholds(logits, labels, 1.0)
    assert found[0] == pytest.approx(0.2) and found[1] > 10 and leaving(logits, labels, found, 1) == (1.0, pytest.approx(0.5))
    logits[0] = torch.tensor([0.0, 1.0]) * margin[0][:, None]  # one answer for all, right for half of them where it is surest
    assert thresholds(logits, labels, 0.9)[0] == NEVER


@pytest.mark.parametrize(("settings", "layer"), [({"threshold": 0}, 1), ({"threshold": 1e5}, 3), ({"rule": "patience", "patience": 3}, 3)])
def test_a_rule_that_never_or_always_leaves_is_told(settings, layer):
    model, method = deep(), made(**settings)
    work, _ = working(model, method)
    with pytest.warns(ExitWarning, match=rf"compression.0: all sentences leave behind layer {layer}: 8 training sentences .* change (threshold|patience)"):
        method.finish(work)


def test_what_is_told():
    logits = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 2.0]]])
    text = told(logits, torch.tensor([1, 1]), torch.tensor([0, 1]))
    assert text == "2 training sentences leave behind layers 1 .. 2: 50 %, 50 %; mean 1.50 layers; accuracy 50.0 %, of the last 100.0 %"


def test_hidden_channels_can_be_cut():
    """Off-ramps lose the columns of those that are gone, and the rule stays."""
    model = deep()
    model.network.answer.threshold.fill_(0.25)
    new = cut_hidden(model, torch.tensor([0, 3, 5]), torch.arange(16))
    assert torch.equal(new.network.exit[1].logits.weight, model.network.exit[1].logits.weight[:, [0, 3, 5]])
    assert new.network.answer.threshold.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 0.05}, *(pytest.param(s, marks=pytest.mark.slow) for s in ({"rule": "patience"}, {"train": "two_stage"}, {"accuracy_drop": 5}))],
)
def test_trained_integers(settings, tmp_path):
    """The same in Brevitas, golden and ONNX Runtime; all off-ramps on one grid, the rule in the graph, the score that of the rule."""
    metrics = compress(tmp_path, [{"method": "early_exit"} | settings], model=DEEP)
    graph = integers_agree(tmp_path)
    gate = graph.nodes[-1]
    assert len({graph.tensor(name).scale for name in gate.inputs}) == 1 and graph.outputs == (gate.name,)
    if "threshold" in settings:
        code = int(np.ceil(np.float32(0.05) / graph.tensor(gate.name).scale))
        assert graph.params["answer.threshold"].tolist() == [code, code] and gate.attrs == {"patience": 1}
    assert metrics["qat"] is not None and json.loads((tmp_path / "float" / "float.json").read_text())["shape"]["exits"]


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "step"), [("float", 10), ("qat", 5)])
def test_resumes(phase, step, tmp_path):
    """In the second stage too, to the same weights and the same rule."""
    entries = [{"method": "early_exit", "train": "two_stage"}, {"method": "head_pruning", "keep": 0.5}]
    crashed(tmp_path / "a", entries, phase, step, model=DEEP)
    for name in ("a", "b"):
        compress(tmp_path / name, entries, model=DEEP)
    assert_same(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_with_other_methods(tmp_path):
    entries = [{"method": "depth", "keep": 2}, {"method": "sharing"}, {"method": "early_exit"}, {"method": "hidden_pruning", "keep": 0.5}]
    compress(tmp_path, [*entries, {"method": "logits", "teacher": "float"}], model=DEEP)
    assert len(integers_agree(tmp_path).nodes[-1].inputs) == 2


def test_a_quantized_model_takes_the_rule():
    model = deep()
    model.network.answer.threshold.fill_(0.5)
    assert QuantModel.from_float(model, QuantConfig(), model.max_tokens).network.answer.threshold.tolist() == [0.5, 0.5]


REFUSED = [
    ([{"method": "early_exit"}], {"layers": 1}, r"compression.0: got 1 layer, must have at least two, .*; remove early_exit, or raise model.layers"),
    ([{"method": "early_exit"}], {"head": "token"}, r"got a head of each token, must have one vector of logits a sentence"),
    ([{"method": "early_exit", "rule": "patience", "patience": 4}], {}, r"patience: got 4, must be at most the 2 layers that there are; lower it"),
    ([{"method": "early_exit"}, {"method": "depth", "keep": 1}], {}, r"compression.1: got it behind early_exit, must be in front of it"),
    ([{"method": "early_exit"}, {"method": "layer_drop"}], {}, r"got 'layer_drop' together with 'early_exit', must be one of them"),
    ([{"method": "magnitude_pruning", "keep": 0.5}, {"method": "early_exit"}], {}, r"got 'early_exit' behind 'magnitude_pruning', must be in front of it"),
]


@pytest.mark.parametrize(("entries", "model", "message"), REFUSED)
def test_what_is_refused(entries, model, message):
    import re

    assert re.search(message, checked(entries, MODEL.model_copy(update=model)))


def test_settings_that_contradict():
    for settings, message in (
        ({"patience": 2}, "patience: got 2 with rule confidence, must go with the other rule"),
        ({"rule": "patience", "threshold": 1}, "threshold: got 1 with rule patience, must go with the other rule"),
        ({"threshold": 1, "accuracy_drop": 1}, "accuracy_drop: got 1 with a given figure, must be one of them"),
        ({"train": "two_stage", "weighting": "equal"}, "weighting: got equal with train: two_stage, must go with joint"),
        ({"train": "twice"}, "train: got 'twice', must be "),
    ):
        with pytest.raises(ConfigError, match=message):
            made(**settings)
    with pytest.raises(Exception, match="got true with 'early_exit', must be false"):
        Compression((read({"method": "early_exit"}),), QuantConfig(), TrainConfig(compile=True)).check(plain_model().shape)
