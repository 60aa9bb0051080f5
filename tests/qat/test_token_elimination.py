# SPDX-License-Identifier: Apache-2.0
"""Token elimination in training: what stays, what is learned, the integers that come out, what is refused."""

import json
import re

import numpy as np
import pytest
import torch
from compressed import MODEL, assert_same, checked, compress, crashed, inputs, integers_agree, plain_model
from sweep import plain_or_slow

from bitloom.hw.ops.keep_tokens import kept
from bitloom.hw.settings import ConfigError
from bitloom.hw.tokens import Tokens, left
from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.method import Step, Work
from bitloom.qat.methods.token_elimination import ALL, FAST, RANKS, STRENGTH, kept_shape
from bitloom.qat.net.kept import KeepTokens, ranked, still_real
from bitloom.qat.net.model import FloatModel

ONE = {"method": "token_elimination"}
WINDOW, PAIRS = {"method": "attention_window", "window": 3}, {"method": "attention_segments", "layers": "layer.0"}
FIXED = {"method": "fixed_patterns", "patterns": ["previous", "left", "next", "current"]}
LOOKING = [{"method": "hidden_states", "teacher": "float"}, {"method": "attention_maps", "teacher": "float", "distance": "divergence"}]
pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")


def made(**settings):
    return method_of("token_elimination")(read({"method": "token_elimination"} | settings), "compression.0")


def working(method, seed: int = 0) -> tuple[Work, dict]:
    plain = plain_model(seed)
    model = FloatModel(method.reshape(plain.shape))
    model.load_state_dict(dict(plain.named_parameters()), strict=False)
    batch = inputs() | {"labels": torch.arange(8) % 2}
    work = Work(phase="float", model=model, batches=lambda: [batch], methods=[method])
    method.begin(work)
    return work, batch


@pytest.mark.parametrize("few", [1, 3, 200])
def test_torch_and_golden_keep_the_same(few):
    """With ties, on codes of probabilities, and padding behind."""
    rng = np.random.default_rng(few)
    for keep in (1, 60, 128, 255):
        lengths = rng.integers(1, 13, 6)
        real = torch.arange(int(lengths.max())) < torch.tensor(lengths)[:, None]
        p = rng.integers(0, few, (6, 2, real.shape[1], real.shape[1])) * real.numpy()[:, None, None, :]
        x = torch.arange(6 * real.shape[1]).reshape(6, -1, 1)
        operator = KeepTokens(keep)
        got = operator(x, torch.tensor(p / 256), real[:, None, None, :])
        mask = still_real(real, Tokens().behind(keep))
        assert got.shape[:2] == mask.shape
        for i, n in enumerate(lengths.tolist()):
            want = kept(p[i, :, :n, :n].sum((0, 1)), keep)
            assert len(want) == left(n, keep) == int(mask[i].sum()) and got[i, mask[i], 0].tolist() == (x[i, want, 0]).tolist()


def test_ranks():
    """The first token, then by what is received from real queries, padding last."""
    probs = torch.tensor([[[[0.1, 0.5, 0.4, 0], [0.2, 0.3, 0.5, 0], [0.3, 0.4, 0.3, 0], [0, 0, 9, 0]]]])
    real = torch.tensor([[True, True, True, False]])
    assert ranked(probs.double(), real).tolist() == [[0, 1, 2, 3]]
    assert ranked(probs.double(), torch.ones(1, 4, dtype=torch.bool)).tolist() == [[0, 2, 1, 3]]


def test_a_sentence_alone_and_in_a_batch():
    """Padding changes nothing."""
    model = FloatModel(kept_shape(plain_model().shape, [128, 64])).eval()
    model.load_state_dict(dict(plain_model().named_parameters()), strict=False)
    batch = inputs()
    with torch.no_grad():
        together = model(**batch).logits
        for i, mask in enumerate(batch["attention_mask"].bool()):
            alone = model(**{key: value[i : i + 1, mask] for key, value in batch.items()}).logits
            assert torch.allclose(alone, together[i : i + 1], atol=1e-5)


def test_soft_extraction():
    """While it learns, hidden states of the rank k count r_k, but for the first token's; the loss has l * mean r_l."""
    method = made()
    work, batch = working(method)
    model = work.model.eval()
    before = model(**batch).logits
    method.during(work, Step(number=4, total=12))
    assert method.learns and torch.equal(model(**batch).logits, before)
    outputs = model(**batch)
    assert torch.allclose(method.loss(work, outputs.loss, batch, outputs), outputs.loss + STRENGTH * 3)
    seen = []
    handle = model.network.layer[0].kept.register_forward_hook(lambda module, args, y: seen.append((args[0], y)))
    with torch.no_grad():
        method.below[0].fill_(-0.5 / FAST)
    assert not torch.equal(model(**batch).logits, before)
    handle.remove()
    (x, y) = seen[0]
    assert torch.equal(y[:, 0], x[:, 0]) and torch.allclose(y[:, 1:], x[:, 1:] / 2)
    method.loss(work, model(**batch).loss, batch, outputs).backward()
    cost = STRENGTH * FAST / RANKS  # all that the last layer's learn from: nothing reads its further tokens
    assert torch.allclose(method.below[1].grad, torch.full((RANKS,), 2 * cost)) and not torch.allclose(method.below[0].grad, torch.full((RANKS,), cost))


def test_what_is_learned():
    """Means of the retentions, as shares of what each layer gets; never more than the layer before."""
    method = made()
    work, _ = working(method)
    with torch.no_grad():
        method.below[0][RANKS // 2 :] = -1 / FAST
        method.below[1][: 3 * RANKS // 4] = -1 / FAST
    assert method.learned() == [128, 128]
    with torch.no_grad():
        method.below[1].zero_()
    assert method.learned() == [128, ALL]
    with torch.no_grad():
        method.below[0].fill_(-7.0)
    assert method.keeps.tolist() == [ALL, ALL]
    method.during(work, Step(number=7, total=12))
    assert torch.equal(method.below[0], torch.full((RANKS,), -1 / FAST)) and method.keeps.tolist() == [1, ALL]


def test_given_shares():
    method = made(keep=[0.5, 0.001])
    work, batch = working(method)
    whole = work.model.eval()(**batch).logits
    method.during(work, Step(number=2, total=12))
    assert torch.equal(work.model(**batch).logits, whole)
    method.during(work, Step(number=3, total=12))
    assert not torch.equal(work.model(**batch).logits, whole)
    assert [layer.keep for layer in method.finish(work).shape.layers] == [128, 1]
    assert [layer.keep for layer in made(keep=[1, 0.25]).expect(method.reshape(plain_model().shape)).layers] == [None, 64]


@pytest.mark.parametrize("entries", [[{"keep": [0.5, 0.3]}], *([pytest.param([{"strength": 30}], marks=pytest.mark.slow)])])
def test_trained_integers(entries, tmp_path):
    """The same in Brevitas, golden and ONNX Runtime, where codes decide which tokens stay."""
    compress(tmp_path, [{"method": "token_elimination"} | entries[0]])
    graph = integers_agree(tmp_path)
    shares = [n.attrs["keep"] for n in graph.nodes if n.op == "keep_tokens"]
    assert shares == [128, 77] if "keep" in entries[0] else shares
    stored = json.loads((tmp_path / "float" / "float.json").read_text())["shape"]["layers"]
    assert [layer.get("keep") for layer in stored if layer.get("keep")] == shares


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "step"), [("float", 5), ("float", 10), ("qat", 5)])
def test_resumes(phase, step, tmp_path):
    """While it learns, behind that, and quantized, to the same weights."""
    entries = [{"method": "token_elimination", "strength": 20, "begin": 0.2, "end": 0.8}, {"method": "head_pruning", "keep": 0.5}]
    crashed(tmp_path / "a", entries, phase, step)
    for name in ("a", "b"):
        compress(tmp_path / name, entries)
    assert_same(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_with_other_methods(tmp_path):
    entries = [{"method": "sharing"}, {"method": "token_elimination", "keep": [0.7, 0.4]}, {"method": "magnitude_pruning", "keep": 0.5}]
    compress(tmp_path, [*entries, {"method": "logits", "teacher": "float"}])
    integers_agree(tmp_path)


# What it stands together with, and the shares that come out.
TOGETHER = {
    "a window and heads of which one is fixed": ([WINDOW, FIXED | {"patterns": ["next"]}, ONE | {"keep": [0.7, 0.4]}], [179, 102]),
    "sentences of a pair, below": ([PAIRS, ONE | {"keep": [1, 0.4]}], [102]),
    "no heads, below": ([FIXED | {"layers": "layer.0"}, ONE | {"strength": 30}], None),
    "early exit": ([{"method": "early_exit"}, ONE | {"keep": [0.7, 0.4]}], [179, 102]),
    "objectives that look inside": ([ONE | {"keep": [0.7, 0.4]}, *LOOKING], [179, 102]),
}


@pytest.mark.parametrize("case", plain_or_slow(TOGETHER, ["a window and heads of which one is fixed"]))
def test_together_with(case, tmp_path):
    """The same in Brevitas, golden and ONNX Runtime; learned shares are of the layers that can take tokens out."""
    entries, shares = TOGETHER[case]
    compress(tmp_path, entries)
    graph = integers_agree(tmp_path)
    found = [n.attrs["keep"] for n in graph.nodes if n.op == "keep_tokens"]
    assert found == shares if shares else [n.name for n in graph.nodes if n.op == "keep_tokens"] == ["layer.1.kept"]


REFUSED = [
    ([ONE], {"head": "token"}, {}, r"compression.0: got a head of each token, must have one vector of logits a sentence; remove token_elimination"),
    ([ONE | {"keep": [0.5]}], {}, {}, r"compression.0.keep: got 1 shares, must be one for each of the 2 layers; add or remove some"),
    (
        [ONE],
        {"attention": "causal"},
        {},
        r"compression.0: got keys 'causal' in layer.0, must see tokens behind its own: .*; widen the window, or remove token_el",
    ),
    ([{"method": "attention_window", "window": 0, "layers": "layer.1"}, ONE], {}, {}, r"compression.1: got keys 'window 0' in layer.1, must see tokens behind"),
    (
        [PAIRS, ONE | {"keep": [0.9, 0.5]}],
        {},
        {},
        r"compression.1.keep: got 0.9 for layer.0, a layer that sees each sentence of a pair alone, .*, must be 1 there",
    ),
    (
        [PAIRS | {"layers": "layer.1"}, ONE],
        {},
        {},
        r"compression.1: got layers of which each stands in front of a sentence seen alone, .*; leave the last layers",
    ),
    ([ONE, PAIRS], {}, {}, r"compression.0: got keys of layer.0 or behind it that a method behind it changes, must stand behind that; move"),
    (
        [FIXED | {"layers": "layer.1"}, ONE | {"keep": [0.9, 0.5]}],
        {},
        {},
        r"compression.1.keep: got 0.5 for layer.1, fixed patterns alone, must be 1 there; rai",
    ),
    ([ONE], {}, {"float_epochs": 0}, r"compression.0.keep: got none and no float epochs to learn it in, must be given then; set keep"),
    ([ONE, {"method": "layer_drop"}], {}, {}, r"got 'layer_drop' together with 'token_elimination'"),
    ([ONE, ONE], {}, {}, r"got a second 'token_elimination', must be there once"),
    ([{"method": "magnitude_pruning", "keep": 0.5}, ONE], {}, {}, r"got 'token_elimination' behind 'magnitude_pruning', must be in front of it"),
]


@pytest.mark.parametrize(("entries", "model", "training", "message"), REFUSED)
def test_what_is_refused(entries, model, training, message):
    assert re.search(message, checked(entries, MODEL.model_copy(update=model), **training))


def test_settings_that_contradict():
    for settings, message in (
        ({"keep": [0.5, 0.5], "strength": 1}, "strength: got 1 with a given keep, must be one of them; remove one"),
        ({"begin": 0.6, "end": 0.5}, "begin: got 0.6 with end 0.5, must be below that; lower it"),
        ({"keep": [0.5, 0]}, r"keep.1: got '0', must be .*greater than 0"),
        ({"keep": []}, r"keep: got '\[\]', must be "),
    ):
        with pytest.raises(ConfigError, match=message):
            made(**settings)
