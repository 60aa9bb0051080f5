# SPDX-License-Identifier: Apache-2.0
"""New training texts of the old ones: what is hidden, replaced and cut, and what it refuses."""

import pytest
from compressed import STEPS, compress

from bitloom.qat.data import Dataset, Examples
from bitloom.qat.methods import MethodError, method_of, read

pytestmark = pytest.mark.filterwarnings("ignore::bitloom.qat.tokenizer.TruncationWarning")


def augmented(pairs: list[str] | None = None, **settings) -> tuple[list[str], list[str] | None]:
    """The new texts, and all second ones."""
    method = method_of("augmentation")(read({"method": "augmentation", "copies": 2} | settings), "compression.0")
    texts = ["a good film", "a bad film", "one two three four five six seven"]
    dataset = Dataset("x", "classification", "accuracy", ["no", "yes"], Examples(texts, pairs, [1, 0, 1]), Examples(texts, None, [1, 0, 1]))
    assert method.examples(dataset, "[MASK]", 3).train == method.examples(dataset, "[MASK]", 3).train  # of the seed alone
    new = method.examples(dataset, "[MASK]", 3)
    assert new.train.texts[:3] == texts and new.train.labels == [1, 0, 1] * (len(new.train) // 3) and new.dev == dataset.dev
    return new.train.texts[3:], new.train.pairs


def test_augmentation_hides_replaces_and_cuts():
    assert augmented(mask=1, replace=0, ngram=0)[0] == ["[MASK] [MASK] [MASK]"] * 2 + [" ".join(["[MASK]"] * 7)] + ["[MASK] [MASK] [MASK]"] * 2 + [
        " ".join(["[MASK]"] * 7)
    ]
    swapped = augmented(mask=0, replace=1, ngram=0, copies=20)[0]
    assert set(swapped) == {"a good film", "a bad film", "one two three four five six seven"}
    assert {swapped[i] for i in range(0, 60, 3)} == {"a good film", "a bad film"}  # words seen between the same neighbours, and no others
    cut = augmented(mask=0, replace=0, ngram=1, longest=2)[0]
    assert all(len(text.split()) <= 2 for text in cut) and all(any(text in whole for whole in swapped) for text in cut)
    first, second = augmented(pairs=["x y z"] * 3, mask=1, replace=0, ngram=0)
    assert [("[MASK]" in text) for text in first] == [True] * 3 + [False] * 3
    assert [("[MASK]" in text) for text in second] == [False] * 6 + [True] * 3


@pytest.mark.slow
def test_augmentation_trains_on_more_texts(tmp_path):
    """Twice the steps with one copy; places of words do not stay, so spans are refused."""
    metrics = compress(tmp_path, [{"method": "augmentation", "copies": 1}])
    assert max(point["step"] for point in metrics["curves"]) == 2 * STEPS
    method = method_of("augmentation")(read({"method": "augmentation"}), "compression.0")
    nothing = Examples([], [], [])
    with pytest.raises(MethodError, match="compression.0: got the task span, must be classification or regression: the places of words do not stay; remove it"):
        method.examples(Dataset("x", "span", "span_f1", [], nothing, nothing), "[MASK]", 0)
