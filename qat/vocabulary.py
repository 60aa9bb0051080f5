# SPDX-License-Identifier: Apache-2.0
"""Where tokenizers come from: made from training texts, or read from the layouts in which BERT's families are published.

WordPiece (BERT, DistilBERT, ELECTRA, MobileBERT), byte-level BPE (RoBERTa) and unigram (ALBERT) as a tokenizer.json; WordPiece as a vocab.txt too,
BPE as vocab.json with merges.txt. tokenizer_config.json and special_tokens_map.json beside the file say the rest, as for transformers.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from bitloom.hw.errors import BitloomError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # a trained vocabulary begins with these
ROLES = ("pad", "unk", "cls", "sep", "mask")
KNOWN = dict(zip(ROLES, (("[PAD]", "<pad>"), ("[UNK]", "<unk>"), ("[CLS]", "<s>"), ("[SEP]", "</s>"), ("[MASK]", "<mask>")), strict=True))
FILES = ("tokenizer.json", "vocab.txt", "vocab.txt.gz", "vocab.json", "spiece.model")  # in a folder the first of them counts
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")


class TokenizerError(BitloomError):
    """A vocabulary or a tokenizer file that cannot be used."""


class Source(NamedTuple):
    """A tokenizer as read, and what its folder says of it. names: the special token of each of ROLES that there is."""

    tokenizer: Tokenizer
    names: dict[str, str]


def trained(texts: Sequence[str], size: int) -> Source:
    """BERT's uncased WordPiece of at most `size` tokens from `texts`; the same texts give the same vocabulary."""
    tokenizer = _wordpiece({token: i for i, token in enumerate(SPECIAL)}, {})
    words = _words(tokenizer, texts)
    inside = sorted({f"##{c}" for word in words for c in word[1:]})
    # The trainer numbers these pieces as it meets them in a hash map, and breaks ties by number: unless they are
    # given, each process makes another vocabulary.
    given = [*SPECIAL, *inside]
    alphabet = sorted({word[0] for word in words})
    if (least := len(given) + len(alphabet)) > size:
        raise TokenizerError(f"tokenizer: got vocabulary size {size}, must be at least {least} here; raise data.vocab")
    trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=given, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return _with_template(_wordpiece(tokenizer.get_vocab(), {}), {})


def read(path: str | Path) -> Source:
    """A tokenizer from one of FILES, a folder that holds one of them, or a Hugging Face hub name."""
    path = Path(path)
    if not path.exists() and path.suffix not in (".json", ".txt", ".gz", ".model"):
        path = _from_hub(str(path))
    if path.is_dir():
        names = [name for name in FILES if (path / name).is_file()]
        if not names:
            raise TokenizerError(f"{path}: got no tokenizer, must hold {', '.join(FILES[:-2])} or vocab.json with merges.txt; name its file in data.vocab")
        path = path / names[0]
    try:
        settings = _settings(path.parent)
        if path.suffix == ".model":
            return _from_sentencepiece(path, settings)
        if path.name == "vocab.json":
            return _with_template(_byte_pairs(path, settings), settings)
        if path.suffix == ".json":
            return _with_template(_as_set(Tokenizer.from_file(str(path)), settings), settings)
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            tokens = [line.rstrip("\n") for line in file]
    except TokenizerError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        kinds = "vocab.txt(.gz), tokenizer.json or vocab.json with merges.txt"
        raise TokenizerError(f"{path}: got no readable tokenizer ({error}), must be {kinds}; check the file") from None
    names = _names(tokens, settings)
    if missing := [role for role in ROLES[:4] if role not in names]:
        raise TokenizerError(f"{path}: got no {KNOWN[missing[0]][0]}, must be a BERT vocabulary with one token a line; check data.vocab")
    return _with_template(_wordpiece({token: i for i, token in enumerate(tokens)}, settings, names["unk"]), settings)


def _settings(folder: Path) -> dict[str, Any]:
    """What the folder's files say; the later file wins."""
    found = {}
    for name in SETTINGS:
        if (folder / name).is_file():
            found |= json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def _names(tokens: Sequence[str] | dict[str, int], settings: dict[str, Any]) -> dict[str, str]:
    """The special token of each role: as set, else by BERT's or RoBERTa's name. Roles whose token is not there are left out."""
    names = {}
    for role in ROLES:
        given = settings.get(f"{role}_token")
        given = given.get("content") if isinstance(given, dict) else given
        if found := [token for token in ([given] if given else KNOWN[role]) if token in tokens]:
            names[role] = found[0]
    return names


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> set[str]:
    words: set[str] = set()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return words


def _wordpiece(vocabulary: dict[str, int], settings: dict[str, Any], unk: str = "[UNK]") -> Tokenizer:
    """BERT's normalization (uncased unless it is set) and word splitting around a vocabulary."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _as_set(tokenizer, settings)


def _as_set(tokenizer: Tokenizer, settings: dict[str, Any]) -> Tokenizer:
    """BERT's normalization as tokenizer_config.json says, where it does."""
    if isinstance(normalizer := tokenizer.normalizer, normalizers.BertNormalizer):
        for attribute, key in (("lowercase", "do_lower_case"), ("strip_accents", "strip_accents"), ("handle_chinese_chars", "tokenize_chinese_chars")):
            if key in settings:
                setattr(normalizer, attribute, settings[key])
        tokenizer.normalizer = normalizer
    return tokenizer


def _byte_pairs(path: Path, settings: dict[str, Any]) -> Tokenizer:
    """RoBERTa's byte-level BPE from vocab.json and the merges.txt beside it."""
    if not (merges := path.with_name("merges.txt")).is_file():
        raise TokenizerError(f"{path}: got no merges.txt beside it, must be both; add the file")
    prefix = bool(settings.get("add_prefix_space", False))
    tokenizer = Tokenizer(models.BPE.from_file(str(path), str(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    names = _names(tokenizer.get_vocab(), settings)
    if {"cls", "sep"} <= names.keys():
        ends = [(names[role], tokenizer.token_to_id(names[role])) for role in ("sep", "cls")]
        tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=bool(settings.get("trim_offsets", True)), add_prefix_space=prefix)
    return tokenizer


def _from_sentencepiece(path: Path, settings: dict[str, Any]) -> Source:
    """ALBERT's older layout, which transformers converts."""
    if find_spec("sentencepiece") is None:
        raise TokenizerError(
            f"{path}: got a SentencePiece model alone, must be a tokenizer.json; `pip install sentencepiece`, or save it as one with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    from transformers import AutoTokenizer  # takes seconds to import

    return _with_template(AutoTokenizer.from_pretrained(path.parent).backend_tokenizer, settings)


def _with_template(tokenizer: Tokenizer, settings: dict[str, Any]) -> Source:
    """Mark the special tokens; BERT's template where there is none: `[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]` with segments 0 and 1."""
    names = _names(tokenizer.get_vocab(), settings)
    tokenizer.add_special_tokens(list(names.values()))
    if tokenizer.post_processor is None and {"cls", "sep"} <= names.keys():
        ends = [(names[role], tokenizer.token_to_id(names[role])) for role in ("sep", "cls")]
        tokenizer.post_processor = processors.BertProcessing(*ends)
    return Source(tokenizer, names)


def _from_hub(name: str) -> Path:
    """The folder in the hub's cache that holds the tokenizer's files."""
    if name.startswith(("/", ".", "~")):  # a path: the hub's complaint about its form would mislead
        raise TokenizerError(f"tokenizer: got '{name}', must be an existing file or folder; check data.vocab or model.checkpoint")
    from huggingface_hub import snapshot_download  # only needed here

    try:
        return Path(snapshot_download(name, allow_patterns=[*FILES, *SETTINGS, "merges.txt", "config.json"]))
    except Exception as error:  # no such name, no network: of many types
        reason = str(error).split("\n")[0][:100]
        raise TokenizerError(f"tokenizer: got '{name}', must be a file, a folder or a hub name ({reason}); check data.vocab or model.checkpoint") from None
