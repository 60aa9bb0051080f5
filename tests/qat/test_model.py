# SPDX-License-Identifier: Apache-2.0
"""The quantized model: built from a float one, close to it with many bits, trainable, strict about its input."""

import copy
from functools import partial

import pytest
import torch
from random_models import last_hidden, padded, random_float, random_model, random_sentences
from transformers import BertConfig, BertForSequenceClassification, BertModel

from bitloom.hw.errors import BitloomError
from bitloom.qat.baseline import float_model
from bitloom.qat.calibrate import Observer, calibrate
from bitloom.qat.config import QuantConfig
from bitloom.qat.net.model import QuantModel
from bitloom.qat.networks import ModelConfig

SMALL = ModelConfig(layers=2, hidden=32, heads=2, intermediate=64, max_tokens=16, dropout=0.0)
FINE = QuantConfig(weights=8, activations=8, embeddings=8, scores=10, probs=8, residual=16)


def batch(seed=0, count=16):
    return padded(*random_sentences(seed, count, 16))


CAUSAL, WINDOW, PAIR = {"attention": "causal"}, {"attention": "window", "window": 2}, {"attention": "segment"}


@pytest.mark.parametrize("settings", [{}, {"activation": "relu"}, {"head": "token"}, {"heads": 1}, CAUSAL, WINDOW, PAIR])
def test_many_bits_are_close_to_float(settings):
    """Catches a wrong order, a missing bias, a wrong folding of 1/sqrt(d): each would be far off."""
    plain = random_float(SMALL.model_copy(update=settings), seed=2).eval()
    model = QuantModel.from_float(plain, FINE, 16).eval()
    inputs = batch()
    calibrate(model, [inputs])
    with torch.no_grad():
        want = plain.bert(**inputs).last_hidden_state
        got = last_hidden(model, **inputs)
        real = inputs["attention_mask"].bool()
        assert (got - want)[real].norm() < 0.1 * want[real].norm()
        key = "logits" if model.head == "sequence" else "start_logits"
        pick = slice(None) if model.head == "sequence" else real
        want, got = plain(**inputs)[key][pick], model(**inputs)[key][pick]
        assert torch.corrcoef(torch.stack([want.flatten(), got.flatten()]))[0, 1] > 0.97


def test_observed_model_is_the_float_model():
    """While observed nothing but weights is quantized: with 8-bit weights the outputs are float's, nearly."""
    plain = random_float(SMALL, seed=3).eval()
    model = QuantModel.from_float(plain, FINE, 16).eval()
    inputs = batch()
    shared = {"real": inputs["attention_mask"].bool()}
    for grid in model.grids().values():
        grid.observer = Observer(*grid.observed_range(), shared)
    with torch.no_grad():
        want, got = plain(**inputs).logits, model(**inputs).logits
    assert (want - got).abs().max() < 0.1 * want.std()


@pytest.mark.parametrize(("settings", "reached"), [(CAUSAL, range(9)), (WINDOW, range(4, 13)), ({}, range(16)), (PAIR, range(6, 16))])
def test_a_token_sees_its_range_of_keys(settings, reached):
    """Which tokens, when they change, change what is behind two layers at token 8: of the float model as of the quantized one."""
    plain = random_float(SMALL.model_copy(update=settings | {"head": "token"}), seed=3).eval()
    model = QuantModel.from_float(plain, FINE, 16).eval()
    calibrate(model, [batch()])
    ids, types = torch.arange(16)[None] + 3, (torch.arange(16) >= 6).long()[None]
    for run in (lambda **inputs: plain.bert(**inputs).last_hidden_state, lambda **inputs: last_hidden(model, **inputs)):
        hidden = partial(lambda run, ids: run(input_ids=ids, token_type_ids=types), run)
        with torch.no_grad():
            want = hidden(ids)[0, 8]
            changed = [i for i in range(16) if not torch.equal(hidden(torch.where(torch.arange(16) == i, 40, ids))[0, 8], want)]
        assert changed == list(reached)


def test_losses_are_hugging_faces():
    inputs, labels = batch(), torch.arange(16) % 3
    plain = random_float(SMALL, labels=3).eval()
    model = random_model(SMALL, FINE, labels=3)
    output = model(**inputs, labels=labels)
    assert torch.equal(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    assert abs(output.loss - plain(**inputs, labels=labels).loss) < 0.1
    regression = random_model(SMALL, FINE, labels=1)
    output = regression(**inputs, labels=labels.float())
    assert torch.equal(output.loss, ((output.logits[:, 0] - labels) ** 2).mean())


def test_span_loss_skips_answers_outside_and_padding_never_wins():
    model, inputs = random_model(SMALL.model_copy(update={"head": "token"}), FINE), batch()
    inside, outside = torch.zeros(16, dtype=torch.long), torch.full((16,), 400)
    output = model(**inputs, start_positions=inside, end_positions=inside)
    start = torch.log_softmax(output.start_logits, -1)[:, 0].mean()
    end = torch.log_softmax(output.end_logits, -1)[:, 0].mean()
    torch.testing.assert_close(output.loss, -(start + end) / 2)
    assert (output.start_logits.argmax(-1) < inputs["attention_mask"].sum(1)).all()
    half = torch.where(torch.arange(16) < 8, inside, outside)
    assert torch.isfinite(model(**inputs, start_positions=half, end_positions=half).loss)
    whole = {key: value[-1:, : inputs["attention_mask"][-1].sum()] for key, value in inputs.items()}  # one sentence, without padding
    end = torch.tensor([whole["input_ids"].shape[1] - 1])
    output = model(**whole, start_positions=end, end_positions=end)
    torch.testing.assert_close(output.loss, -sum(torch.log_softmax(s, -1)[0, -1] for s in (output.start_logits, output.end_logits)) / 2)


def train(model, parameters, inputs, labels, steps):
    """Loss of each step."""
    optimizer, losses = torch.optim.AdamW(parameters, lr=2e-3), []
    for _ in range(steps):
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("quant", [QuantConfig(weights=1), QuantConfig(weights=2), QuantConfig()])
def test_training_goes_on_where_float_stopped(quant):
    """A rule on the first token: the float model is stopped half way, the quantized one learns the rest."""
    torch.manual_seed(0)
    plain, inputs = float_model(SMALL, 50, 2), batch(count=64)
    labels = inputs["input_ids"][:, 0] % 2
    train(plain, plain.parameters(), inputs, labels, 5)
    model = QuantModel.from_float(plain, quant, 16)
    calibrate(model, [inputs])
    model(**inputs, labels=labels).loss.backward()
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []  # each parameter has a gradient
    losses = train(model, model.parameters(), inputs, labels, 100)
    assert losses[-1] < 0.2 < 0.3 < losses[0]


def test_calibration_is_the_best_exponent_and_blind_to_padding():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 9, 64, generator=rng) * 3
    real = torch.arange(9) < torch.tensor([[9], [3], [5], [1]])
    observer = Observer(-8, 7, {"real": real})
    observer(torch.where(real[..., None], x, 1000.0))
    kept = x[real]
    errors = {e: ((kept / 2.0**e + 0.5).floor().clamp(-8, 7) * 2.0**e - kept).square().sum() for e in range(-12, 12)}
    assert observer.best() == min(errors, key=errors.get)


def test_calibration_survives_a_state_dict_and_a_copy():
    model = random_model(SMALL, QuantConfig(), seed=7)
    other = QuantModel(model.shape, model.quant)
    other.load_state_dict(model.state_dict())
    inputs = batch()
    with torch.no_grad():
        want = model(**inputs).logits
        assert torch.equal(other.eval()(**inputs).logits, want)
        assert torch.equal(copy.deepcopy(model)(**inputs).logits, want)


def test_brevitas_sees_valid_quantized_tensors():
    """Brevitas's own view (its QuantTensors, which exporters read) holds the same values and the same codes."""
    model, inputs = random_model(SMALL, QuantConfig(weights=3)), batch()
    want = model(**inputs).logits
    for proxy in model.modules():
        if hasattr(proxy, "skip_create_quant_tensor"):
            proxy.skip_create_quant_tensor = False
    assert torch.equal(model(**inputs).logits, want)
    query = model.network.layer[0].query
    weight = query.quant_weight()
    assert weight.is_valid and torch.equal(weight.int().double(), query.weight_grid.codes(query.weight).double())
    assert query.output_quant.scale() == 2.0**query.grid.e and query.output_quant.bit_width() == 8


def test_scores_and_context_are_never_finer_than_their_products():
    model = random_model(SMALL, QuantConfig(scores=10, activations=2, probs=2))
    for layer in model.network.layer:
        assert layer.scores.grid.e >= layer.query.grid.e + layer.key.grid.e
        assert layer.context.grid.e >= layer.probs.e + layer.value.grid.e


def test_errors_say_what_to_do():
    model = QuantModel.from_float(random_float(SMALL), QuantConfig(), 16)
    with pytest.raises(BitloomError, match="must be calibrated; call bitloom.qat.calibrate.calibrate first"):
        model(**batch())
    with pytest.raises(BitloomError, match="got no batch, must be at least one"):
        calibrate(model, [])
    with pytest.raises(BitloomError, match="got 17 tokens, must be at most 16"):
        model(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(BitloomError, match="max_tokens: got 32, must be at most the checkpoint's 16 positions"):
        QuantModel.from_float(random_float(SMALL), QuantConfig(), 32)
    with pytest.raises(BitloomError, match="must match a layer or tensor"):
        QuantModel.from_float(random_float(SMALL), QuantConfig(overrides={"layer.9.*": {"weights": 2}}), 16)
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(BitloomError, match="got BertModel, must end in ForSequenceClassification, ForTokenClassification, ForQuestionAnswering"):
        QuantModel.from_float(BertModel(config), QuantConfig(), 16)
    config.hidden_act = "quick_gelu"
    with pytest.raises(BitloomError, match="got activation 'quick_gelu', must be one of gelu, gelu_new"):
        QuantModel.from_float(BertForSequenceClassification(config), QuantConfig(), 16)
