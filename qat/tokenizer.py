# SPDX-License-Identifier: Apache-2.0
"""Texts as token ids, for the tokenizers of all BERT families (bitloom.qat.vocabulary makes and reads them)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Encoding, pre_tokenizers

from bitloom.qat.vocabulary import KNOWN, ROLES, Source, TokenizerError, read, trained

__all__ = ["Encoded", "TextTokenizer", "TokenizerError", "TruncationWarning", "Window", "Words"]


class TruncationWarning(UserWarning):
    """Some texts are longer than the model takes and were cut."""


class Encoded(NamedTuple):
    """Token ids and segment numbers (BERT: 0 first text, 1 second; RoBERTa: 0), one list a text, not padded."""

    ids: list[list[int]]
    segments: list[list[int]]


class Words(NamedTuple):
    """Texts that came as words: ids and segments as of `Encoded`, and where each word begins.

    first  for each word of a text the place of its first token; None: it was cut off, or nothing is left of it
    """

    ids: list[list[int]]
    segments: list[list[int]]
    first: list[list[int | None]]


class Window(NamedTuple):
    """A question with a part of its context, for span tasks."""

    example: int
    ids: list[int]
    segments: list[int]
    offsets: list[tuple[int, int] | None]  # token -> its characters in the context; None: not a context token


class TextTokenizer:
    """`[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]` as token ids, RoBERTa's `<s> text </s></s> pair </s>` alike.

    pad_id, unk_id  of padding, and of what the vocabulary does not hold
    special_ids     of all special tokens that there are
    """

    def __init__(self, source: Source):
        self._tokenizer, self._names = source
        self._tokenizer.no_truncation()  # files of other projects carry their own
        self._tokenizer.no_padding()
        kind = type(self._tokenizer.model).__name__
        if missing := [role for role in ROLES[:4] if role not in self._names]:
            raise TokenizerError(
                f"tokenizer: got a {kind} without a {missing[0]} token ({' or '.join(KNOWN[missing[0]])}), must be that of a BERT, RoBERTa or ALBERT; "
                "use the checkpoint's own, or name the token in its special_tokens_map.json"
            )
        ids = {role: self._tokenizer.token_to_id(token) for role, token in self._names.items()}
        self.pad_id, self.unk_id, self.special_ids = ids["pad"], ids["unk"], list(ids.values())
        around = self._tokenizer.encode("").ids
        if around[:1] != [ids["cls"]] or around[-1:] != [ids["sep"]]:
            raise TokenizerError(
                f"tokenizer: got {around} around a text, must begin with {self._names['cls']} ({ids['cls']}) and end with {self._names['sep']} "
                f"({ids['sep']}); use the tokenizer of a BERT, RoBERTa or ALBERT"
            )

    def __len__(self) -> int:
        """Number of tokens = rows of the word embedding table."""
        return max(self._tokenizer.get_vocab().values()) + 1

    @property
    def mask(self) -> str:
        """What is written for a hidden word: the mask token, or the one for unknown words where there is none."""
        return self._names.get("mask", self._names["unk"])

    def words(self) -> dict[str, int]:
        """Every token's number."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    @classmethod
    def train(cls, texts: Sequence[str], size: int) -> TextTokenizer:
        """BERT's uncased WordPiece of at most `size` tokens from `texts`; the same texts give the same vocabulary."""
        return cls(trained(texts, size))

    @classmethod
    def load(cls, path: str | Path) -> TextTokenizer:
        """From a tokenizer.json, vocab.txt(.gz), vocab.json with merges.txt, a folder that holds one of them, or a Hugging Face hub name.

        tokenizer_config.json and special_tokens_map.json beside it are honoured.
        """
        return cls(read(path))

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and, last, vocab.txt: the tokens by number."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / "tokenizer.json"))
        by_id = sorted(self._tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
        if any(token not in KNOWN[role] for role, token in self._names.items()):
            names = {f"{role}_token": token for role, token in self._names.items()}
            (folder / "special_tokens_map.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in by_id), encoding="utf-8")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_tokens: int | None = None) -> Encoded:
        """Ids and segments of each text (with its pair).

        max_tokens  cut longer ones to this many tokens, the longer of a pair first, with a TruncationWarning that
                    counts them; None: nothing is cut
        """
        encodings = self._encode(list(texts) if pairs is None else list(zip(texts, pairs, strict=True)), max_tokens)
        return Encoded([e.ids for e in encodings], [e.type_ids for e in encodings])

    def strange_words(self, text: str) -> dict[str, list[str]]:
        """The words of a text that the vocabulary does not hold whole, and their pieces; the token for unknown ones among them where it knows none."""
        pieces = {word: self._tokenizer.encode(word, add_special_tokens=False).tokens for word in text.split()}
        return {word: tokens for word, tokens in pieces.items() if self._names["unk"] in tokens or len(tokens) > 1 and word.isalnum()}

    def encode_words(self, texts: Sequence[Sequence[str]], *, max_tokens: int | None = None) -> Words:
        """Texts as words that stand by themselves, each one token or more.

        max_tokens  as of `encode`; the TruncationWarning counts the words that were cut off, too
        """
        splits = self._tokenizer.pre_tokenizer
        if isinstance(splits, pre_tokenizers.ByteLevel) and not splits.add_prefix_space:  # RoBERTa's words begin with their blank
            self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=splits.trim_offsets, use_regex=splits.use_regex)
        try:
            encodings = self._encode([list(words) for words in texts], max_tokens, is_pretokenized=True)
        finally:
            self._tokenizer.pre_tokenizer = splits
        first: list[list[int | None]] = []
        for words, encoding in zip(texts, encodings, strict=True):
            at: dict[int | None, int] = {}
            for token, word in enumerate(encoding.word_ids):
                at.setdefault(word, token)
            first.append([at.get(word) for word in range(len(words))])
        return Words([e.ids for e in encodings], [e.type_ids for e in encodings], first)

    def _encode(self, inputs: list, max_tokens: int | None, is_pretokenized: bool = False) -> list[Encoding]:
        if max_tokens is not None:
            self._tokenizer.enable_truncation(max_tokens, strategy="longest_first")
        encodings = self._tokenizer.encode_batch(inputs, is_pretokenized=is_pretokenized)
        self._tokenizer.no_truncation()
        if cut := [e for e in encodings if e.overflowing]:
            words = sum(len({w for part in e.overflowing for w in part.word_ids} - {*e.word_ids}) for e in cut)
            lost = f", with {words} word{'s' if words > 1 else ''}" if is_pretokenized else ""
            warnings.warn(
                f"tokenizer: {len(cut)} of {len(encodings)} texts are longer than {max_tokens} tokens and were cut{lost}; raise "
                "model.max_tokens to keep them whole", TruncationWarning, stacklevel=3,
            )  # fmt: skip
        return encodings

    def window(self, question: str, context: str) -> Window:
        """A question with all of its context, however long."""
        return _window(0, self._tokenizer.encode(question, context))

    def windows(self, questions: Sequence[str], contexts: Sequence[str], *, max_tokens: int, stride: int) -> list[Window]:
        """Each question with every part of its context; neighbouring parts share `stride` tokens. Nothing is lost."""
        longest = max(len(e.ids) for e in self._tokenizer.encode_batch(list(questions)))
        longest += self._tokenizer.num_special_tokens_to_add(True) - self._tokenizer.num_special_tokens_to_add(False)
        if longest + stride >= max_tokens:
            raise TokenizerError(
                f"max_tokens: got {max_tokens}, must be more than {longest + stride} for the longest question and "
                f"{stride} tokens shared by windows; raise model.max_tokens"
            )
        self._tokenizer.enable_truncation(max_tokens, stride=stride, strategy="only_second")
        encodings = self._tokenizer.encode_batch(list(zip(questions, contexts, strict=True)))
        self._tokenizer.no_truncation()
        return [_window(i, part) for i, e in enumerate(encodings) for part in (e, *e.overflowing)]


def _window(example: int, encoding: Encoding) -> Window:
    offsets = [span if sequence == 1 else None for span, sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True)]
    return Window(example, encoding.ids, encoding.type_ids, offsets)
