# SPDX-License-Identifier: Apache-2.0
"""Weights that take few values: clusters, training, settings, and that the frozen graph computes what Brevitas does."""

import json

import numpy as np
import pytest
import torch
from random_models import padded, random_float, random_model, random_sentences

from bitloom.hw import golden
from bitloom.hw.cost.sizes import sizes
from bitloom.hw.onnx_export import OnnxReferee, to_onnx
from bitloom.hw.settings import ConfigError
from bitloom.qat.checkpoint import from_pretrained, save_pretrained
from bitloom.qat.config import QuantConfig
from bitloom.qat.export import forward_codes, in_float64, to_graph
from bitloom.qat.net.encoder import Encoder
from bitloom.qat.net.model import QuantModel
from bitloom.qat.net.shape import EncoderShape, LayerShape
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.networks import ModelConfig
from bitloom.qat.weights.bs_flex import BsFlexQuant, sign_sums
from bitloom.qat.weights.codebook import Coding, fitted
from bitloom.qat.weights.kmeans import EXACT, kmeans, nearest, two_means

MIXED = QuantConfig(
    weights=8,
    codebook="kmeans",
    index_bits=4,
    overrides={
        "layer.0.query": {"codebook": "none", "weights": 3},
        "layer.0.key": {"index_bits": 2, "weights": 4, "weight_range": "full"},
        "layer.0.value": {"codebook": "bs_flex", "index_bits": 1, "codebook_per": "channel"},
        "layer.0.ffn.up": {"codebook": "bs_flex", "index_bits": 1, "clusters": "kept"},
        "layer.0.ffn.down": {"index_bits": 1, "codebook_per": "channel", "clusters": "kept", "centroids": "fixed"},
        "layer.1.*": {"index_bits": 3, "clusters": "kept"},
        "layer.1.key": {"codebook": "none", "weights": 1},
        "layer.1.ffn.up": {"codebook_zero": "kept"},
    },
)


def shape(**settings) -> ModelConfig:
    return ModelConfig(**{"layers": 1, "hidden": 32, "heads": 2, "intermediate": 48, "max_tokens": 16} | settings)


def least_error(numbers, clusters: int) -> float:
    """By trying every place of every border, one after the other."""
    x = np.sort(numbers)

    def error(first: int, last: int) -> float:
        return float(((x[first:last] - x[first:last].mean()) ** 2).sum()) if last > first else 0.0

    best = [error(0, i) for i in range(len(x) + 1)]
    for _ in range(1, clusters):
        best = [min(best[m] + error(m, i) for m in range(i + 1)) for i in range(len(x) + 1)]
    return best[-1]


def squared(numbers: torch.Tensor, means: torch.Tensor) -> float:
    return float((numbers - means[nearest(numbers[None], means[None])[0]]).square().sum())


@pytest.mark.parametrize(("count", "clusters"), [(5, 2), (20, 4), (30, 8), (24, 16), (16, 16), (25, 3)])
def test_clusters_of_numbers_are_the_best(count, clusters):
    rng = np.random.default_rng(count)
    for numbers in (rng.normal(size=count), rng.integers(-3, 4, count).astype(float), rng.standard_t(2, count)):
        means = kmeans(torch.tensor(numbers), clusters)
        assert len(means) == clusters and (means.diff() >= 0).all()
        assert squared(torch.tensor(numbers), means) == pytest.approx(least_error(numbers, clusters), abs=1e-9)


def test_clusters_of_many_numbers():
    """Neighbours are put together first: as good as the border that is best, found by trying all."""
    numbers = torch.tensor(np.random.default_rng(1).gamma(2.0, size=2 * EXACT + 123))
    assert torch.allclose(kmeans(numbers, 2), two_means(numbers[None])[0], rtol=1e-12)


def test_two_means_of_rows():
    rows = torch.randn(7, 31, generator=torch.manual_seed(3), dtype=torch.float64)
    for row, means in zip(rows, two_means(rows), strict=True):
        assert torch.allclose(means, kmeans(row, 2))
    assert two_means(rows[:, :1]).diff(dim=1).eq(0).all()


@pytest.mark.parametrize("channel", [False, True])
def test_values_of_the_two_signs(channel):
    """BS-Flex's are means, of each row or of all rows in units of their size; the scales fit them best."""
    rows = torch.randn(7, 31, generator=torch.manual_seed(3), dtype=torch.float64) * torch.arange(1, 8)[:, None] + 0.3
    rows[3] = rows[3].abs()
    quant = BsFlexQuant(7, 31, Coding(kind="bs_flex", index_bits=1, channel=channel))
    values, scale = quant.cluster(rows)
    size = rows.square().mean(1).sqrt()
    ratio = rows / size[:, None]
    if channel:
        assert torch.allclose(values[3], torch.stack([torch.zeros(()).double(), ratio[3].mean()])) and torch.allclose(scale, size)
        assert torch.allclose(values[0], torch.stack([ratio[0][ratio[0] < 0].mean(), ratio[0][ratio[0] >= 0].mean()]))
    else:
        assert torch.allclose(values[0], torch.stack([ratio[ratio < 0].mean(), ratio[ratio >= 0].mean()]))
        taken = torch.where(rows < 0, values[0, 0], values[0, 1])
        assert torch.allclose(scale, (rows * taken).sum(1) / taken.square().sum(1))
    assert sign_sums(torch.zeros(2, 4))[0].min() > 0 and torch.isfinite(quant.cluster(rows * 0)[0]).all()


def test_scales_that_fit_given_values():
    rows, values = torch.tensor([[1.0, 2.1, -1.9], [0.0, 0.0, 0.0]]).double(), torch.tensor([[-1.0, 1.0]]).double()
    assert torch.allclose(fitted(rows, torch.ones(2).double(), values), torch.tensor([5 / 3, 1.0]).double())


def test_nearest_values_in_any_order():
    numbers, values = torch.tensor([[-3.0, 0.4, 0.5, 9.0]]), torch.tensor([[1.0, 5.0, 0.0, -2.0]])
    assert nearest(numbers, values).tolist() == [[3, 2, 0, 1]]
    both = nearest(numbers.repeat(2, 1), torch.cat([values, -values]))
    assert both.tolist() == [[3, 2, 0, 1], [0, 2, 2, 3]]  # of two that are equally near the larger one


@pytest.mark.parametrize("head", ["sequence", "token"])
def test_the_graph_computes_what_brevitas_does(head):
    model = random_model(shape(layers=2, head=head), MIXED, 5)
    with torch.no_grad():  # as training may leave them
        centroids = model.network.layer[0].key.weight_grid.centroids
        centroids.copy_(centroids.flip(0))
    ids, segments = random_sentences(5, 8, 16)
    graph = to_graph(model, "x")
    want = golden.run(graph, ids, segments)
    got = forward_codes(in_float64(model), ids, segments)
    assert got.keys() == want.keys() and [name for name in want if not np.array_equal(got[name], want[name])] == []
    for name, value in OnnxReferee(to_onnx(graph), graph.hash).run(ids, segments).items():
        assert np.array_equal(value, want[name]), name
    books = {n.name.removesuffix(".acc"): (n.attrs.get("index_bits"), graph.params.get(f"{n.name}.codebook")) for n in graph.nodes if n.op == "linear"}
    assert books["layer.0.query"] == (None, None) == books["layer.1.key"]
    assert books["layer.0.value"][1].shape == (32, 2) and books["layer.0.ffn.up"][1].shape == (1, 2) and books["layer.1.ffn.up"][1].shape == (1, 8)
    assert 0 in books["layer.1.ffn.up"][1]
    for _, book in books.values():
        assert book is None or np.abs(book).max() in (7, 8, 127), "the largest value is the largest code"


def trained(model: QuantModel, steps: int = 3) -> QuantModel:
    ids, segments = random_sentences(5, 8, 16)
    batch, labels = padded(ids, segments), torch.arange(8) % 2
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=2.0)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    return model


def test_what_training_changes():
    """Values where they are learned; which value a weight takes where clusters are free."""
    config = shape(layers=1)

    def change(**settings) -> tuple[bool, bool, bool]:
        quant = QuantConfig(weights=8, overrides={"layer.0.ffn.up": {"codebook": "kmeans", "index_bits": 2} | settings})
        model = random_model(config, quant, 5)
        linear = model.network.layer[0].ffn.up
        before = [linear.weight_grid.values().clone(), linear.weight_grid.codes(linear.weight).clone(), linear.weight.detach().clone()]
        trained(model)
        grid = linear.weight_grid
        order = [values.argsort(1) for values in (before[0], grid.values())]
        ranks = [
            torch.searchsorted(values.gather(1, o)[0].contiguous(), codes.contiguous())
            for values, o, codes in zip((before[0], grid.values()), order, (before[1].double(), grid.codes(linear.weight).double()), strict=True)
        ]
        return not torch.equal(before[0], grid.values()), not torch.equal(*ranks), not torch.equal(before[2], linear.weight)

    assert change() == (True, True, True)
    assert change(clusters="kept") == (True, False, False)
    assert change(centroids="fixed") == (False, True, True)
    assert change(centroids="fixed", clusters="kept") == (False, False, False)


@pytest.mark.parametrize("clusters", ["free", "kept"])
def test_zeros_stay_where_zero_is_a_value(clusters):
    model = random_model(
        shape(layers=1), QuantConfig(weights=8, overrides={"layer.0.ffn.up": {"codebook": "kmeans", "codebook_zero": "kept", "clusters": clusters}}), 5
    )
    linear = model.network.layer[0].ffn.up
    pruned = torch.rand(linear.weight.shape, generator=torch.manual_seed(1)) < 0.6
    with torch.no_grad():
        linear.weight.masked_fill_(pruned, 0)
    linear.weight_grid.fit(linear.weight)
    before = linear.weight_grid.values()
    trained(model, 1)
    with torch.no_grad():
        linear.weight.masked_fill_(pruned, 0)  # as qat/methods/masks.py does
    codes, after = linear.weight_grid.codes(linear.weight), linear.weight_grid.values()
    assert not torch.equal(before, after) and before[0, 0] == after[0, 0] == 0
    assert codes[pruned].eq(0).all() and codes[~pruned].ne(0).double().mean() > 0.5
    for zeros in (0, 1, 2, 3, 40):  # fewer other weights than values
        linear.weight_grid.fit(torch.arange(48 * 32).view(48, 32).clamp(max=zeros).float())
        assert torch.isfinite(linear.weight_grid.scale()).all() and 0 in linear.weight_grid.values()


def test_gradients_of_values_are_the_sums_of_their_weights():
    model = random_model(shape(), QuantConfig(weights=8, codebook="kmeans"), 5).double()
    linear = model.network.layer[0].query
    grid, weight = linear.weight_grid, linear.weight
    value, scale, *_ = grid(weight)
    grad = torch.randn(value.shape, generator=torch.manual_seed(1), dtype=value.dtype)
    value.backward(grad)
    taken = (grid.codes(weight)[..., None] == grid.values()[0]).double()
    assert torch.allclose(grid.centroids.grad, torch.einsum("ck,ckn->n", grad * scale, taken) * grid.high)
    assert torch.equal(weight.grad, grad)


def test_checkpoints_keep_values_and_clusters(tmp_path):
    model = trained(random_model(shape(layers=2), MIXED, 5), 1).eval()
    save_pretrained(model, tmp_path)
    assert to_graph(from_pretrained(tmp_path), "x").hash == to_graph(model, "x").hash


def test_settings_from_before_are_as_they_were(tmp_path):
    assert set(QuantConfig().model_dump()) == {"weights", "activations", "embeddings", "scores", "probs", "residual", "weight_range", "overrides"}
    assert QuantConfig.model_validate(json.loads(json.dumps(MIXED.model_dump(mode="json")))) == MIXED


def test_a_network_on_no_device():
    """As `plan` and the check of settings make it."""
    with torch.device("meta"):
        network = Encoder(EncoderShape(hidden=8, layers=(LayerShape(heads=2, head_width=4, intermediate=8),) * 2, vocabulary=9, positions=8)).bind(MIXED, 8)
    assert network.layer[0].value.weight_grid.centroids.shape == (2 * 8,) and network.layer[1].ffn.up.weight_grid.index.shape == (8, 8)


def test_sizes_and_a_graph_without_training():
    quant = QuantConfig(weights=8, codebook="bs_flex")
    graphs = [untrained_graph(shape(), q, labels=2, vocabulary=50) for q in (quant, QuantConfig(weights=1))]
    two, one = (sizes(graph)["without_embeddings"]["quantized_bytes"] for graph in graphs)
    assert sizes(graphs[0])["layers"]["layer.0.query"]["weights"] == 1
    assert one < two < one + 8 * 16, "two values of 8 bits a layer, and some bits of biases"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"codebook": "kmean"}, "codebook: got 'kmean', must be 'none' or 'kmeans' or 'bs_flex'"),
        ({"codebook": "kmeans", "index_bits": 5}, r"index_bits: got 5, must be an integer 1 .. 4 \(bits\)"),
        ({"codebook": "kmeans", "clusters": "fixed"}, "clusters: got 'fixed', must be 'free' or 'kept'"),
        ({"index_bits": 2}, "index_bits: got 2 without a codebook, must go with one; set codebook: kmeans or bs_flex, or remove it"),
        (
            {"overrides": {"logits": {"clusters": "kept"}}},
            r"overrides\['logits'\].clusters: got 'kept' without a codebook, must go with one; set codebook there",
        ),
        ({"overrides": {"layer.0.scores": {"codebook": "kmeans"}}}, "got 'codebook', must be a setting of a matching tensor"),
        ({"weights": 1, "codebook": "kmeans"}, "layer.0.query: codebook kmeans: got weights of 1 bit, must be 2 .. 8: the bits of the values; set weights: 8"),
        ({"codebook": "kmeans", "index_bits": 4}, "layer.0.query: codebook kmeans: got index_bits 4 for values of 4 bits, must be fewer; raise weights or"),
        ({"codebook": "bs_flex", "index_bits": 2}, "codebook bs_flex: got index_bits 2, must be 1: two values; remove it, or set codebook: kmeans"),
        (
            {"weights": 8, "codebook": "kmeans", "index_bits": 1, "codebook_zero": "kept"},
            "got codebook_zero kept with two values, must have one of either sign; raise index_bits, or remove it",
        ),
        ({"codebook": "kmeans", "codebook_per": "channel"}, "got codebook_per channel with index_bits 2, must be 1 there; set codebook_per: layer"),
        (
            {"weights": 8, "overrides": {"logits": {"codebook": "kmeans", "index_bits": 4}}},
            "logits: codebook kmeans: got 16 values for the 8 weights of the layer, must be at most as many; lower index_bits",
        ),
    ],
)
def test_settings_that_do_not_fit(settings, text):
    with pytest.raises((ConfigError, ValueError), match=text):
        QuantModel.from_float(random_float(shape(hidden=4, heads=1, intermediate=9)), QuantConfig(**settings), 16)
