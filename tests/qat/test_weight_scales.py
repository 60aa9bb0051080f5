# SPDX-License-Identifier: Apache-2.0
"""Scales of weights: of channels, groups and layers; ternary weights by rule; that the frozen graph computes what Brevitas does; contradictions."""

import numpy as np
import pytest
import torch
from random_models import padded, random_float, random_model, random_sentences

from bitloom.hw import golden
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.settings import ConfigError
from bitloom.qat import functional as F
from bitloom.qat.checkpoint import from_pretrained, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig
from bitloom.qat.trainer import _Curvature
from bitloom.qat.weights.dyadic import PART, Dyadic, WeightQuant
from bitloom.qat.weights.ternary import TernaryQuant

SHAPE = ModelConfig(layers=1, hidden=32, heads=2, intermediate=48, max_tokens=16, dropout=0.0)
MIXED = QuantConfig(
    weights=3,
    weight_scales=8,
    overrides={
        "layer.0.query": {"weight_scales": "layer"},
        "layer.0.key": {"weights": 2, "ternary": "twn"},
        "layer.0.value": {"weights": 2, "ternary": "loss_aware", "weight_scales": "layer"},
        "layer.0.ffn.up": {"weights": 1, "weight_scales": 16},
        "layer.0.ffn.down": {"weight_scales": "channel"},
        "logits": {"weight_scales": "layer"},
    },
)


def test_weights_just_below_a_half_have_the_codes_of_the_exact_model():
    """In float32 a half added to what is just below one rounds to 1: the frozen graph had another code than the exact model."""
    quant = WeightQuant(200, bits=4)
    quant.log_scale.data.copy_(torch.linspace(-3, -2, 200))
    weight = (quant.scale()[:, None] * torch.arange(-6.5, 7.0)).float()
    weight = torch.cat([weight, *(torch.nextafter(weight, torch.tensor(way)) for way in (-torch.inf, torch.inf))], 1)
    double = in_float64(quant)
    codes = quant.codes(weight)
    assert torch.equal(codes.double(), double.codes(weight.double()))
    assert torch.equal(codes.double(), double(weight.double())[0] / quant.scale()[:, None])
    assert not torch.equal(codes, (quant(weight)[0] / quant.scale().float()[:, None]).round())  # such weights are there


def rows(channels: int = 12, inputs: int = 40) -> torch.Tensor:
    return torch.randn(channels, inputs, generator=torch.manual_seed(1)) * torch.arange(1, channels + 1)[:, None]


def test_the_graph_computes_what_brevitas_does(tmp_path):
    model = random_model(SHAPE, MIXED, 5)
    ids, segments = random_sentences(5, 8, 16)
    graph = to_graph(model, "x")
    want, got = golden.run(graph, ids, segments), forward_codes(in_float64(model), ids, segments)
    assert got.keys() == want.keys() and [name for name in want if not np.array_equal(got[name], want[name])] == []
    for name, value in OnnxReferee(to_onnx(graph), graph.hash).run(ids, segments).items():
        assert np.array_equal(value, want[name]), name
    mults = {name: graph.params[f"{name}.mult"] for name in ("layer.0.query", "layer.0.key", "layer.0.ffn.up", "layer.0.ffn.down")}
    assert [len(mult) for mult in mults.values()] == [1, 32, 48, 32] and [len(np.unique(mult)) for mult in mults.values()] == [1, 4, 3, 32]
    assert set(np.unique(graph.params["layer.0.value.acc.weight"])) == {-1, 0, 1}
    save_pretrained(model, tmp_path)
    assert to_graph(from_pretrained(tmp_path), "x").hash == graph.hash


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_fitting_in_parts_changes_nothing(bits):
    """As all channels at once: what an encoder of any size had before."""
    weight = torch.randn(300, 257, generator=torch.manual_seed(1)) * torch.linspace(0, 2, 300)[:, None]
    assert weight.numel() > 2 * PART
    quant = WeightQuant(300, bits)
    quant.fit(weight)
    least = max(float(weight.abs().max()) * 1e-4, 1e-8)
    assert torch.equal(quant.log_scale, quant._best(weight.double(), least).log().float())


def test_groups_are_fitted_and_trained_as_one():
    weight, quant, single = rows(), WeightQuant(12, 3, share=4), WeightQuant(3, 3)
    quant.fit(weight)
    single.fit(weight.view(3, 160))
    assert torch.equal(quant.log_scale, single.log_scale) and quant.scale().unique(return_counts=True)[1].tolist() == [4, 4, 4]
    grad = torch.randn(12, 40, generator=torch.manual_seed(2))
    quant(weight)[0].backward(grad)
    single(weight.view(3, 160))[0].backward(grad.view(3, 160))
    assert torch.allclose(quant.log_scale.grad, single.log_scale.grad) and quant.log_scale.grad.all()
    assert WeightQuant(12, share=0).log_scale.shape == (1,) and len(WeightQuant(12, share=0).multipliers()) == 1


@pytest.mark.parametrize("share", [1, 4, 0])
def test_ternary_weight_networks(share):
    """Against the paper's formulas, group by group; and that training mode alone finds them anew."""
    weight, quant = rows(), TernaryQuant(12, Dyadic(share=share, ternary="twn"))
    groups = weight.view(12 // (share or 12), -1)
    quant.eval().fit(weight)
    for group, codes, log_scale in zip(groups, quant.codes(weight).view_as(groups), quant.log_scale, strict=True):
        above = group.abs() > 0.7 * group.abs().mean()
        assert torch.equal(codes, group.sign() * above)
        assert float(log_scale.exp()) == pytest.approx(float(group.abs()[above].mean()), rel=1e-5)
    before = quant.log_scale.clone()
    quant(weight * 2)
    assert torch.equal(quant.log_scale, before)
    value, scale, *_ = quant.train()(weight * 2)
    assert torch.allclose(quant.log_scale, before + np.log(2)) and torch.equal(value, quant.codes(weight * 2) * scale)


def test_loss_aware_ternary_weights_lose_least():
    """No other threshold, with the scale that is best for it, has a smaller weighted error; flat curvature is the plain error."""
    weight = rows(4, 200)
    quant = TernaryQuant(4, Dyadic(ternary="loss_aware")).eval()
    quant.curvature = torch.rand(4, 200, generator=torch.manual_seed(3)) ** 4
    bend = quant.curvature.sqrt()

    def error(codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return (bend * (codes * scale[:, None] - weight) ** 2).sum(1)

    TernaryQuant.fit(quant, weight)
    found = error(quant.codes(weight), quant.scale().float())
    for threshold in torch.linspace(0.05, 0.95, 19):
        above = (weight.abs() > threshold * weight.abs().amax(1, keepdim=True)).float()
        best = (bend * weight.abs() * above).sum(1) / (bend * above).sum(1).clamp(min=1e-9)
        assert (found <= error(above * weight.sign(), best) * 1.03).all()
    quant.curvature = None
    quant.fit(weight)
    assert (found < error(quant.codes(weight), quant.scale().float())).all(), "TWN does not know the curvature"


def test_gradients_go_straight_to_ternary_weights():
    model = random_model(SHAPE, QuantConfig(weights=2, ternary="twn"), 5)
    linear = model.network.layer[0].query
    assert not linear.weight_grid.log_scale.requires_grad
    weight = linear.weight.detach().clone().requires_grad_()
    value, *_ = linear.weight_grid(weight)
    value.backward(torch.full_like(value, 2.0))
    assert weight.grad.eq(2.0).all()


def test_a_trainer_hands_over_the_second_moments():
    model = random_model(SHAPE, QuantConfig(overrides={"layer.0.query": {"weights": 2, "ternary": "loss_aware"}}), 5).train()
    linear, before = model.network.layer[0].query, model.network.layer[0].query.weight_grid.log_scale.clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    callback = _Curvature([linear])
    callback.on_step_begin(None, None, None, optimizer=optimizer)
    assert linear.weight_grid.curvature is None
    model(**padded(*random_sentences(5, 8, 16)), labels=torch.arange(8) % 2).loss.backward()
    assert torch.equal(linear.weight_grid.log_scale, before), "the first step has none"
    optimizer.step()
    callback.on_step_begin(None, None, None, optimizer=optimizer)
    linear.weight_grid(linear.weight)
    assert torch.equal(linear.weight_grid.curvature, optimizer.state[linear.weight]["exp_avg_sq"]) and not torch.equal(linear.weight_grid.log_scale, before)


def test_weights_that_are_all_zero():
    quant = TernaryQuant(3, Dyadic(ternary="twn"))
    value, *_ = quant.train()(torch.zeros(3, 4))
    assert not value.any() and torch.isfinite(quant.log_scale).all()
    assert F.snap_scale(quant.log_scale)[0].min() >= 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"weight_scales": "row"}, "weight_scales: got 'row', must be 'channel', 'layer' or a number of output channels from 1"),
        ({"weight_scales": 0}, "weight_scales: got 0, must be 'channel', 'layer' or a number"),
        ({"weight_scales": 5}, "layer.0.query: got weight_scales 5, must divide the 32 output channels of the layer; use e.g. 4, or set channel there"),
        ({"ternary": "lat"}, "ternary: got 'lat', must be 'none' or 'twn' or 'loss_aware'"),
        ({"ternary": "twn"}, "layer.0.query: got weights of 4 bits with ternary twn, must be -1, 0 and 1; set weights: 2 and weight_range: narrow"),
        ({"ternary": "twn", "weights": 2, "weight_range": "full"}, "layer.0.query: got weight_range full with ternary twn, must be -1, 0 and 1"),
        ({"codebook": "kmeans", "weight_scales": "layer"}, "layer.0.query: got weight_scales layer with codebook kmeans, must be one of them"),
        ({"codebook": "kmeans", "ternary": "twn"}, "layer.0.query: got ternary twn with codebook kmeans, must be one of them; set ternary: none or codebook"),
        ({"overrides": {"layer.0.probs": {"ternary": "twn"}}}, "got 'ternary', must be a setting of a matching tensor"),
    ],
)
def test_settings_that_do_not_fit(settings, text):
    with pytest.raises((ConfigError, ValueError), match=text):
        QuantModel.from_float(random_float(SHAPE), QuantConfig(**settings), 16)
