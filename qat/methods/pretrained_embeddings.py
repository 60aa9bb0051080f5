# SPDX-License-Identifier: Apache-2.0
"""Pre-trained embeddings: a student's word vectors begin as those of a larger pre-trained encoder, in as many principal components as it has channels.

Raunak, Gupta and Metze 2019, "Effective Dimensionality Reduction for Word Embeddings" (arXiv:1708.03629);
a student's tables from its teacher's: Sanh et al. 2019, "DistilBERT" (arXiv:1910.01108).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bitloom.qat.baseline import checkpoint_config, load_float
from bitloom.qat.checkpoint import is_plain, load_plain, plain_shape
from bitloom.qat.methods import MethodConfig
from bitloom.qat.methods.method import Method, Setup, TaskData, Work
from bitloom.qat.net.model import FloatModel
from bitloom.qat.tokenizer import TextTokenizer


class Config(MethodConfig):
    """checkpoint: a folder or hub name of any family, with its tokenizer, or the train/float of another run."""

    method: Literal["pretrained_embeddings"]
    checkpoint: str


class PretrainedEmbeddings(Method):
    """Rows of the word table become s * (v - m) P: v the checkpoint's vector of the token, or the mean of its pieces' vectors; m the mean of all v, P [E', E]
    their first E principal components, s such that the rows' mean square is what all rows' was. A token that the checkpoint does not know keeps its row.
    """

    Config = Config
    any_network = True
    early = True

    def require(self, setup: Setup) -> None:
        if not setup.epochs("float"):
            raise self.error("", "float_epochs: 0", "have a float phase, which they are the start of", "set training.float_epochs")
        ours, theirs = setup.shape.width, self._width()
        if ours > theirs:
            raise self.error("checkpoint", f"vectors of {theirs} channels", f"have the student's {ours} at least", "choose a wider one")

    def _width(self) -> int:
        if is_plain(self.cfg.checkpoint):
            return plain_shape(self.cfg.checkpoint).width
        config, family = checkpoint_config(self.cfg.checkpoint, labels=2)
        return family.shape(config, 2, "sequence", 2).width

    def prepare(self, data: TaskData) -> None:
        if not self._pieces(data).keys() - set(data.tokenizer.special_ids):
            got = f"a tokenizer that knows none of the student's {len(data.tokenizer):,} tokens"
            raise self.error("checkpoint", got, "be of the same language and script", f"set data.vocab: {self.cfg.checkpoint}, or choose another")

    @torch.no_grad()
    def begin(self, work: Work) -> None:
        if work.phase == "float":
            pieces, table, word = self._pieces(work.data), self._table().double(), work.network.embeddings.sum.word
            if (most := max(max(places) for places in pieces.values())) >= len(table):
                got = f"a tokenizer with token {most:,} and a table of {len(table):,} rows"
                raise self.error("checkpoint", got, "have a row for each token", "put the checkpoint's own tokenizer beside it")
            vectors = torch.stack([table[places].mean(0) for places in pieces.values()])
            vectors -= vectors.mean(0)
            components = torch.linalg.eigh(vectors.T @ vectors).eigenvectors.flip(1)[:, : word.shape[1]]  # the largest first
            start = vectors @ (components * components.sum(0).sign())
            word[list(pieces)] = (start * (word.double().square().mean() / start.square().mean()).sqrt()).to(word)

    def _pieces(self, data: TaskData) -> dict[int, list[int]]:
        """Each of the student's tokens as tokens of the checkpoint; those that it knows alone."""
        theirs = TextTokenizer.load(self.cfg.checkpoint)
        there, found = theirs.words(), {}
        for token, number in sorted(data.tokenizer.words().items(), key=lambda item: item[1]):
            places = [there[token]] if token in there else theirs.encode([token.removeprefix("##")]).ids[0][1:-1]
            if places and (token in there or theirs.unk_id not in places):
                found[number] = places
        return found

    def _table(self) -> Tensor:
        """[V', E']"""
        if is_plain(self.cfg.checkpoint):
            return load_plain(self.cfg.checkpoint).network.embeddings.sum.word
        model = load_float(self.cfg.checkpoint, head="sequence", labels=2, layers=1)
        return FloatModel.from_hugging_face(model, 2).network.embeddings.sum.word


METHOD = PretrainedEmbeddings
