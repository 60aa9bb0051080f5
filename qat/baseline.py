# SPDX-License-Identifier: Apache-2.0
"""The float baseline: a Hugging Face model, a BERT from scratch or a checkpoint of any known family, whose weights are known to have arrived."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig
from transformers.utils import cached_file

from bitloom.hw.keys import Keys
from bitloom.qat.families import family_of
from bitloom.qat.families.family import KEYS, Family
from bitloom.qat.families.heads import HEADS
from bitloom.qat.labels import order_by_name
from bitloom.qat.net.attention import border_of, visible
from bitloom.qat.networks import ModelConfig
from bitloom.qat.quantizers import QuantError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WRAPPERS = ("module.", "model.", "_orig_mod.")  # that tools for training put in front of every name
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def head_of_task(task: str, head: str) -> str:
    """The head that a model has for a task: `head` as in the recipe, sequence or token."""
    return "span" if task == "span" else head


def float_model(model: ModelConfig, vocabulary: int, labels: int, *, head: str | None = None, names: Sequence[str] = ()) -> nn.Module:
    """Hugging Face model of that shape.

    vocabulary  number of tokens; with a checkpoint its own count is kept, and must be at least this
    labels      number of logits (1: regression); 2 for a span head (start, end)
    head        sequence, token or span; None: the recipe's, whose token head gives spans
    names       of the labels, in the order of the logits, into which a checkpoint's are put
    """
    head = head or ("span" if model.head == "token" else model.head)
    if model.checkpoint is not None:
        settings = {"layers": model.layers, "dropout": model.dropout, "keys": model.keys}
        return load_float(model.checkpoint, head=head, labels=labels, vocabulary=vocabulary, names=names, **settings)
    return _made(scratch_config(model, vocabulary, labels), head)


def _made(config, head: str) -> nn.Module:
    """A model of that config, whose queries see the keys that it says."""
    model = HEADS[head].from_config(config)
    keys = Keys.parse(getattr(config, KEYS, "T"))
    if not keys.all:
        getattr(model, family_of(config).body).register_forward_pre_hook(partial(_see, keys), with_kwargs=True)
    return model


def _see(keys: Keys, body: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The encoder's arguments with a mask [B, 1, T, T], added to the scores, in the place of one of padding [B, T]."""
    ids, mask = kwargs["input_ids"] if "input_ids" in kwargs else args[0], kwargs.get("attention_mask")
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    segments = kwargs.get("token_type_ids")
    border = border_of(torch.zeros_like(ids) if segments is None else segments) if keys.segment else None
    seen = visible(keys, ids[..., None], real[:, None, None, :], border)
    dtype = next(body.parameters()).dtype
    return args, kwargs | {"attention_mask": torch.zeros(seen.shape, dtype=dtype, device=ids.device).masked_fill_(~seen, -torch.inf)}


def scratch_config(model: ModelConfig, vocabulary: int, labels: int) -> BertConfig:
    """A BERT of the recipe's own shape."""
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
    if model.keys is not None:
        setattr(config, KEYS, model.keys)
    return config


def checkpoint_config(checkpoint: str | Path, *, labels: int, layers: int | None = None, dropout: float = 0.1, vocabulary: int = 0, keys: str | None = None):
    """A checkpoint's config, checked, with the recipe's own settings in place: (config, its family).

    keys  those that a query sees; None: the config's own, or else all
    Raises QuantError: unreadable, of an unknown family, fewer layers or tokens than asked for.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: got '{checkpoint}', must be a folder with config.json and safetensors weights, or a hub name ({first})") from error
    family = family_of(config)
    if layers is not None and layers > config.num_hidden_layers:
        raise QuantError(f"layers: got {layers}, must be at most the checkpoint's {config.num_hidden_layers}; lower it")
    if vocabulary > config.vocab_size:
        raise QuantError(f"checkpoint: got {config.vocab_size} tokens, must be at least the tokenizer's {vocabulary}; use its own tokenizer")
    config.num_hidden_layers = layers or config.num_hidden_layers
    if labels != config.num_labels:
        config.num_labels = labels
    config.problem_type = None  # the task decides
    setattr(config, family.fields.get("dropout", "hidden_dropout_prob"), dropout)
    setattr(config, family.fields.get("attention_dropout", "attention_probs_dropout_prob"), dropout)
    if keys is not None:
        setattr(config, KEYS, keys)
    return config, family


def load_float(checkpoint: str | Path, *, head: str, labels: int, layers: int | None = None, dropout: float = 0.1, vocabulary: int = 0,
               names: Sequence[str] = (), keys: str | None = None) -> nn.Module:  # fmt: skip
    """A checkpoint of a known family with a head, in evaluation mode.

    `model.fresh` names the parameters that were not in it, all of the head; `model.notes` tells of them, and of labels in another order.

    checkpoint  folder or hub name; safetensors only
    head        sequence, token or span; one in the checkpoint is taken over where it has as many labels
    layers      keep only the first ones
    vocabulary  the tokenizer's tokens, which the checkpoint must have
    names       of the labels, in the order of the logits, into which the checkpoint's are put
    keys        those that a query sees, as hw/keys.py has them; None: those of its config, or else all
    Raises QuantError: pickled weights, an unknown family, encoder weights that are missing, left over, of another shape or not finite; other labels.
    """
    refuse_pickle(checkpoint)
    config, family = checkpoint_config(checkpoint, labels=labels, layers=layers, dropout=dropout, vocabulary=vocabulary, keys=keys)
    state = _named(_read(checkpoint), family, checkpoint)
    model = _made(config, head)
    model.fresh, model.notes = _fill(model, state, family, str(checkpoint))
    logits = family.module(model, "logits", head, config)
    if names and not any(model.get_parameter(name) is logits.weight for name in model.fresh):
        model.notes += order_by_name(logits, [config.id2label[i] for i in range(labels)], names, str(checkpoint))
    return model.float().eval()


def _read(checkpoint: str | Path) -> dict[str, Tensor]:
    try:
        folder = Path(checkpoint)
        if folder.is_dir():
            files = sorted(folder.glob("model*.safetensors"))
        elif (single := cached_file(str(checkpoint), WEIGHTS, _raise_exceptions_for_missing_entries=False)) is not None:
            files = [Path(single)]
        else:
            files = sorted(Path(cached_file(str(checkpoint), INDEX)).parent.glob("model-*.safetensors"))
        if not files:
            raise FileNotFoundError(f"no {WEIGHTS}")
        return {name: tensor for file in files for name, tensor in load_file(file).items()}
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise QuantError(f"checkpoint: got '{checkpoint}', must hold readable safetensors weights ({first})") from error


def _named(state: dict[str, Tensor], family: Family, checkpoint: str | Path) -> dict[str, Tensor]:
    """Names as a model with a head has them: wrappers' prefixes stripped, the family's own put before a bare encoder's."""
    for wrapper in WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    if not any(name.startswith(f"{family.body}.") for name in state):
        state = {f"{family.body}.{name}": tensor for name, tensor in state.items()}
    # names of the first BERT checkpoints
    state = {name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): t for name, t in state.items()}
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise QuantError(f"checkpoint: {checkpoint}: got values that are not finite in '{name}', must all be finite; the file is damaged, get it again")
    return state


def _fill(model: nn.Module, state: dict[str, Tensor], family: Family, where: str) -> tuple[list[str], list[str]]:
    """Copy the weights. Gives the names of those that are new, and a text about them.

    Raises QuantError: encoder weights that are missing, left over or of another shape.
    """
    want = dict(model.state_dict())
    buffers = {name for name, _ in model.named_buffers()}
    body = f"{family.body}."
    pooler = {name for name in (*want, *state) if ".pooler." in f".{name}"}
    inner = {name for name in want if name.startswith(body)} - buffers - pooler
    if missing := sorted(inner - state.keys()):
        raise QuantError(f"checkpoint: {where}: got no '{missing[0]}' ({len(missing)} encoder tensors are missing), must have all; use the whole checkpoint")
    depth = family.depth(model.config)
    left = [name for name in state if name.startswith(body) and name not in want and name not in pooler and not _beyond(name, depth)]
    if left := sorted(name for name in left if not name.endswith(("position_ids", "token_type_ids"))):
        raise QuantError(f"checkpoint: {where}: got '{left[0]}', which no {family.name} encoder has ({len(left)} tensors are left over), must be known; "
                         "the config belongs to another checkpoint")  # fmt: skip
    for name in sorted(inner):
        if state[name].shape != want[name].shape:
            raise QuantError(
                f"checkpoint: {where}: got '{name}' of shape {tuple(state[name].shape)}, must be {tuple(want[name].shape)} as config.json says; "
                "the config belongs to another checkpoint"
            )
    taken = {name: tensor for name, tensor in state.items() if name in want and tensor.shape == want[name].shape}
    model.load_state_dict(taken, strict=False)
    fresh = sorted(want.keys() - taken.keys() - buffers)
    if not fresh:
        return [], []
    other = [name for name in fresh if name in state]
    why = f"the checkpoint's has another size ({tuple(state[other[0]].shape)}, not {tuple(want[other[0]].shape)})" if other else "the checkpoint has none"
    return fresh, [f"checkpoint {where}: the head is trained from new ({', '.join(fresh)}): {why}"]


def _beyond(name: str, depth: int) -> bool:
    """A weight of a layer behind those that are kept."""
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    return bool(numbers) and numbers[0] >= depth


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
