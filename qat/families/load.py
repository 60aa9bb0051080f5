# SPDX-License-Identifier: Apache-2.0
"""The float model: Hugging Face's, from scratch or from a checkpoint whose names are compared both ways."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import torch
from bitloom.qat.config import CheckpointWarning, ModelConfig
from bitloom.qat.families import family_of, load_config
from bitloom.qat.families.family import Family
from bitloom.qat.quantizers import QuantError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoModelForTokenClassification, BertConfig
from transformers.utils import cached_file

TASKS = {
    "classification": AutoModelForSequenceClassification,
    "span": AutoModelForQuestionAnswering,
    "token_classification": AutoModelForTokenClassification,
}
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
BUFFERS = (".position_ids", ".token_type_ids")  # saved by older releases, made anew by this one
SHOWN = 4  # tensors that a message names


def float_model(model: ModelConfig, vocabulary: int, labels: int, task: str | None = None) -> nn.Module:
    """Hugging Face model of that shape.

    vocabulary  number of tokens; with a checkpoint its own count is kept, and must be at least this
    labels      number of logits (1: regression); 2 for spans (start, end)
    task        one of TASKS; None: the head decides, a token head is for spans
    """
    task = task or ("classification" if model.head == "sequence" else "span")
    if model.checkpoint is not None:
        return load_float(model.checkpoint, task=task, labels=labels, layers=model.layers, dropout=model.dropout, vocabulary=vocabulary)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=model.hidden,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.intermediate,
        hidden_act=model.activation,
        max_position_embeddings=model.max_tokens,
        hidden_dropout_prob=model.dropout,
        attention_probs_dropout_prob=model.dropout,
        num_labels=labels,
        initializer_range=0.02 * math.sqrt(768 / model.hidden),  # BERT-base's, for any width
    )
    return TASKS[task].from_config(config)


def load_float(checkpoint: str | Path, *, task: str, labels: int, layers: int | None = None, dropout: float = 0.1, vocabulary: int = 0) -> nn.Module:
    """Load a Hugging Face checkpoint (folder or hub name) of a known family, from safetensors only.

    A head that is missing or has another size starts at random, with a CheckpointWarning.
    Raises QuantError: another family, pickled weights, too few layers or tokens, encoder tensors that are missing, left over, of another shape
    than the configuration says, or not finite.
    """
    refuse_pickle(checkpoint)
    config = load_config(checkpoint)
    family = family_of(config)
    if layers is not None and layers > config.num_hidden_layers:
        raise QuantError(f"layers: got {layers}, must be at most the checkpoint's {config.num_hidden_layers}; lower it")
    if vocabulary > config.vocab_size:
        raise QuantError(f"checkpoint: got {config.vocab_size} tokens, must be at least the tokenizer's {vocabulary}; use its own tokenizer")
    config.num_hidden_layers, whole = layers or config.num_hidden_layers, config.num_hidden_layers
    config.num_labels, config.problem_type = labels, None
    for key in family.dropouts:
        setattr(config, key, dropout)
    family.encoder_shape(config, task, 1)  # figures that contradict each other are named here, not by a reshape
    tensors = _canonical(read_weights(checkpoint), family)
    model = TASKS[task].from_config(config, dtype=torch.float32)
    dropped = tuple(f"{family.layer(config, i)}." for i in range(config.num_hidden_layers, whole)) if layers else ()
    model.load_state_dict(_matching(model.state_dict(), tensors, family, dropped, str(checkpoint)), strict=False)
    return model.eval()


def read_weights(checkpoint: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint's model.safetensors, or of the parts that its index lists.

    Raises QuantError: no such file, or a broken one.
    """
    try:
        single = cached_file(checkpoint, WEIGHTS, _raise_exceptions_for_missing_entries=False)
        if single is not None:
            return load_file(single)
        parts = json.loads(Path(cached_file(checkpoint, INDEX)).read_text())["weight_map"]
        return {name: tensor for part in sorted({*parts.values()}) for name, tensor in load_file(cached_file(checkpoint, part)).items()}
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: got '{checkpoint}', must hold readable safetensors weights ({first})") from error


def _canonical(tensors: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Names as a model with a head has them: without a wrapper's `module.`, with the family's prefix."""
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if not any(name.startswith(f"{family.prefix}.") for name in tensors):
        tensors = {f"{family.prefix}.{name}": tensor for name, tensor in tensors.items()}
    found = {}
    for name, tensor in tensors.items():
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new)
        if not name.endswith(BUFFERS):
            found[name] = tensor
    return found


def _matching(want: dict[str, Tensor], got: dict[str, Tensor], family: Family, dropped: tuple[str, ...], where: str) -> dict[str, Tensor]:
    """The tensors that the model takes over; see load_float for what is refused."""

    def encoder(names) -> list[str]:
        return sorted(name for name in names if name.startswith(f"{family.prefix}.") and not name.startswith(f"{family.prefix}.pooler."))

    want = {name: tensor for name, tensor in want.items() if not name.endswith(BUFFERS)}
    if missing := encoder(want.keys() - got.keys()):
        raise QuantError(f"checkpoint: {where}: got no tensor {_some(missing)}, must be there as config.json describes the encoder; complete the checkpoint")
    if left := [name for name in encoder(got.keys() - want.keys()) if not name.startswith(dropped)]:
        raise QuantError(f"checkpoint: {where}: got tensor {_some(left)}, must be one of the encoder that config.json describes; correct either")
    other = sorted(name for name in want.keys() & got.keys() if want[name].shape != got[name].shape)
    for name in encoder(other):
        raise QuantError(f"checkpoint: {where}: got {(*got[name].shape,)} of '{name}', must be {(*want[name].shape,)} as config.json says; correct either")
    if bad := [name for name in sorted(want.keys() & got.keys()) if not torch.isfinite(got[name]).all()]:
        raise QuantError(f"checkpoint: {where}: got values that are not finite in {_some(bad)}, must be finite; use a sound checkpoint")
    if new := sorted((want.keys() - got.keys()) | {*other}):
        sizes = f" (the checkpoint's {_some(other)} has another size)" if other else ""
        warnings.warn(CheckpointWarning(f"checkpoint {where}: {_some(new)} starts at random, for it is not there{sizes}: train it"), stacklevel=3)
    return {name: tensor.to(want[name].dtype) for name, tensor in got.items() if name in want and name not in other}


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def refuse_pickle(folder: str | Path) -> None:
    """Raise QuantError where a local folder (or file) holds pickled weights and no safetensors."""
    folder = Path(folder)
    if not folder.exists():
        return  # a hub name: only safetensors are asked for
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    pickles = [f for f in files if f.suffix in PICKLE_SUFFIXES and f.name != "training_args.bin"]
    if pickles and not any(f.suffix == ".safetensors" for f in files):
        raise QuantError(
            f"checkpoint: got pickled weights {pickles[0].name}, must be safetensors (a pickle can run code); "
            "convert in a sandbox: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
