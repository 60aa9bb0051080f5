# SPDX-License-Identifier: Apache-2.0
"""BERT's uncased WordPiece tokenizer: made from training texts, or loaded from a vocabulary, a file or a checkpoint."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bitloom.hw.errors import BitloomError
from tokenizers import Encoding, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # a trained vocabulary begins with these


class TokenizerError(BitloomError):
    """A vocabulary or a tokenizer file that cannot be used."""


class TruncationWarning(UserWarning):
    """Some texts are longer than the model takes and were cut."""


class Encoded(NamedTuple):
    """Token ids and segment numbers (0 first text, 1 second), one list a text, not padded."""

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


class WordPiece:
    """`[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]` as token ids; `[PAD]` is `pad_id`."""

    def __init__(self, tokenizer: Tokenizer):
        tokenizer.no_truncation()  # files of other projects carry their own
        tokenizer.no_padding()
        missing = [token for token in SPECIAL[:4] if tokenizer.token_to_id(token) is None]
        if not isinstance(tokenizer.model, models.WordPiece) or missing:
            kind = type(tokenizer.model).__name__
            lacking = f" without {missing[0]}" if missing else ""
            raise TokenizerError(f"tokenizer: got a {kind}{lacking}, must be a BERT WordPiece with {', '.join(SPECIAL[:4])}; use a BERT checkpoint's")
        self._tokenizer = tokenizer
        self.pad_id = tokenizer.token_to_id("[PAD]")
        self.unk_id = tokenizer.token_to_id("[UNK]")
        self.special_ids = [tokenizer.token_to_id(token) for token in SPECIAL if tokenizer.token_to_id(token) is not None]

    def __len__(self) -> int:
        """Number of tokens = rows of the word embedding table."""
        return max(self._tokenizer.get_vocab().values()) + 1

    @classmethod
    def train(cls, texts: Sequence[str], size: int) -> WordPiece:
        """A vocabulary of at most `size` tokens from `texts`; the same texts give the same vocabulary."""
        tokenizer = _empty({token: i for i, token in enumerate(SPECIAL)})
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
        return cls(_with_template(_empty(tokenizer.get_vocab())))

    @classmethod
    def load(cls, path: str | Path) -> WordPiece:
        """From a vocab.txt(.gz), a tokenizer.json, a folder that holds one of them, or a Hugging Face hub name."""
        path = Path(path)
        if path.is_dir():
            names = [n for n in ("tokenizer.json", "vocab.txt", "vocab.txt.gz") if (path / n).is_file()]
            if not names:
                raise TokenizerError(f"{path}: got no tokenizer, must hold tokenizer.json or vocab.txt; name its file in data.vocab")
            path = path / names[0]
        if not path.is_file() and not path.suffix:
            return cls(_from_hub(str(path)))
        try:
            if path.suffix == ".json":
                return cls(Tokenizer.from_file(str(path)))
            with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
                tokens = [line.rstrip("\n") for line in file]
        except Exception as error:  # the tokenizers library raises plain Exception
            raise TokenizerError(f"{path}: got no readable tokenizer ({error}), must be vocab.txt(.gz) or tokenizer.json; check the file") from None
        if missing := [token for token in SPECIAL[:4] if token not in tokens]:
            raise TokenizerError(f"{path}: got no {missing[0]}, must be a BERT vocabulary with one token a line; check data.vocab")
        return cls(_with_template(_empty({token: i for i, token in enumerate(tokens)})))

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and vocab.txt."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / "tokenizer.json"))
        by_id = sorted(self._tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in by_id), encoding="utf-8")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_tokens: int | None = None) -> Encoded:
        """Ids and segments of each text (with its pair).

        max_tokens  cut longer ones to this many tokens, the longer of a pair first, with a TruncationWarning that
                    counts them; None: nothing is cut
        """
        encodings = self._encode(list(texts) if pairs is None else list(zip(texts, pairs, strict=True)), max_tokens)
        return Encoded([e.ids for e in encodings], [e.type_ids for e in encodings])

    def encode_words(self, texts: Sequence[Sequence[str]], *, max_tokens: int | None = None) -> Words:
        """Texts as words that stand by themselves, each one token or more.

        max_tokens  as of `encode`; the TruncationWarning counts the words that were cut off, too
        """
        encodings = self._encode([list(words) for words in texts], max_tokens, is_pretokenized=True)
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

    def windows(self, questions: Sequence[str], contexts: Sequence[str], *, max_tokens: int, stride: int) -> list[Window]:
        """Each question with every part of its context; neighbouring parts share `stride` tokens. Nothing is lost."""
        longest = max(len(e.ids) for e in self._tokenizer.encode_batch(list(questions)))
        if longest + 1 + stride >= max_tokens:  # + [SEP]
            raise TokenizerError(
                f"max_tokens: got {max_tokens}, must be more than {longest + 1 + stride} for the longest question and "
                f"{stride} tokens shared by windows; raise model.max_tokens"
            )
        self._tokenizer.enable_truncation(max_tokens, stride=stride, strategy="only_second")
        encodings = self._tokenizer.encode_batch(list(zip(questions, contexts, strict=True)))
        self._tokenizer.no_truncation()
        return [_window(i, part) for i, e in enumerate(encodings) for part in (e, *e.overflowing)]


def _window(example: int, encoding: Encoding) -> Window:
    offsets = [span if sequence == 1 else None for span, sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True)]
    return Window(example, encoding.ids, encoding.type_ids, offsets)


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> set[str]:
    words: set[str] = set()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return words


def _empty(vocabulary: dict[str, int]) -> Tokenizer:
    """BERT's uncased normalization and word splitting around a vocabulary."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _with_template(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([token for token in SPECIAL if tokenizer.token_to_id(token) is not None])
    separator, start = (tokenizer.token_to_id(token) for token in ("[SEP]", "[CLS]"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", separator), ("[CLS]", start))
    return tokenizer


def _from_hub(name: str) -> Tokenizer:
    if name.startswith(("/", ".", "~")):  # a path: the hub's complaint about its form would mislead
        raise TokenizerError(f"tokenizer: got '{name}', must be an existing file or folder; check data.vocab or model.checkpoint")
    try:
        return Tokenizer.from_pretrained(name)
    except Exception as error:  # plain Exception: no such file, no network
        reason = str(error).split("\n")[0][:100]
        raise TokenizerError(f"tokenizer: got '{name}', must be a file, a folder or a hub name ({reason}); check data.vocab or model.checkpoint") from None
