# SPDX-License-Identifier: Apache-2.0
"""One sentence through a finished run: the golden model, or the simulated hardware."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from bitloom.errors import VerificationError
from bitloom.flow import require_current
from bitloom.hw import golden, graph_file
from bitloom.hw.errors import BitloomError
from bitloom.hw.graph import Graph
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.predict import predict as predict_cycles
from bitloom.qat.data import Examples
from bitloom.qat.spans import best_answers
from bitloom.qat.tokenizer import Window
from bitloom.runfolder import RunFolder
from bitloom.sentences import load_tokenizer


class PredictError(BitloomError):
    """A sentence that the hardware cannot take."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What came out for one sentence.

    label   the class, for a regression the number, for a span the answer's words, for token classification word/LABEL of each word
    logits  codes times the output's scale: [labels], or [T, labels] for a per-token head (span: [T, 2])
    codes   the same as the hardware gives them
    strange words that the vocabulary does not hold whole, with the pieces that the model reads instead
    layer   behind which it left, of a network with early exits, and how many there are
    cycles  of the simulated hardware, first beat in to last beat out; None on the golden model
    """

    label: str
    logits: np.ndarray
    codes: np.ndarray
    tokens: int
    clock_mhz: float
    strange: dict[str, list[str]] = field(default_factory=dict)
    layer: tuple[int, int] | None = None
    cycles: int | None = None
    cycles_predicted: int | None = None

    def lines(self) -> list[str]:
        """For a terminal: one `name  value` a line."""
        out = [f"label    {self.label}", f"tokens   {self.tokens}"]
        if self.logits.ndim == 1:
            out.insert(1, f"logits   {' '.join(f'{v:.4f}' for v in self.logits)}")
            out.insert(2, f"codes    {' '.join(str(v) for v in self.codes)}")
        if self.layer:
            out.append(f"left     behind layer {self.layer[0]} of {self.layer[1]}")
        if self.strange:
            out.append("unknown  " + "; ".join(f"{word} (read as {' '.join(tokens)})" for word, tokens in self.strange.items()))
        if self.cycles is not None:
            out.append(f"cycles   {self.cycles} ({self.cycles_predicted} predicted), {self.cycles / self.clock_mhz:.1f} us at {self.clock_mhz:g} MHz")
        return out


def predict(run: RunFolder, sentence: str, pair: str | None = None, *, on: Literal["golden", "rtl"] = "golden") -> Prediction:
    """Run one sentence (or pair) through the golden model or the simulated RTL.

    Raises PredictError: no word, longer than the hardware's longest sentence, or a question without a text. RunError: a stage is missing or stale.
    VerificationError: the simulated hardware gave other logits than the golden model.
    """
    require_current(run, "build" if on == "rtl" else "export")
    for text in (sentence, pair or ""):
        if text.encode(errors="replace").decode() != text:  # bytes that the shell could not decode
            raise PredictError(f"predict: got {text[:40].encode(errors='backslashreplace').decode()!r}, must be UTF-8; check the terminal's encoding")
    export, recipe = run.stage("export"), run.recipe
    graph = graph_file.load(export)
    if graph.meta["task"] == "span" and not pair:
        raise PredictError("predict: got a question alone, must have a text that answers it; add --pair 'the text'")
    task, pairs = graph.meta["task"], graph.meta.get("pairs")
    if task in ("classification", "regression") and pairs is not None and pairs != (pair is not None):
        got, must = ("one text", "two, as the model was trained; add --pair") if pairs else ("--pair", "one text, as the model was trained; leave it out")
        raise PredictError(f"predict: got {got}, must be {must}")
    if task == "token_classification" and pair is not None:
        raise PredictError("predict: got --pair for a model that labels the words of one text, must be without; leave it out")
    tokenizer, rows = load_tokenizer(export), len(graph.params[f"{graph.entry}.word"])
    if len(tokenizer) > rows:
        raise PredictError(f"{export}/tokenizer: got {len(tokenizer)} tokens, must be at most the graph's {rows}; run `bitloom export {run.path} --force`")
    nothing = tokenizer.encode([""]).ids
    for text in (sentence, *([] if pair is None else [pair])):
        if tokenizer.encode([text]).ids == nothing:  # blanks and control characters alone, too
            raise PredictError(f"predict: got {text[:40]!r}, in which there is no word, must have one; write a text")
    if task == "token_classification":
        words = sentence.split()
        ids, segments, first = tokenizer.encode_words([words])
        shown = partial(_tagged, graph, words, first[0])
    elif task == "span":
        window = tokenizer.window(sentence, pair)
        ids, segments, shown = [window.ids], [window.segments], partial(_answer, window, pair)
    else:
        ids, segments = tokenizer.encode([sentence], None if pair is None else [pair])
        shown = partial(_label, graph)
    if len(ids[0]) > graph.max_tokens:
        raise PredictError(f"predict: got a sentence of {len(ids[0])} tokens, must be at most {graph.max_tokens} (the recipe's model.max_tokens); shorten it")
    want = golden.run(graph, ids, segments)
    codes, figures, exits = want[graph.outputs[0]], {}, golden.exits(graph, want)
    if on == "rtl":
        entry = graph.entry
        codes, figures = _simulate(run.stage("build"), graph, want[entry], codes, exits)
    logits = codes * graph.tensor(graph.outputs[0]).scale
    single = logits.shape[0] == 1 and graph.meta["model"]["head"] == "sequence"
    return Prediction(
        label=shown(logits),
        logits=logits[0] if single else logits,
        codes=codes[0] if single else codes,
        tokens=len(ids[0]),
        clock_mhz=recipe.hardware.clock_mhz,
        layer=exits and (exits[0] + 1, graph.meta["model"]["layers"]),
        strange=tokenizer.strange_words(f"{sentence} {pair or ''}"),
        **figures,
    )


def _simulate(build: Path, graph: Graph, embeddings: np.ndarray, want: np.ndarray, exits: tuple[int, ...] | None) -> tuple[np.ndarray, dict]:
    from bitloom.sim.encoder import Options, run_encoder  # needs a simulator, which the golden model does not

    got = run_encoder(build, [embeddings], Options(exits=exits))  # taps on: the same executable as verify's
    if got.problem or not np.array_equal(got.outputs, want.ravel()):
        raise VerificationError(
            f"predict: the hardware gave {got.outputs.tolist()}, must be {want.ravel().tolist()}"
            f"{'; ' + got.problem if got.problem else ''}; run `bitloom verify` to see where they part"
        )
    cycles = int(got.out_last_cycle[0] - got.in_first_cycle[0])
    predicted = predict_cycles(Design(graph, Folding.load(build / "folding.json")), [len(embeddings)], exits=exits).latency[0]
    return got.outputs.reshape(want.shape), {"cycles": cycles, "cycles_predicted": int(predicted)}


def _tagged(graph: Graph, words: list[str], first: list[int | None], logits: np.ndarray) -> str:
    """word/LABEL of each word, by its first token; `-` where the tokenizer leaves nothing of a word."""
    best = [None if token is None else graph.meta["labels"][int(logits[token].argmax())] for token in first]
    return " ".join(f"{word}/{label or '-'}" for word, label in zip(words, best, strict=True))


def _answer(window: Window, text: str, logits: np.ndarray) -> str:
    """The part of the text between the surest start and end."""
    return best_answers([window], Examples([""], [text], []), [logits[:, 0]], [logits[:, 1]])[0]


def _label(graph: Graph, logits: np.ndarray) -> str:
    if graph.meta["task"] == "regression":
        return f"{logits[0, 0]:.4f}"
    return graph.meta["labels"][int(logits[0].argmax())]
