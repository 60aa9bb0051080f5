# SPDX-License-Identifier: Apache-2.0
"""quantization.residual: auto: calibration gives residual sums, and the projections in front of them, the bits that their values want."""

import pytest
import torch
from random_models import padded, random_float, random_sentences

from bitloom.hw import golden
from bitloom.qat.calibrate import calibrate
from bitloom.qat.checkpoint import from_pretrained, save_pretrained
from bitloom.qat.config import CalibrationWarning, QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig

SHAPE = ModelConfig(layers=2, hidden=16, heads=2, intermediate=32, max_tokens=12, dropout=0)
SENTENCES = random_sentences(3, 16, SHAPE.max_tokens)
DOWN, SUM = "layer.1.ffn.down", "layer.1.ffn.sum"


def calibrated(quant: QuantConfig, outlier: float) -> tuple[torch.nn.Module, QuantModel]:
    """(float model, quantized model); one channel of the last feed-forward part is that much larger than the others."""
    plain = random_float(SHAPE).eval()
    with torch.no_grad():
        plain.bert.encoder.layer[1].output.dense.weight[5] *= outlier
    model = QuantModel.from_float(plain, quant, SHAPE.max_tokens)
    calibrate(model, [padded(*SENTENCES)])
    return plain, model.eval()


def error(plain: torch.nn.Module, model: QuantModel) -> float:
    """Mean squared error of what the pooler makes of the last layer, which reads every channel."""
    seen = []
    model.network.get_submodule("pooler.act").register_forward_hook(lambda module, args, out: seen.append(out))
    inputs = padded(*SENTENCES)
    with torch.no_grad():
        model(**inputs)
        want = plain.bert(**inputs).pooler_output
    return float((seen[0] - want).square().mean())


def test_an_outlier_gets_the_bits_that_it_wants_and_no_other_tensor_does():
    _, usual = calibrated(QuantConfig(weights=8, residual="auto"), 1)
    plain, model = calibrated(QuantConfig(weights=8, residual="auto"), 64)
    bits = {name: model.grids()[name].bits - usual.grids()[name].bits for name in model.grids()}
    assert bits[DOWN] >= 2 and bits[SUM] >= 2
    assert {name for name, more in bits.items() if more} == {DOWN, SUM}
    few = calibrated(QuantConfig(weights=8, overrides={"layer.*": {"residual": 6}}), 64)[1]
    most = calibrated(QuantConfig(weights=8, overrides={"layer.*": {"residual": 16}}), 64)[1]
    assert error(plain, model) < 2 * error(plain, most) < error(plain, few)


def test_nothing_that_was_seen_is_clipped():
    _, model = calibrated(QuantConfig(weights=8, residual="auto"), 64)
    for grid in (model.grids()[DOWN], model.grids()[SUM]):
        assert grid.bits < 16
    codes = forward_codes(in_float64(model), *SENTENCES)
    for name in (DOWN, SUM):
        grid = model.grids()[name]
        assert grid.low < codes[name].min() and codes[name].max() < grid.high


def test_the_choice_is_in_the_checkpoint_and_in_the_graph(tmp_path):
    _, model = calibrated(QuantConfig(residual="auto", overrides={DOWN: {"weights": 2}, "layer.*": {"weights": 6}}), 64)
    assert model.network.get_submodule(DOWN).weight_grid.bits == 6  # the later pattern
    save_pretrained(model, tmp_path)
    again = from_pretrained(tmp_path)
    assert again.network.get_submodule(DOWN).weight_grid.bits == 6
    graph = to_graph(again, "auto")
    assert graph.hash == to_graph(model, "auto").hash
    assert graph.tensor(DOWN).bits == model.grids()[DOWN].bits
    want, got = golden.run(graph, *SENTENCES), forward_codes(in_float64(again), *SENTENCES)
    assert got and all((got[name] == want[name]).all() for name in got)


def test_too_few_bits_are_told():
    with pytest.warns(
        CalibrationWarning, match=r"quantization.residual: got 8 bits for 'layer.1.ffn.down', its values want 1\d.*set quantization.residual: auto"
    ):
        calibrated(QuantConfig(weights=8), 512)


@pytest.mark.filterwarnings("error::bitloom.qat.config.CalibrationWarning")
def test_enough_bits_are_not_told():
    calibrated(QuantConfig(weights=8), 1)


def test_only_residual_tensors_take_it():
    with pytest.raises(ValueError, match=r"residual: got 'many', must be an integer 4 .. 16 \(bits\) or 'auto'; change 'residual'"):
        QuantConfig(residual="many")
    with pytest.raises(ValueError, match="activations: got 'auto', must be an integer 2 .. 8"):
        QuantConfig(activations="auto")
