# SPDX-License-Identifier: Apache-2.0
"""Word vectors that begin as a checkpoint's: which, in what direction and how long, by hand; what does not fit is told before the training."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from compressed import MODEL, assert_same, checked, compress, crashed, integers_agree, plain_model
from safetensors.torch import load_file

from bitloom.hw.errors import BitloomError
from bitloom.qat.checkpoint import save_float
from bitloom.qat.methods import method_of, read
from bitloom.qat.methods.method import Work
from bitloom.qat.tokenizer import TextTokenizer

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")
WIDER = 24
TEXTS = ["a wonderful film", "a wonderful film about bad actors", "wonder is full", "film acts"] * 5


def checkpoint(folder, hidden: int = WIDER):
    """A float model of random weights, and a tokenizer of its own."""
    tokenizer = TextTokenizer.train(TEXTS, 45)
    model = plain_model(hidden=hidden)
    save_float(model, folder)
    tokenizer.save(folder)
    return model, tokenizer


def entry(folder) -> dict:
    return {"method": "pretrained_embeddings", "checkpoint": str(folder)}


def begun(folder, ours: TextTokenizer, **changes) -> tuple[torch.Tensor, torch.Tensor]:
    """A student's word table, before and after."""
    method, student = method_of("pretrained_embeddings")(read(entry(folder)), "compression.0"), plain_model(seed=5, **changes)
    before = student.network.embeddings.sum.word.detach().clone()
    data = SimpleNamespace(tokenizer=ours)
    method.prepare(data)
    method.begin(Work(phase="float", model=student, batches=list, methods=[], data=data))
    return before, student.network.embeddings.sum.word.detach()


def test_rows_are_the_checkpoints_in_principal_components(tmp_path):
    """With as many channels as the checkpoint's: the same distances, up to one factor; with fewer, the best approximation of these rows that there is."""
    model, theirs = checkpoint(tmp_path)
    ours = TextTokenizer.train(["wonderful acts", "films 漢"] * 5, 40)
    there = theirs.words()
    known = {n: [there[t]] if t in there else theirs.encode([t.removeprefix("##")]).ids[0][1:-1] for t, n in ours.words().items()}
    known = {n: p for n, p in known.items() if n == ours.unk_id or theirs.unk_id not in p}
    assert ours.words()["漢"] not in known and 10 < len(known) < len(ours.words())
    vectors = torch.stack([model.network.embeddings.sum.word.detach().double()[p].mean(0) for p in known.values()])
    vectors -= vectors.mean(0)
    for hidden in (WIDER, MODEL.hidden):
        before, after = begun(tmp_path, ours, hidden=hidden)
        rows = after[list(known)].double()
        factor = (before.double().square().mean() / (torch.linalg.svdvals(vectors)[:hidden].square().sum() / len(vectors) / hidden)).sqrt()
        torch.testing.assert_close(torch.linalg.svdvals(rows)[:hidden], factor * torch.linalg.svdvals(vectors)[:hidden], rtol=1e-4, atol=1e-7)
        if hidden == WIDER:
            torch.testing.assert_close(torch.cdist(rows, rows), factor * torch.cdist(vectors, vectors), rtol=1e-4, atol=1e-5)
        others = [n for n in range(len(before)) if n not in known]
        assert torch.equal(after[others], before[others])


def test_a_token_is_the_mean_of_its_pieces(tmp_path):
    """A word that the checkpoint's tokenizer cuts into pieces lies midway between them."""
    checkpoint(tmp_path)
    ours = TextTokenizer.train(["actfilm actfilm actfilm actfilm", "act film", "film"] * 9, 60)
    theirs = TextTokenizer.load(tmp_path)
    pieces = theirs.encode(["actfilm"]).ids[0][1:-1]
    assert "actfilm" in ours.words() and len(pieces) > 1
    names = {n: t for t, n in theirs.words().items()}
    if not all(names[p] in ours.words() for p in pieces):
        pytest.skip("the pieces are no tokens of the student's")
    _, after = begun(tmp_path, ours, hidden=WIDER)
    torch.testing.assert_close(after[ours.words()["actfilm"]], after[[ours.words()[names[p]] for p in pieces]].mean(0), rtol=1e-4, atol=1e-6)


def test_trained_resumed_exported(tmp_path):
    """A crash changes nothing: the vectors are a start, and not set anew; the integers agree."""
    checkpoint(tmp_path / "there")
    compress(tmp_path / "whole", [entry(tmp_path / "there")])
    crashed(tmp_path / "broken", [entry(tmp_path / "there")], "float", 7)
    compress(tmp_path / "broken", [entry(tmp_path / "there")])
    assert_same(tmp_path / "broken", tmp_path / "whole")
    integers_agree(tmp_path / "whole")


@pytest.mark.slow
def test_a_hugging_face_folder(tmp_path):
    one_step = {"max_steps": 1, "save_steps": 100, "float_learning_rate": 1e-9, "qat_epochs": 0.0}
    compress(tmp_path / "there", [], model=MODEL.model_copy(update={"hidden": WIDER}), training=one_step)
    compress(tmp_path / "out", [entry(tmp_path / "there" / "float")], training=one_step)
    theirs = load_file(tmp_path / "there" / "float" / "model.safetensors")["bert.embeddings.word_embeddings.weight"].double()
    ours = load_file(tmp_path / "out" / "float" / "model.safetensors")["network.embeddings.sum.word"].double()
    values = torch.linalg.svdvals(theirs - theirs.mean(0))[: MODEL.hidden]
    torch.testing.assert_close(torch.linalg.svdvals(ours)[: MODEL.hidden] / torch.linalg.svdvals(ours)[0], values / values[0], rtol=1e-2, atol=1e-3)


def test_what_does_not_fit_is_told_before_the_training(tmp_path):
    """A narrower checkpoint, no float phase, none there, another script."""
    checkpoint(tmp_path / "narrow", hidden=8)
    checkpoint(tmp_path / "there")
    assert checked([entry(tmp_path / "narrow")]) == (
        "compression.0.checkpoint: got vectors of 8 channels, must have the student's 16 at least; choose a wider one"
    )
    assert checked([entry(tmp_path / "there")], float_epochs=0) == (
        "compression.0: got float_epochs: 0, must have a float phase, which they are the start of; set training.float_epochs"
    )
    with pytest.raises(BitloomError, match="tokenizer: got '.*nowhere', must be an existing file or folder"):
        compress(tmp_path / "out", [entry(tmp_path / "nowhere")])
    TextTokenizer.train(["漢字 文字"] * 5, 20).save(tmp_path / "other")
    for name in ("float.json", "model.safetensors"):
        shutil.copy(tmp_path / "there" / name, tmp_path / "other")
    with pytest.raises(
        BitloomError, match="compression.0.checkpoint: got a tokenizer that knows none of the student's .* tokens, must be of the same language"
    ):
        begun(tmp_path / "other", TextTokenizer.train(["abc def"] * 5, 20))
    TextTokenizer.train([*TEXTS, "quite another vocabulary of many more words than rows"] * 3, 90).save(tmp_path / "there")
    with pytest.raises(BitloomError, match=r"compression.0.checkpoint: got a tokenizer with token \d+ and a table of 50 rows, must have a row for each token"):
        begun(tmp_path / "there", TextTokenizer.load(tmp_path / "there"))
