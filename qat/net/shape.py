# SPDX-License-Identifier: Apache-2.0
"""Shapes of networks as data: what those of all kinds have, what layers take, and the encoder's, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from bitloom.qat.networks import HourglassConfig, HybridConfig

Head = Literal["sequence", "token", "span"]


class NetworkShape:
    """What the shapes of all kinds of networks have; each is a frozen dataclass with at least these fields (qat/net/kinds.py lists them).

    kind        its name in recipes and checkpoints; smaller: the settings that make it smaller
    vocabulary, positions, segments   rows of the three tables
    head        sequence (`labels` logits a sentence), token (`labels` logits a token), span (start and end logits a token)
    max_tokens  longest sentence
    dropout     of hidden states, in training
    """

    kind: ClassVar[str]
    smaller: ClassVar[str]
    vocabulary: int
    positions: int
    segments: int
    head: Head
    labels: int
    max_tokens: int
    dropout: float

    @property
    def per_token(self) -> bool:
        """Logits for each token."""
        return self.head != "sequence"

    @property
    def width(self) -> int:
        """Channels of the embedding tables."""
        raise NotImplementedError

    def parameters(self) -> int:
        """All of them, the tables and the head too."""
        raise NotImplementedError

    def table_parameters(self) -> int:
        """Of the three tables and the LayerNorm behind their sum."""
        return (self.vocabulary + self.positions + self.segments + 2) * self.width

    def layer_parameters(self) -> int:
        """Weights and biases of all layers, without tables and head."""
        raise NotImplementedError

    def kept(self, batch: int) -> int:
        """Bytes that the layers keep for the gradient of a batch of so many sentences, at least."""
        raise NotImplementedError

    def words(self) -> str:
        """In a few words, without the number of parameters."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """In figures that people know, for a graph's meta data; `text`: in a line of the report."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One encoder layer.

    heads, head_width  of attention; their product need not be the encoder's width. heads may be 0 where there are patterns
    patterns           of further heads that attend by a fixed one (hw/ops/pattern.py), of the same width
    intermediate       width of the feed-forward part
    activation         a function of hw/ops/table.py
    keys               those that a query sees, as a row tensor's shape states them (hw/keys.py)
    keep               share of the tokens, in 256ths, that stays behind attention (hw/ops/keep_tokens.py); None: all, without an operator for it
    ranks              (name, rank) of the layer's matrices that are two narrow ones: query, key, value, attention.output, ffn.up, ffn.down
    """

    heads: int
    head_width: int
    intermediate: int
    activation: str = "gelu"
    keys: str = "T"
    keep: int | None = None
    ranks: tuple[tuple[str, int], ...] = ()
    patterns: tuple[str, ...] = ()

    def matrices(self, hidden: int) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each weight matrix by name."""
        inner, fixed = self.heads * self.head_width, len(self.patterns) * self.head_width
        sizes = dict.fromkeys(("query", "key", "value"), (hidden, inner)) | {"attention.output": (inner, hidden)} if inner else {}
        sizes |= {"fixed.value": (hidden, fixed), "fixed.output": (fixed, hidden)} if fixed else {}
        return sizes | {"ffn.up": (hidden, self.intermediate), "ffn.down": (self.intermediate, hidden)}

    def figures(self) -> dict[str, Any]:
        """What `about` tells of it."""
        return {"heads": self.heads, "intermediate": self.intermediate, "activation": self.activation}

    @classmethod
    def of(cls, model: HybridConfig | HourglassConfig) -> LayerShape:
        """Of a recipe whose layers are alike."""
        return cls(heads=model.heads, head_width=model.hidden // model.heads, intermediate=model.intermediate, activation=model.activation)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LayerShape:
        """Of `asdict`, through JSON too, which knows no tuples."""
        return cls(**(values | {"ranks": tuple((name, rank) for name, rank in values.get("ranks", ())), "patterns": tuple(values.get("patterns", ()))}))


def encoder_layer_parameters(layer: LayerShape, hidden: int) -> int:
    """Weights and biases of one layer, its two LayerNorms too."""
    count, ranks = 4 * hidden, dict(layer.ranks)
    for name, (inputs, outputs) in layer.matrices(hidden).items():
        count += outputs + ((inputs + outputs + 1) * ranks[name] if name in ranks else inputs * outputs)
    return count


def encoder_layer_kept(layer: LayerShape, hidden: int, tokens: int) -> int:
    """Bytes that it keeps for a sentence's gradient, measured: 4 (T (28 H + 3 I) + 3 h T**2), h heads, H hidden, I intermediate."""
    return 4 * (tokens * (28 * hidden + 3 * layer.intermediate) + 3 * layer.heads * tokens**2)


def convolution_parameters(inputs: int, outputs: int, kernel: int) -> int:
    """Weights and biases of one convolution."""
    return (kernel * inputs + 1) * outputs


def convolution_kept(inputs: int, outputs: int, kernel: int, tokens: int) -> int:
    """Bytes that it keeps for a sentence's gradient: the window's tokens, and what it gives before and behind its activation."""
    return 4 * tokens * (kernel * inputs + 2 * outputs)


@dataclass(frozen=True, kw_only=True)
class EncoderShape(NetworkShape):
    """An encoder with its head.

    embedding   width of the embedding tables where it is not `hidden`; a linear layer leads from one to the other
    vocabulary, positions, segments   rows of the three tables
    pooler      activation behind the first token's linear layer, of a sequence head; None: the logits read the first token itself
    head        sequence (`labels` logits a sentence), token (`labels` logits a token), span (start and end logits a token)
    exits       an off-ramp behind each layer, of two layers or more and a sequence head without a pooler (qat/net/off_ramps.py)
    max_tokens  longest sentence
    dropout     of hidden states, in training; attention_dropout: of probabilities
    """

    kind: ClassVar[str] = "encoder"
    smaller: ClassVar[str] = "model.layers, hidden, intermediate"

    hidden: int
    layers: tuple[LayerShape, ...]
    vocabulary: int
    positions: int
    segments: int = 2
    embedding: int | None = None
    layer_norm_eps: float = 1e-12
    pooler: str | None = "tanh"
    head: Head = "sequence"
    labels: int = 2
    exits: bool = False
    max_tokens: int = 64
    dropout: float = 0.1
    attention_dropout: float = 0.1

    @property
    def width(self) -> int:
        return self.embedding or self.hidden

    def layer_parameters(self) -> int:
        return sum(encoder_layer_parameters(layer, self.hidden) for layer in self.layers)

    def parameters(self) -> int:
        hidden, width = self.hidden, self.width
        tables = self.table_parameters() + (0 if width == hidden else (width + 1) * hidden)
        pooler = (hidden + 1) * hidden if self.head == "sequence" and self.pooler else 0
        heads = len(self.layers) if self.exits else 1
        return tables + self.layer_parameters() + pooler + heads * (hidden + 1) * self.labels

    def kept(self, batch: int) -> int:
        return batch * sum(encoder_layer_kept(layer, self.hidden, self.max_tokens) for layer in self.layers)

    def words(self) -> str:
        heads, widths = (", ".join(str(getattr(layer, key)) for layer in self.layers) for key in ("heads", "intermediate"))
        return f"{len(self.layers)} layers of {heads} heads and a feed-forward of {widths}"

    def about(self) -> dict[str, Any]:
        """Of layers that differ, the first one's figures, and all of them in `per_layer`."""
        layer = self.layers[0]
        differ = {} if len(set(self.layers)) == 1 else {"per_layer": [asdict(own) for own in self.layers]}
        return differ | {
            "layers": len(self.layers),
            "hidden": self.hidden,
            **layer.figures(),
            "head": "token" if self.per_token else "sequence",
            "labels": self.labels,
            "max_tokens": self.max_tokens,
            "text": self._text(),
        }

    def _text(self) -> str:
        first, rest = self.layers[0], self.layers[1:] if len(set(self.layers)) > 1 else ()
        layers, heads = ("layer" if len(self.layers) == 1 else "layers"), ("head" if first.heads == 1 else "heads")
        differ = f" in the first layer, then {', '.join(f'{own.heads} and {own.intermediate}' for own in rest)}" if rest else ""
        return f"{len(self.layers)} {layers} × {self.hidden}, {first.heads} {heads}, feed-forward {first.intermediate}{differ}"

    def as_dict(self) -> dict[str, Any]:
        """Without the kind, and without what few encoders have, where it is not there: as checkpoints from before have it."""
        layers = [{key: value for key, value in asdict(layer).items() if key not in ("keep", "patterns") or value} for layer in self.layers]
        return {key: value for key, value in asdict(self).items() if key != "exits" or value} | {"layers": layers}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderShape:
        """Of `as_dict`. Raises TypeError, KeyError: it is none."""
        return cls(**(values | {"layers": tuple(LayerShape.from_dict(layer) for layer in values["layers"])}))

    def without_dropout(self) -> EncoderShape:
        return replace(self, dropout=0.0, attention_dropout=0.0)
