# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of the BERT families, from each layout that they are published in: the ids are those of transformers."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import tokenizer_files
from tokenizers import Tokenizer, models, processors
from transformers import AlbertTokenizer, AutoTokenizer, RobertaTokenizer

from bitloom.qat import vocabulary
from bitloom.qat.tokenizer import TextTokenizer, TokenizerError

TEXTS = ["The Film is Paris", "caf\u00e9 \u00d6ber  two", "A Apple", "\u4e2d\u56fd Film", "it's <mask> of </s> [SEP] this", "", "a\u0301 \u2603 unheard-of"]
CORPUS = [*TEXTS, "the film of the year is the film", "an apple a day, two apples"] * 2


def same(ours, theirs):
    """Texts, pairs, and texts that come as words."""
    pairs = TEXTS[1:] + TEXTS[:1]
    assert ours.encode(TEXTS).ids == theirs(TEXTS)["input_ids"]
    want = theirs(TEXTS, pairs, return_token_type_ids=True)
    assert ours.encode(TEXTS, pairs).ids == want["input_ids"]
    if theirs.pad_token == "[PAD]":  # RoBERTa's models have one segment, whatever the tokenizer says
        assert ours.encode(TEXTS, pairs).segments == want["token_type_ids"]
    assert (ours.pad_id, ours.unk_id, len(ours)) == (theirs.pad_token_id, theirs.unk_token_id, len(theirs))
    assert {*ours.special_ids} == {*theirs.all_special_ids}


@pytest.fixture(scope="module")
def word_pieces(tmp_path_factory):
    """A cased vocab.txt with accents and Chinese characters."""
    folder = tmp_path_factory.mktemp("wordpiece")
    characters = sorted({c for text in CORPUS for c in text if not c.isspace()} | set("abcdefghijklmnopqrstuvwxyz"))
    words = ["The", "the", "Film", "film", "Paris", "paris", "caf\u00e9", "cafe", "\u00d6ber", "\u4e2d\u56fd"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *characters, *(f"##{c}" for c in characters)]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(tokens)}))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": False, "tokenize_chinese_chars": False},
    ],
)
@pytest.mark.parametrize("layout", ["vocab.txt", "tokenizer.json"])
def test_a_word_piece_vocabulary_is_read_with_its_settings(word_pieces, tmp_path, settings, layout):
    folder = shutil.copytree(word_pieces, tmp_path / "ck")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    theirs = AutoTokenizer.from_pretrained(folder)
    if layout == "tokenizer.json":
        (folder / "vocab.txt").unlink()
        theirs.save_pretrained(folder)
        theirs = AutoTokenizer.from_pretrained(folder)
    ours = TextTokenizer.load(folder)
    same(ours, theirs)
    assert ours.encode_words([text.split() for text in TEXTS]).ids == theirs([t.split() for t in TEXTS], is_split_into_words=True)["input_ids"]
    ours.save(tmp_path / "saved")
    assert TextTokenizer.load(tmp_path / "saved").encode(TEXTS) == ours.encode(TEXTS)


def test_settings_of_the_folder_go_before_those_of_tokenizer_json(word_pieces, tmp_path):
    """A checkpoint whose files disagree is read as transformers reads it."""
    folder = shutil.copytree(word_pieces, tmp_path / "ck")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}))
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    same(TextTokenizer.load(folder), AutoTokenizer.from_pretrained(folder))
    assert TextTokenizer.load(folder).encode(["Film"]) != TextTokenizer.load(folder).encode(["film"])


def test_special_tokens_of_other_names(word_pieces, tmp_path):
    folder = shutil.copytree(word_pieces, tmp_path / "ck")
    text = (folder / "vocab.txt").read_text(encoding="utf-8").replace("[PAD]", "<blank>").replace("[CLS]", "<begin>")
    (folder / "vocab.txt").write_text(text, encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"vocab.txt: got no \[PAD\], must be a BERT vocabulary"):
        TextTokenizer.load(folder)
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<blank>", "cls_token": {"content": "<begin>", "lstrip": False}}))
    ours = TextTokenizer.load(folder)
    assert (ours.pad_id, ours.encode([""]).ids) == (0, [[2, 3]])
    ours.save(tmp_path / "saved")
    assert TextTokenizer.load(tmp_path / "saved").pad_id == 0


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory):
    """RoBERTa's older layout: vocab.json and merges.txt."""
    folder = tmp_path_factory.mktemp("bpe")
    tokenizer = tokenizer_files.byte_pairs(folder, CORPUS, 330)
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta", "vocab_size": tokenizer.get_vocab_size()}))
    return folder


@pytest.mark.parametrize("layout", ["vocab.json", "tokenizer.json"])
def test_roberta(byte_pairs, tmp_path, layout):
    folder, theirs = byte_pairs, RobertaTokenizer.from_pretrained(byte_pairs)
    if layout == "tokenizer.json":
        folder = tmp_path
        theirs.save_pretrained(folder)
    ours = TextTokenizer.load(folder)
    same(ours, theirs)
    encoded = ours.encode(TEXTS, TEXTS)
    begin, end = theirs.cls_token_id, theirs.sep_token_id
    assert all(ids[0] == begin and ids[-1] == end for ids in encoded.ids)
    assert encoded.ids[0].count(end) == 3 and not any(any(row) for row in encoded.segments)
    prefixed = RobertaTokenizer.from_pretrained(byte_pairs, add_prefix_space=True)
    words = [text.split() for text in TEXTS]
    assert ours.encode_words(words).ids == prefixed(words, is_split_into_words=True)["input_ids"]
    assert ours.encode(TEXTS).ids == theirs(TEXTS)["input_ids"]  # the blank before words does not stay


def test_windows_of_roberta_fill_their_length(byte_pairs):
    """Two separators stand between question and context."""
    ours, context = TextTokenizer.load(byte_pairs), "the film of the year is the film " * 4
    windows = ours.windows(["who"], [context], max_tokens=16, stride=3)
    assert len(windows) > 3 and len(windows[0].ids) == 16
    covered = {i for w in windows for span in w.offsets if span for i in range(*span)}
    assert covered >= {i for i, c in enumerate(context) if not c.isspace()}
    window = ours.window("who", "the film")
    assert [window.offsets[i] for i in (-3, -2, -1)][-1] is None
    assert {"the film"[a:b] for a, b in filter(None, window.offsets)} <= {"the", "film", "fi", "l", "m", "f", "i", "fil", "t", "h", "e", "th", "he"}


@pytest.fixture(scope="module")
def unigram(tmp_path_factory):
    """ALBERT's: a unigram model as a tokenizer.json."""
    folder = tmp_path_factory.mktemp("unigram")
    tokenizer = tokenizer_files.unigram(folder, CORPUS, 90)
    (folder / "config.json").write_text(json.dumps({"model_type": "albert", "vocab_size": tokenizer.get_vocab_size()}))
    return folder


def test_albert(unigram):
    ours, theirs = TextTokenizer.load(unigram), AlbertTokenizer.from_pretrained(unigram)
    same(ours, theirs)
    pairs = theirs(TEXTS, TEXTS, return_token_type_ids=True)
    assert ours.encode(TEXTS, TEXTS).segments == pairs["token_type_ids"]
    words = [text.split() for text in TEXTS]
    assert ours.encode_words(words).ids == theirs(words, is_split_into_words=True)["input_ids"]


def test_a_sentencepiece_model_alone(tmp_path, unigram, monkeypatch):
    (tmp_path / "spiece.model").write_bytes(b"\x0a\x00")
    monkeypatch.setattr(vocabulary, "find_spec", lambda name: None)
    with pytest.raises(TokenizerError, match=r"spiece.model: got a SentencePiece model alone, must be a tokenizer.json; `pip install sentencepiece`"):
        TextTokenizer.load(tmp_path)
    asked = []
    stand_in = SimpleNamespace(backend_tokenizer=Tokenizer.from_file(str(unigram / "tokenizer.json")))
    monkeypatch.setattr(vocabulary, "find_spec", lambda name: "there")
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda folder: asked.append(folder) or stand_in)
    assert TextTokenizer.load(tmp_path).encode(TEXTS) == TextTokenizer.load(unigram).encode(TEXTS)
    assert asked == [tmp_path]


def test_a_name_is_asked_for_at_the_hub(word_pieces, monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=lambda name, allow_patterns: asked.append(name) or word_pieces))
    assert TextTokenizer.load("bert/base-v1.5").encode(TEXTS) == TextTokenizer.load(word_pieces).encode(TEXTS)
    assert asked == ["bert/base-v1.5"]

    def unreachable(name, allow_patterns):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=unreachable))
    with pytest.raises(TokenizerError, match=r"got 'nothing', must be a file, a folder or a hub name \(no network\)"):
        TextTokenizer.load("nothing")


def test_refused_tokenizers(tmp_path, byte_pairs):
    shutil.copy(byte_pairs / "vocab.json", tmp_path)
    with pytest.raises(TokenizerError, match=r"vocab.json: got no merges.txt beside it, must be both; add the file"):
        TextTokenizer.load(tmp_path)
    gpt = Tokenizer(models.BPE(vocab={"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "a": 4}, merges=[]))
    gpt.post_processor = processors.ByteLevel()
    gpt.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=r"got \[\] around a text, must begin with <s> \(2\) and end with </s> \(3\)"):
        TextTokenizer.load(tmp_path)
