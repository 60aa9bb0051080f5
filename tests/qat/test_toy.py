# SPDX-License-Identifier: Apache-2.0
"""A network that is no BERT: its forward pass is all that is written of it, and it trains, freezes and runs in hardware."""

import numpy as np
import pytest
import torch
from bitloom.hw import golden
from bitloom.hw.errors import BitloomError
from bitloom.hw.onnx_export import OnnxReferee, observed, to_onnx
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.attention import Context, Scores, Softmax
from bitloom.qat.net.codes import forward_codes, in_float64
from bitloom.qat.net.encoder import EncoderLayer
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Add, Embed, FirstToken, LayerNorm, Linear, Table
from bitloom.qat.net.shape import EncoderShape, LayerShape
from graph_rtl import compare_rtl
from random_models import VOCABULARY, padded, random_sentences
from torch import nn

TOKENS = 10
FIRST = LayerShape(heads=3, head_width=5, intermediate=20, activation="silu")
SECOND = LayerShape(heads=2, head_width=8, intermediate=28, activation="gelu_new")
SHAPE = EncoderShape(hidden=24, vocabulary=VOCABULARY, positions=TOKENS, max_tokens=TOKENS, layers=(FIRST, SECOND))


class Toy(Network):
    """Two layers of different heads and widths; the second reads the sum of the first's output and the embeddings'."""

    def __init__(self):
        super().__init__(TOKENS)
        self.embed, self.norm = Embed(VOCABULARY, TOKENS, 2, 24), LayerNorm(24, 1e-12)
        self.first, self.second = EncoderLayer(SHAPE, FIRST), EncoderLayer(SHAPE, SECOND)
        self.skip, self.skip_norm = Add(), LayerNorm(24, 1e-12)
        self.token, self.out, self.act, self.logits = FirstToken(), Linear(24, 12), Table("tanh"), Linear(12, 3, bits=16)
        self.dropout = nn.Dropout(0.1)

    def forward(self, input_ids, token_type_ids, real):
        x = self.dropout(self.norm(self.embed(input_ids, token_type_ids)))
        y = self.first(x, real)
        z = self.second(self.skip_norm(self.skip(y, x)), real)
        return self.logits(self.act(self.out(self.token(z))))


def sentences():
    return random_sentences(2, 8, TOKENS)


def toy(**quant) -> Toy:
    torch.manual_seed(1)
    network = Toy().bind(QuantConfig(**quant))
    for module in network.modules():
        if isinstance(module, Linear):
            module.load(nn.Linear(module.in_features, module.out_features))
        if isinstance(module, Embed):
            module.load(*(torch.randn(n, 24) for n in (VOCABULARY, TOKENS, 2)))
    calibrate(network, [padded(*sentences())])
    return network


MIXED = {
    "weights": 3,
    "overrides": {"first.*": {"activations": 6}, "second.query": {"weights": 8}, "first.ffn.down": {"residual": 12}, "skip": {"residual": 9}},
}


@pytest.mark.parametrize("quant", [{}, MIXED])
def test_brevitas_golden_onnx_runtime_and_rtl_are_equal(quant, tmp_path):
    network, (ids, segments) = toy(**quant), sentences()
    graph = network.to_graph("toy")
    want = golden.run(graph, ids, segments)
    got = forward_codes(in_float64(network), ids, segments)
    assert set(got) == set(want) == set(graph.tensors) and len(want) == 2 * 22 + 10
    assert [name for name in want if not np.array_equal(want[name], got[name])] == []
    referee = OnnxReferee(to_onnx(graph), graph.hash).run(ids, segments)
    assert [name for name in observed(graph) if not np.array_equal(referee[name], want[name])] == []
    assert len(np.unique(want["logits"])) > 5
    assert compare_rtl(graph, ids, segments, tmp_path) > 1000


def test_names_inputs_and_bits_follow_from_the_forward_pass():
    graph = toy(**MIXED).to_graph("toy")
    assert graph.node("skip").inputs == ("first.ffn.norm", "norm")
    assert graph.node("second.key.acc").inputs == ("skip_norm",)
    assert graph.tensor("first.scores").shape == ("T", 3, "T") and graph.tensor("second.context").shape == ("T", 16)
    assert [graph.tensor(n).bits for n in ("first.query", "second.query", "first.ffn.down", "skip", "logits")] == [6, 8, 12, 9, 16]
    assert graph.node("second.query.acc").attrs["weight_bits"] == 8 and graph.tensor("first.context.acc").bits == 15
    with pytest.raises(BitloomError, match="got pattern 'layer.*', must match a layer or tensor"):
        toy(overrides={"layer.*": {"weights": 2}})
    with pytest.raises(BitloomError, match=r"'skip_norm'\]: got 'residual', must be a setting of a matching tensor"):
        toy(overrides={"skip_norm": {"residual": 9}})


def test_it_learns_and_a_copy_does_not():
    network, inputs = toy(), padded(*sentences())
    copy, labels = in_float64(network), torch.arange(8) % 3
    before = copy.run(**inputs)
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(network.run(**inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(copy.run(**inputs), before)


class Wrong(Network):
    def __init__(self, how):
        super().__init__(TOKENS)
        self.how, self.embed, self.norm, self.scores = how, Embed(9, TOKENS, 2, 8), LayerNorm(8, 1e-12), Scores(2)
        self.probs, self.context = Softmax(), Context(2)

    def forward(self, input_ids, token_type_ids, real):
        x = self.norm(self.embed(input_ids, token_type_ids))
        if self.how == "twice":
            return self.norm(x)
        return x + x


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("adds", "Wrong: got 'add' in the forward pass, must be an operator; write it as one"),
        ("twice", "Wrong: got 'norm' twice in the forward pass, must be once"),
    ],
)
def test_what_is_no_operator_is_refused(how, text):
    with pytest.raises(BitloomError, match=text):
        _ = Wrong(how).steps
