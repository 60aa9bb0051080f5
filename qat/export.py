# SPDX-License-Identifier: Apache-2.0
"""Freeze: the trained model becomes the integer graph; and the model's own float64 forward pass as integer codes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from bitloom.hw import graph_file
from bitloom.hw.graph import Graph, Node, signed_bits
from bitloom.hw.graph import Tensor as GraphTensor
from bitloom.hw.ops import layernorm as layernorm_op
from bitloom.hw.ops import linear as linear_op
from bitloom.hw.ops import softmax as softmax_op
from bitloom.qat import functional as F
from bitloom.qat.layers import LayerNorm, Linear, Requant, Softmax, Table, graph_tensor
from bitloom.qat.model import QuantBert
from bitloom.qat.quantizers import QuantError
from torch import Tensor


def to_graph(model: QuantBert, name: str, meta: dict | None = None) -> Graph:
    """The integer graph of docs/numerics.md, checked.

    meta  what is not arithmetic (task, label names, tokenizer); the model's shape is added under 'model'
    """
    return _Exporter(model).graph(name, meta or {})


def _integers(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy().astype(np.int64)


class _Exporter:
    """Appends nodes in topological order."""

    def __init__(self, model: QuantBert):
        self.model = model
        self.nodes: list[Node] = []
        self.tensors: dict[str, GraphTensor] = {}
        self.params: dict[str, np.ndarray] = {}

    def graph(self, name: str, meta: dict) -> Graph:
        model = self.model
        self.embed()
        x = self.norm(model.embeddings.norm, "embeddings.sum")
        for layer in model.layer:
            x = self.layer(layer, x)
        if model.head == "sequence":
            first = GraphTensor(
                name="pooler.first",
                shape=self.vector(x),
                bits=self.tensors[x].bits,
                signed=True,
                scale=self.tensors[x].scale,
            )
            self.add("first_token", first, (x,))
            pre = self.linear(model.pooler.pre, "pooler.first", self.vector(x))
            x = self.table(model.pooler.act, pre)
        shape = (1 if model.head == "sequence" else "T", model.config.num_labels)
        self.linear(model.logits, x, shape)
        config = model.config
        about = {
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "heads": config.num_attention_heads,
            "intermediate": config.intermediate_size,
            "activation": config.hidden_act,
            "head": model.head,
            "labels": config.num_labels,
            "max_tokens": model.max_tokens,
        }
        return graph_file.check(
            Graph(
                name=name,
                nodes=tuple(self.nodes),
                tensors=self.tensors,
                params=self.params,
                max_tokens=model.max_tokens,
                meta={**meta, "model": about},
            )
        )

    def add(self, op: str, out: GraphTensor, inputs: tuple[str, ...], attrs: dict | None = None, **params: np.ndarray) -> str:
        self.nodes.append(Node(name=out.name, op=op, inputs=inputs, attrs=attrs or {}))
        self.tensors[out.name] = out
        self.params |= {f"{out.name}.{key}": value for key, value in params.items()}
        return out.name

    def tokens(self, x: str) -> tuple:
        return ("T", self.tensors[x].channels)

    def vector(self, x: str) -> tuple:
        return (1, self.tensors[x].channels)

    def embed(self) -> None:
        tables = self.model.embeddings.sum
        out = graph_tensor(tables.tensor, tables, ("T", tables.word.shape[1]))
        codes = {key: _integers(tables.quantize_rows(getattr(tables, key)).double() * 2.0**-tables.e) for key in ("word", "position", "segment")}
        self.add("embed", out, ("input_ids", "token_type_ids"), **codes)

    def layer(self, layer, x: str) -> str:
        """An encoder layer on stream x; the name of its output."""
        hidden, heads = self.tokens(x), layer.heads
        q, k, v = (self.linear(module, x, hidden) for module in (layer.query, layer.key, layer.value))
        rows, attrs = ("T", heads, "T"), {"heads": heads}
        scores = self.product("scores", layer.scores, (q, k), rows, attrs, hidden[1] // heads)
        probs = self.softmax(layer.probs, scores, heads)
        # a row of probabilities adds up to 1 only about: take the bound over the longest sentence
        context = self.product("context", layer.context, (probs, v), hidden, attrs, self.model.max_tokens)
        attended = self.residual(layer.attention, self.linear(layer.attention.output, context, hidden), x)
        wide = ("T", self.model.config.intermediate_size)
        act = self.table(layer.ffn.act, self.linear(layer.ffn.up, attended, wide))
        return self.residual(layer.ffn, self.linear(layer.ffn.down, act, hidden), attended)

    def linear(self, module: Linear, x: str, shape: tuple) -> str:
        """linear and requant: n = e_y - e_x - e_w, m the mantissas of the weight scales."""
        source = self.tensors[x]
        weight = _integers(module.weight_grid.codes(module.weight))
        bias = _integers(module.bias_grid.codes(module.bias))
        bound = linear_op.bound(weight, bias, max(-source.low, source.high))
        acc = GraphTensor(name=module.acc, shape=shape, bits=signed_bits(bound), signed=True)
        self.add("linear", acc, (x,), {"weight_bits": module.weight_grid.bits}, weight=weight, bias=bias)
        mantissa, exponent = F.snap_scale(module.weight_grid.log_scale)
        shift = module.grid.e - module.source.e - int(exponent)
        out = graph_tensor(module.tensor, module.grid, shape)
        return self.add("requant", out, (acc.name,), {"shift": shift}, mult=_integers(mantissa))

    def product(self, op: str, module: Requant, inputs: tuple[str, str], shape: tuple, attrs: dict, terms: int) -> str:
        """scores or context, and the shift to its output's grid."""
        a, b = (self.tensors[name] for name in inputs)
        bound = terms * max(-a.low, a.high) * max(-b.low, b.high)
        acc = GraphTensor(name=module.acc, shape=shape, bits=signed_bits(bound), signed=True, scale=a.scale * b.scale)
        self.add(op, acc, inputs, attrs)
        shift = module.grid.e - sum(factor.e for factor in module.grid.factors)
        out = graph_tensor(module.tensor, module.grid, shape)
        return self.add("requant", out, (acc.name,), {"shift": shift}, mult=np.ones(1, dtype=np.int64))

    def softmax(self, module: Softmax, x: str, heads: int) -> str:
        plan, source = module.plan(), self.tensors[x]
        attrs = {"heads": heads, "recip_bits": plan.recip_bits, "shift": plan.shift}
        out = graph_tensor(module.tensor, module, source.shape)
        return self.add("softmax", out, (x,), attrs, exp_table=softmax_op.exp_table(source, module.bits))

    def residual(self, block, a: str, b: str) -> str:
        """add and layernorm: both addends shifted to the finer grid, one rounding to the sum's."""
        grid, exponents = block.sum.grid, [_exponent(self.tensors[name]) for name in (a, b)]
        shift = max(0, grid.e - min(exponents))
        mults = [2 ** (exponent - grid.e + shift) for exponent in exponents]
        out = graph_tensor(block.sum.tensor, grid, self.tokens(a))
        total = self.add("add", out, (a, b), {"mult_a": mults[0], "mult_b": mults[1], "shift": shift})
        return self.norm(block.norm, total)

    def norm(self, module: LayerNorm, x: str) -> str:
        plan = module.plan()
        gamma, beta, shift = module.integers()
        attrs = {"eps": plan.eps, "recip_bits": plan.recip_bits, "frac_bits": layernorm_op.FRAC_BITS, "shift": shift}
        out = graph_tensor(module.tensor, module, self.tokens(x))
        return self.add("layernorm", out, (x,), attrs, gamma=_integers(gamma), beta=_integers(beta))

    def table(self, module: Table, x: str) -> str:
        out = graph_tensor(module.tensor, module, self.tensors[x].shape)
        return self.add("table", out, (x,), table=module.entries())


def _exponent(tensor: GraphTensor) -> int:
    return int(np.log2(tensor.scale))


def in_float64(model: QuantBert) -> QuantBert:
    """A copy that computes exactly: float64, no dropout."""
    return copy.deepcopy(model).double().eval()


@torch.no_grad()
def forward_codes(
    model: QuantBert,
    ids: Sequence[Sequence[int]],
    segments: Sequence[Sequence[int]] | None = None,
) -> dict[str, np.ndarray]:
    """Every named tensor's codes in the model's own forward pass: what the NumPy golden must equal.

    model     in float64 (`in_float64`), where the pass is exact; float32 gives codes too, with a rare difference of one
    ids, segments  unpadded sentences; they are padded here, and run as one batch with a mask
    returns   int64 by tensor name, laid out as bitloom.hw.golden does: [sum T, C], flat rows, [S, C]
    """
    lengths = torch.tensor([len(sentence) for sentence in ids])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    padded = torch.zeros(mask.shape, dtype=torch.long)
    types = torch.zeros_like(padded)
    padded[mask] = torch.tensor([i for sentence in ids for i in sentence])
    if segments is not None:
        types[mask] = torch.tensor([s for sentence in segments for s in sentence])
    codes: dict[str, np.ndarray] = {}
    device = next(model.parameters()).device
    handles = list(_taps(model, codes, mask))
    try:
        model(padded.to(device), mask.to(device), types.to(device))
    finally:
        for handle in handles:
            handle.remove()
    if model.head == "sequence":
        starts = np.cumsum([0, *lengths.tolist()[:-1]])
        codes["pooler.first"] = codes[model.layer[-1].ffn.norm.tensor][starts]
    return codes


def _taps(model: QuantBert, codes: dict[str, np.ndarray], mask: Tensor) -> Iterator:
    """Hooks that put each named tensor's codes of real tokens into `codes`."""

    def keep(name: str, values: Tensor, unit: Tensor | float) -> None:
        values = values.detach() / unit
        if not torch.equal(values, values.round()):
            raise QuantError(f"forward_codes: {name}: got a value between two codes, must be a float64 model (bitloom.qat.export.in_float64)")
        codes[name] = _ragged(values.cpu().numpy(), mask.numpy())

    def tap(name: str, unit: Tensor | float):
        return lambda module, args, out: keep(name, out, unit)

    def tap_input(name: str, unit: Tensor | float):
        return lambda module, args: keep(name, args[0], unit)

    for module in model.operators():
        yield module.register_forward_hook(tap(module.tensor, 2.0**module.grid.e))
        if isinstance(module, Linear):
            yield module.output_quant.register_forward_pre_hook(tap_input(module.acc, module.bias_grid.scale()))
        elif isinstance(module, Requant) and module.acc:
            unit = 2.0 ** sum(factor.e for factor in module.grid.factors)
            yield module.act_quant.register_forward_pre_hook(tap_input(module.acc, unit))


def _ragged(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Drop padding: [B, T, C] -> [sum T, C]; [B, heads, T, T] -> flat rows; [B, C] as it is."""
    if values.ndim == 4:
        rows = [v[:, :n, :n].transpose(1, 0, 2).ravel() for v, n in zip(values, mask.sum(1).tolist(), strict=True)]
        values = np.concatenate(rows)
    elif values.ndim == 3:
        values = values[mask]
    return values.astype(np.int64)
