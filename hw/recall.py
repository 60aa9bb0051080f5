# SPDX-License-Identifier: Apache-2.0
"""Pairs that come without their first sentence, as the pair before had the same one: for encoders that keep what their lower layers make of it.

Such an encoder (`hardware.recall`) keeps the first sentence of each pair behind the layers that see one sentence alone (hw/rtl/loop.sv). A pair whose
tokens are all marked as the second sentence's is one whose first sentence is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def left_out(ids: Sequence[Sequence[int]], borders: Sequence[int] | np.ndarray) -> list[int]:
    """Tokens of each pair that need not be sent: those of its first sentence where the pair before began with the same, and both have a second one.

    ids  token ids of whole pairs; borders: tokens of the first sentence of each
    """
    firsts = [list(row[:border]) if 0 < border < len(row) else None for row, border in zip(ids, borders, strict=True)]
    return [len(own) if own and own == before else 0 for own, before in zip(firsts, [None, *firsts], strict=False)]


def sent(sentences: Sequence[np.ndarray], missing: Sequence[int]) -> list[np.ndarray]:
    """Codes of the entry [T, C] without the tokens that are left out."""
    return [codes[left:] for codes, left in zip(sentences, missing, strict=True)]
