# SPDX-License-Identifier: Apache-2.0
"""The generated corpus "reviews": short film reviews from a grammar, with a rule that has to be learned.

The label of a review is the polarity of its *deciding* clauses, where

- an opinion word counts as its opposite in the scope of a negator ("not quite dull" is positive);
- in a contrast the main clause decides: "A but B" and "although A , B" mean B, "B , although A" means B;
- what others said of the film ("my brother called it superb") and remarks beside the point do not count.

The two sides of a contrast always disagree and the opinion of others is drawn at random, so that counting opinion words
is not enough: a logistic regression on the bag of words gets 67 % of the held-out reviews (tests/qat/test_corpus.py
measures it), a quantized 2x64 encoder more than 95 % (recipes/quickstart.yaml).

The held-out split ("dev") combines words anew: no (subject, opinion word) and no (modifier, opinion word) that meet in
one of its clauses meet in a clause of the training split, although every word occurs there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

LABELS = ("negative", "positive")
SIZES = {"train": 16000, "dev": 1000}

POSITIVE = """gripping charming superb witty moving
brilliant tender vivid fresh funny inspired engaging warm lively smart wonderful""".split()  # noqa: SIM905
NEGATIVE = """dull clumsy awful tedious shallow bland
lazy stale hollow noisy painful muddled dreary lifeless messy annoying""".split()  # noqa: SIM905
SUBJECTS = """plot acting script music ending camera dialogue pacing cast
story humor editing villain hero film finale""".split()  # noqa: SIM905
INTENSIFIERS = ("very", "truly", "really", "so", "remarkably", "rather")
NEGATORS = ("not", "never", "hardly", "far from", "anything but", "not very")
VERBS = ("is", "was", "felt", "seemed", "looked", "stays")
CONTRASTS = ("but", "yet", ", but", ", and yet")
CONCESSIONS = ("although", "though", "while", "even though")
OTHERS = ("my brother", "a critic", "the poster", "my neighbour", "everyone online", "the trailer")
REPORTS = ("called it", "said it was", "promised something", "swore it would be")
REMARKS = (
    "we saw it on a sunday", "the theatre was not full", "it runs for two hours", "nobody sat behind us",
    "it was shot in a small town", "i watched it with my sister", "i had never seen the first part",
    "there was no trailer before it",
    "the director is new to me", "we took the late train home",
)  # fmt: skip


@dataclass(frozen=True)
class _Draw:
    """Random choices of one split. Only `Random.random` is used: Python keeps its sequence the same for ever."""

    rng: random.Random
    held_out: bool

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, items: Sequence[str]) -> str:
        return items[int(self.rng.random() * len(items))]

    def pick_for(self, items: Sequence[str], opinion: str) -> str:
        """One of `items` that this split may put beside the opinion word: a quarter of the pairs is held out."""
        number = (POSITIVE + NEGATIVE).index(opinion)
        return self.pick([item for i, item in enumerate(items) if ((i + number) % 4 == 0) == self.held_out])


def _opinion(draw: _Draw, positive: bool) -> tuple[str, str]:
    """An opinion word and its modifier (may be empty) that together mean `positive`."""
    kind = draw.rng.random()
    if kind < 0.2:
        word = draw.pick(NEGATIVE if positive else POSITIVE)
        return word, draw.pick_for(NEGATORS, word)
    word = draw.pick(POSITIVE if positive else NEGATIVE)
    return word, draw.pick_for(INTENSIFIERS, word) if kind < 0.5 else ""


def _clause(draw: _Draw, positive: bool) -> str:
    word, modifier = _opinion(draw, positive)
    return " ".join(filter(None, ["the", draw.pick_for(SUBJECTS, word), draw.pick(VERBS), modifier, word]))


def _fragment(draw: _Draw, positive: bool) -> str:
    word, modifier = _opinion(draw, positive)
    return " ".join(filter(None, [modifier, word, draw.pick_for(SUBJECTS, word), draw.pick(("throughout", "overall"))]))


def _verdict(draw: _Draw, positive: bool) -> str:
    """Clauses that decide, with the conceded ones beside them."""
    kind = draw.rng.random()
    if kind < 0.25:
        return _fragment(draw, positive)
    main = _clause(draw, positive)
    if kind < 0.45:
        return main
    if kind < 0.6:
        return f"{main} and {_clause(draw, positive)}"
    conceded = _clause(draw, not positive)
    if draw.chance(0.1):
        conceded += f" and {_clause(draw, not positive)}"
    if kind < 0.75:
        return f"{conceded} {draw.pick(CONTRASTS)} {main}"
    if kind < 0.88:
        return f"{draw.pick(CONCESSIONS)} {conceded} , {main}"
    return f"{main} , {draw.pick(CONCESSIONS)} {conceded}"


def _aside(draw: _Draw) -> str:
    if draw.chance(0.75):
        return draw.pick(REMARKS)
    return f"{draw.pick(OTHERS)} {draw.pick(REPORTS)} {draw.pick(POSITIVE + NEGATIVE)}"


def _review(draw: _Draw, positive: bool) -> str:
    sentences = [_verdict(draw, positive)]
    if draw.chance(0.3):
        sentences.insert(0, _aside(draw))
    if draw.chance(0.3):
        sentences.append(_aside(draw))
    if draw.chance(0.1):
        sentences.append(_aside(draw))
    return " . ".join(sentences) + " ."


def generate(split: str, count: int | None = None, seed: int = 0) -> tuple[list[str], list[str]]:
    """`count` reviews of a split and their labels; the same for the same arguments, on any machine.

    split    "train" or "dev"
    count    reviews; None: SIZES[split]. A smaller count gives the first ones of a larger
    returns  texts of 3 to about 40 words, labels "negative" or "positive"
    """
    if split not in SIZES:
        raise ValueError(f"corpus: got split '{split}', must be one of {', '.join(SIZES)}; name one of them")
    draw = _Draw(random.Random(f"reviews/{split}/{seed}"), held_out=split == "dev")
    texts, labels = [], []
    for _ in range(SIZES[split] if count is None else count):
        positive = draw.chance(0.5)
        texts.append(_review(draw, positive))
        labels.append(LABELS[positive])
    return texts, labels
