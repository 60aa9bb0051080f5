# SPDX-License-Identifier: Apache-2.0
"""Heads and units that are cut out: which ones go, when, and that the smaller network computes what zeros did."""

import pytest
import torch
from compressed import answers, inputs, plain_model

from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.cut import cut_parts
from bitloom.qat.methods.gates import Rounds
from bitloom.qat.methods.method import Step, Work
from bitloom.qat.net.model import FloatModel

HEADS = {"method": "head_pruning", "keep": 0.5}


@pytest.mark.parametrize(("part", "kept"), [("heads", [[1, 3], [2]]), ("units", [[0, 5, 31], list(range(16))])])
def test_a_cut_computes_what_zeros_did(part, kept):
    """Parts whose readers' weights are zero are taken out: the same answers, in a smaller network."""
    model = plain_model()
    small = cut_parts(model, part, kept).eval()
    with torch.no_grad():
        for layer, own in zip(model.network.layer, kept, strict=True):
            weight = layer.attention.output.weight if part == "heads" else layer.ffn.down.weight
            parts = weight.unflatten(1, (4 if part == "heads" else 32, -1))
            parts[:, [i for i in range(parts.shape[1]) if i not in own]] = 0
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert (answers(small) - answers(model)).abs().max() < 1e-5 and answers(model).std() > 0.05


def importance(method, model: FloatModel) -> list[torch.Tensor]:
    work = Work(phase="float", model=model, batches=list, methods=[])
    method.begin(work)
    model(**inputs(), labels=torch.tensor([0, 1] * 4)).loss.backward()
    for hook in work.hooks:
        hook.remove()
    return [method.get_buffer(f"seen/{i}") for i in range(2)]


def test_importance_of_heads_is_the_gradient_of_a_gate():
    """|dL/dg| of each sentence alone, by gates that are parameters, summed; the loss of the batch is a mean."""
    model = plain_model()
    got, want = importance(method_of("head_pruning")(read(HEADS), ""), model), torch.zeros(2, 4)
    batch = inputs()
    for s in range(8):
        gates, hooks = torch.ones(2, 4, requires_grad=True), []
        for i, layer in enumerate(model.network.layer):
            hooks.append(layer.context.register_forward_hook(lambda m, a, y, i=i, gates=gates: y * gates[i].repeat_interleave(4)))
        model(**{key: value[s : s + 1] for key, value in batch.items()}, labels=torch.tensor([s % 2])).loss.backward()
        want += gates.grad.abs() / 8
        for hook in hooks:
            hook.remove()
    assert torch.allclose(torch.stack(got).float(), want, rtol=1e-3) and want.min() > 0


def test_the_least_important_go_first():
    """Heads whose outputs nobody reads have no importance: they are those that go, from whichever layer."""
    model = plain_model()
    with torch.no_grad():
        model.network.layer[0].attention.output.weight[:, 4:] = 0  # heads 1, 2, 3
        model.network.layer[1].attention.output.weight[:, :4] = 0  # head 0
    method = method_of("head_pruning")(read(HEADS), "")
    batch = inputs() | {"labels": torch.tensor([0, 1] * 4)}
    work = Work(phase="float", model=model, batches=lambda: [batch], methods=[])
    method.begin(work)
    for hook in work.hooks:
        hook.remove()
    small = method.finish(work)
    assert [layer.heads for layer in small.shape.layers] == [1, 3]
    assert torch.equal(small.network.layer[1].value.weight, model.network.layer[1].value.weight[4:])
    assert (answers(small.eval()) - answers(model)).abs().max() < 1e-5


def test_a_layer_keeps_one_head_however_little_it_matters():
    model = plain_model()
    with torch.no_grad():
        model.network.layer[0].attention.output.weight.zero_()
    method, batch = method_of("head_pruning")(read(HEADS | {"keep": 0.375}), ""), inputs() | {"labels": torch.tensor([0, 1] * 4)}
    work = Work(phase="float", model=model, batches=lambda: [batch], methods=[])
    method.begin(work)
    assert [layer.heads for layer in method.finish(work).shape.layers] == [1, 2]


def test_rounds_are_spread_from_begin_to_end():
    cfg = Rounds(method="", keep=0.5, rounds=3, begin=0.2, end=0.6)
    assert {n: cfg.due(Step(number=n, total=100)) for n in range(1, 101) if cfg.due(Step(number=n, total=100))} == {20: 1, 40: 2, 60: 3}
    assert cfg.due(Step(number=1, total=1)) == 3  # all at once
