# SPDX-License-Identifier: Apache-2.0
"""A network is one forward function: all else, down to the hardware, follows from it."""

import numpy as np
import pytest
import torch
from random_models import padded, random_sentences

from bitloom.hw import golden
from bitloom.hw.build import build
from bitloom.hw.errors import BitloomError
from bitloom.hw.onnx_export import OnnxReferee, observed, to_onnx
from bitloom.hw.plan.solve import HardwareConfig
from bitloom.qat.calibrate import calibrate
from bitloom.qat.config import OF_CODEBOOKS, QuantConfig
from bitloom.qat.export import forward_codes, in_float64
from bitloom.qat.net.encoder import EncoderLayer
from bitloom.qat.net.network import Network
from bitloom.qat.net.operators import Add, Embeddings, FirstToken, LayerNorm, Linear
from bitloom.qat.net.shape import LayerShape
from bitloom.sim.encoder import run_encoder
from bitloom.sim.verify import compare

TOKENS = 12


class Toy(Network):
    """Two layers with other heads, head widths and feed-forward widths; the second reads the first's and the embedding's output."""

    def __init__(self):
        super().__init__()
        self.embeddings, self.norm = Embeddings(50, TOKENS, 2, 24), LayerNorm(24, 1e-12)
        self.low, self.high = (EncoderLayer(LayerShape(heads=h, head_width=w, intermediate=f, activation="relu"), 24) for h, w, f in ((2, 8, 40), (3, 5, 20)))
        self.mix, self.first = Add(), FirstToken()
        self.words, self.logits = Linear(24, 4, bits=16), Linear(24, 3, bits=16)

    def forward(self, input_ids, token_type_ids, real):
        x = self.norm(self.embeddings(input_ids, token_type_ids))
        y, real = self.low(x, real)
        z, _ = self.high(self.mix(y, x), real)
        return self.logits(self.first(z)), self.words(y)


@pytest.fixture(scope="module")
def toy():
    torch.manual_seed(1)
    network = Toy().bind(QuantConfig(weights=3, overrides={"high.*": {"activations": 6}, "mix": {"residual": 12}}), TOKENS)
    with torch.no_grad():
        for op in network.operators():
            if isinstance(op, Linear):
                op.weight.normal_(0, 0.2)
                op.weight_grid.fit(op.weight)
    calibrate(network, [padded(*random_sentences(0, 8, TOKENS))])
    return network.eval(), network.to_graph("toy")


def test_every_reader_agrees(toy, tmp_path):
    """Brevitas in float64, golden, ONNX Runtime and RTL, every tensor, both outputs."""
    network, graph = toy
    ids, segments = random_sentences(3, 6, TOKENS)
    want = golden.run(graph, ids, segments)
    got = forward_codes(in_float64(network), ids, segments)
    assert set(got) == set(want) and [n for n in want if not np.array_equal(got[n], want[n])] == []
    referee = OnnxReferee(to_onnx(graph)).run(ids, segments)
    assert set(referee) == set(observed(graph)) and [n for n in referee if not np.array_equal(referee[n], want[n])] == []
    build(graph, HardwareConfig(multipliers=60), tmp_path)
    run = run_encoder(tmp_path, np.split(want[graph.entry], np.cumsum([len(s) for s in ids])[:-1]))
    report = compare(graph, want, run)
    assert report.ok, str(report)
    assert {"m_axis", "m_words"} <= {t.tensor for t in report.per_tensor}


def test_all_is_derived_from_the_forward_pass(toy):
    network, graph = toy
    assert graph.outputs == ("logits", "words") and graph.entry == "embeddings"
    assert graph.tensor("high.query").shape == ("T", 15) and graph.tensor("low.ffn.up").shape == ("T", 40)
    assert graph.tensor("high.ffn.up").bits == 6 and graph.tensor("low.ffn.up").bits == 8
    scales = {"weight_scales", "activation_scales"}
    assert network.settings()["low.attention.output"] == {"weights", "weight_range", "ternary", "activations", "residual", "codebook", *scales, *OF_CODEBOOKS}
    assert network.settings()["mix"] == {"residual", "activation_scales"}


def test_arithmetic_outside_of_operators_is_refused():
    class Loose(Toy):
        def forward(self, input_ids, token_type_ids, real):
            x = self.norm(self.embeddings(input_ids, token_type_ids))
            return self.logits(self.first(x * 2))

    with pytest.raises(BitloomError, match="between operators .* must be an operator of qat/net/operators.py"):
        Loose().bind(QuantConfig(), TOKENS)

    class Twice(Toy):
        def forward(self, input_ids, token_type_ids, real):
            return self.logits(self.first(self.low(*self.low(self.norm(self.embeddings(input_ids, token_type_ids)), real))[0]))

    with pytest.raises(BitloomError, match="called twice, must be once"):
        Twice().bind(QuantConfig(), TOKENS)
