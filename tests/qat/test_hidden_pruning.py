# SPDX-License-Identifier: Apache-2.0
"""Pruning of hidden channels: what is cut computes what the gated network did, the least important go first, integers agree."""

import pytest
import torch
from compressed import MODEL, answers, assert_same, checked, compress, crashed, inputs, integers_agree, plain_model

from bitloom.qat.checkpoint import load_plain
from bitloom.qat.compress import reshaped
from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.cut import cut_hidden
from bitloom.qat.methods.method import Step, Work
from bitloom.qat.net.model import FloatModel

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
HIDDEN = {"method": "hidden_pruning", "keep": 0.5, "multiple": 4}
RANKS = {"method": "low_rank", "ranks": {"layer.*.ffn.*": 4, "layer.1.query": 4}}


def begun(model: FloatModel, **settings):
    method, batch = method_of("hidden_pruning")(read(HIDDEN | settings), "compression.0"), inputs() | {"labels": torch.tensor([0, 1] * 4)}
    work = Work(phase="float", model=model, batches=lambda: [batch], methods=[])
    method.begin(work)
    return method, work


def small_of(method, work: Work) -> FloatModel:
    for hook in work.hooks:
        hook.remove()
    return method.finish(work).eval()


@pytest.mark.parametrize("entries", [[], [{"method": "embedding_factorization", "size": 6}, RANKS]], ids=["plain", "factored"])
def test_a_cut_computes_what_the_gates_did(entries):
    """Other channels of the pooler than of the hidden states; heads and feed-forward stay as wide."""
    model = plain_model()
    for entry in entries:
        change = method_of(entry["method"])(read(entry), "")
        model = reshaped(model, change.reshape(model.shape), change).eval()
    method, work = begun(model)
    whole, index = answers(model), {"hidden": [0, 2, 3, 5, 8, 11, 12, 15], "pooler": [1, 2, 4, 5, 6, 7, 9, 14]}
    for kind, kept in index.items():
        method.get_buffer(f"kept/{kind}").zero_()[kept] = True
    gated = answers(model)
    small = small_of(method, work)
    assert small.shape.hidden == 8 and small.shape.layers == model.shape.layers and small.shape.embedding == model.shape.embedding
    assert (answers(small) - gated).abs().max() < 1e-5 and (gated - whole).abs().max() > 1e-3


def test_importance_is_the_gradient_of_a_gate():
    """One sentence: |sum over places of y * dL/dy|, place by place, by gates that are parameters."""
    model = plain_model()
    method, work = begun(model)
    batch = {key: value[:1] for key, value in inputs().items()} | {"labels": torch.tensor([1])}
    model(**batch).loss.backward()
    for hook in work.hooks:
        hook.remove()
    places = [model.network.embeddings.norm, *(norm for layer in model.network.layer for norm in (layer.attention.norm, layer.ffn.norm))]
    gates = torch.ones(len(places), MODEL.hidden, requires_grad=True)
    hooks = [place.register_forward_hook(lambda module, args, y, i=i: y * gates[i]) for i, place in enumerate(places)]
    model(**batch).loss.backward()
    for hook in hooks:
        hook.remove()
    assert torch.allclose(method.get_buffer("seen/hidden").float(), gates.grad.abs().sum(0), rtol=1e-3) and gates.grad.abs().min() > 0


def test_the_least_important_channels_go_first():
    """Of the pooler those that nobody reads; of the hidden states those that were seen to matter least, in two rounds."""
    model, unread = plain_model(), [1, 4, 6, 7, 9, 10, 13, 14]
    with torch.no_grad():
        model.network.logits.weight[:, unread] = 0
    method, work = begun(model)
    small = small_of(method, work)
    assert torch.equal(small.network.pooler.pre.bias, model.network.pooler.pre.bias[[i for i in range(16) if i not in unread]])
    method, work = begun(model, rounds=2)
    method.get_buffer("seen/hidden").copy_(torch.arange(16).flip(0))
    method.during(work, Step(number=30, total=100))
    assert method.get_buffer("kept/hidden").tolist() == [True] * 12 + [False] * 4 and not method.get_buffer("seen/hidden").any()
    method.get_buffer("seen/hidden").copy_(torch.arange(16))
    method.during(work, Step(number=70, total=100))
    assert torch.equal(small_of(method, work).network.embeddings.norm.bias, model.network.embeddings.norm.bias[4:12])


def test_all_channels_are_the_same_network():
    model = plain_model()
    assert torch.equal(answers(cut_hidden(model, torch.arange(16), torch.arange(16)).eval()), answers(model))


@pytest.mark.slow
def test_trained(tmp_path):
    """Behind heads and units, before tiles; a crash changes nothing."""
    entries = [
        {"method": "head_pruning", "keep": 0.5},
        HIDDEN,
        {"method": "ffn_pruning", "keep": 0.5, "multiple": 8},
        {"method": "block_pruning", "tile": [4, 4], "keep": 0.5, "phase": "qat", "every": 3},
    ]
    compress(tmp_path / "whole", entries)
    graph = integers_agree(tmp_path / "whole")
    assert load_plain(tmp_path / "whole" / "float").shape.hidden == 8
    assert graph.params["layer.0.ffn.up.acc.weight"].shape == (16, 8) and graph.params["pooler.acc.weight"].shape == (8, 8)
    for phase, step in (("float", 8), ("qat", 8)):
        crashed(tmp_path / phase, entries, phase, step)
        compress(tmp_path / phase, entries)
        assert_same(tmp_path / phase, tmp_path / "whole")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([HIDDEN | {"keep": 0.05, "multiple": 1}], "compression.0.keep: got 0.05 of 16, 1 channels, must leave two, which a LayerNorm needs; raise it, or lower multiple"),
        ([HIDDEN | {"keep": 1, "multiple": 20}], "compression.0.multiple: got 20, must be at most the 16 channels; lower it"),
        ([{"method": "embedding_factorization", "size": 8}, HIDDEN],
         "compression.1.keep: got 0.5 of 16, 8 channels, must be another number than the 8 of the embeddings, from which a linear layer leads to the encoder; change it"),
        ([{"method": "block_pruning", "tile": [4, 4], "keep": 0.5}, HIDDEN],
         "compression.0.phase: got 'float' with 'hidden_pruning', must be the phase behind it, as a cut through its pattern of zeros breaks it; set phase: qat"),
        ([HIDDEN, {"method": "balanced_pruning", "keep": 2, "of": 16, "phase": "qat"}],
         "compression.1.of: got 16, must divide the 8 weights of a row of 'layer.0.query'; use e.g. 8, or leave it out with layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_the_training(entries, expected):
    assert checked(entries).startswith(expected)
