# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of the BERT families: one vocabulary for one text, the same ids after saving, cuts that are counted."""

import gzip
import subprocess
import sys

import pytest
from tokenizers import Tokenizer, models
from transformers import BertTokenizerFast

from bitloom.qat.corpus import generate
from bitloom.qat.tokenizer import TextTokenizer, TokenizerError, TruncationWarning
from bitloom.qat.vocabulary import SPECIAL

TEXTS = generate("train", 500)[0]
SIZE = 220


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer.train(TEXTS, SIZE)


def test_same_texts_same_vocabulary_in_every_process(tokenizer, tmp_path):
    """The library alone numbers and breaks ties by a hash map's order, which differs from process to process."""
    tokenizer.save(tmp_path / "here")
    code = (
        "import sys; from bitloom.qat.corpus import generate; from bitloom.qat.tokenizer import TextTokenizer; "
        f"TextTokenizer.train(generate('train', 500)[0], {SIZE}).save(sys.argv[1])"
    )
    for i in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"there{i}")], check=True)
        for name in ("vocab.txt", "tokenizer.json"):
            assert (tmp_path / f"there{i}" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_ids_and_segments(tokenizer):
    pad, unk, cls, sep, _ = range(len(SPECIAL))
    ids, segments = tokenizer.encode(["the plot", ""], ["was dull", "\N{SNOWMAN}"])
    assert ids[0][0] == cls
    assert ids[0].count(sep) == ids[1].count(sep) == 2
    assert segments[0] == [0] * (ids[0].index(sep) + 1) + [1] * (len(ids[0]) - ids[0].index(sep) - 1)
    assert ids[1] == [cls, sep, unk, sep]
    assert (tokenizer.pad_id, tokenizer.unk_id, len(tokenizer)) == (pad, unk, SIZE)


def test_agrees_with_transformers_bert(tokenizer, tmp_path):
    """Another implementation of BERT's rules, from the saved vocab.txt."""
    tokenizer.save(tmp_path)
    other = BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    texts = [*generate("dev", 50)[0], "Not DULL, caf\u00e9!", "unheard-of w\u00f6rds"]
    got, want = tokenizer.encode(texts, texts[::-1]), other(texts, texts[::-1])
    assert got.ids == want["input_ids"]
    assert got.segments == want["token_type_ids"]


def test_loads_what_it_saved(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress((tmp_path / "vocab.txt").read_bytes()))
    want = tokenizer.encode(TEXTS)
    for path in (tmp_path, tmp_path / "tokenizer.json", tmp_path / "vocab.txt", tmp_path / "v.txt.gz"):
        assert TextTokenizer.load(path).encode(TEXTS) == want


def test_foreign_truncation_and_padding_are_dropped(tokenizer, tmp_path):
    """Checkpoints carry their own, which would cut or lengthen sentences silently."""
    tokenizer.save(tmp_path)
    foreign = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    foreign.enable_truncation(8)
    foreign.enable_padding(length=64)
    foreign.save(str(tmp_path / "tokenizer.json"))
    assert TextTokenizer.load(tmp_path).encode(TEXTS) == tokenizer.encode(TEXTS)


def test_cuts_are_counted(tokenizer):
    whole = tokenizer.encode(TEXTS).ids
    longer = sum(len(ids) > 12 for ids in whole)
    assert 0 < longer < len(TEXTS)
    with pytest.warns(TruncationWarning, match=f"{longer} of 500 texts are longer than 12 tokens and were cut; raise model"):
        cut = tokenizer.encode(TEXTS, max_tokens=12).ids
    assert [len(ids) for ids in cut] == [min(12, len(ids)) for ids in whole]
    assert tokenizer.encode(TEXTS).ids == whole  # the limit does not stay


def test_windows_cover_the_context(tokenizer):
    context = " ".join(TEXTS[:3])
    windows = tokenizer.windows(["the plot", "dull"], [context, "the end"], max_tokens=24, stride=6)
    assert [w.example for w in windows] == [0] * (len(windows) - 1) + [1]
    assert len(windows) > 3
    covered = {i for w in windows[:-1] for span in w.offsets if span for i in range(*span)}
    assert covered == {i for i, c in enumerate(context) if not c.isspace()}
    assert all(len(w.ids) == len(w.offsets) == len(w.segments) <= 24 for w in windows)
    with pytest.raises(TokenizerError, match="max_tokens: got 8, must be more than"):
        tokenizer.windows(["the plot"], [context], max_tokens=8, stride=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[PAD]\n[UNK]\n[CLS]\nthe\n", r"got no \[SEP\], must be a BERT vocabulary"), (None, "got no readable tokenizer")],
)
def test_bad_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenizerError, match=message):
        TextTokenizer.load(path)


def test_other_bad_sources(tmp_path):
    with pytest.raises(TokenizerError, match="got no tokenizer, must hold tokenizer.json, vocab.txt, vocab.txt.gz or vocab.json with merges.txt"):
        TextTokenizer.load(tmp_path)
    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="got a BPE without a pad token .* must be that of a BERT, RoBERTa or ALBERT; use the checkpoint"):
        TextTokenizer.load(tmp_path)
    with pytest.raises(TokenizerError, match="got vocabulary size 10, must be at least"):
        TextTokenizer.train(TEXTS, 10)
