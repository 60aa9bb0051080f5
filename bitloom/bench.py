# SPDX-License-Identifier: Apache-2.0
"""`bitloom bench TABLE`: many methods on one data set, each a run folder, and one table of them all.

A table is a list of rows, a row a recipe and what is set in it; `TABLES` has them by name. Rows whose recipes agree on the float phase share one;
a row that is done is not run again, one that was killed goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitloom.errors import UsageError
from bitloom.flow import Watcher, run_flow
from bitloom.hw import graph_file
from bitloom.hw.board import Board
from bitloom.hw.plan.folding import Folding
from bitloom.hw.plan.table import resources
from bitloom.hw.settings import did_you_mean
from bitloom.qat.config import QuantConfig
from bitloom.recipe import Recipe, find, shipped
from bitloom.report import score
from bitloom.runfolder import RunFolder
from bitloom.stage import STAGES
from bitloom.stages.train import START
from bitloom.text import shown


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method: a shipped recipe and what is set in it.

    after  a row that must be done before; `{AFTER}` in a setting is its run folder
    last   what is set behind the settings of all rows
    """

    recipe: str
    sets: tuple[str, ...] = ()
    after: str | None = None
    last: tuple[str, ...] = ()


def _weights(bits: int, activations: int = 8, *more: str) -> Row:
    return Row(recipe="sst2-tiny", sets=(f"quantization.weights={bits}", f"quantization.activations={activations}", *more))


def _split(activations: int) -> Row:
    """BinaryBERT from the ternary row's network."""
    entries = "{method: ternary_splitting, ternary: {AFTER}/train/qat}, {method: logits, teacher: {AFTER}/train/float, phases: [qat]}"
    last = "data.vocab={AFTER}/train/tokenizer", "training.float_epochs=0"
    return Row(recipe="binarybert", sets=(f"compression=[{entries}]", f"quantization.activations={activations}"), after="binarybert-ternary", last=last)


def _post_training(*steps: str) -> Row:
    return Row(recipe="post-training", sets=(f"quantization.post_training=[{', '.join(steps)}]",), last=("training.qat_epochs=0",))


LEARNED = "quantization.activation_scales=learned"
QUANTIZATION: dict[str, Row] = {
    "q8bert": Row(recipe="q8bert"),
    "w4a8": _weights(4),
    "fq-bert": Row(recipe="fq-bert"),
    "qbert": Row(recipe="qbert"),
    "w4a8-learned": _weights(4, 8, LEARNED),
    "w4a4": _weights(4, 4),
    "w4a4-learned": _weights(4, 4, LEARNED),
    "w2a8": _weights(2),
    "w2a8-twn": _weights(2, 8, "quantization.ternary=twn"),
    "w2a8-loss-aware": _weights(2, 8, "quantization.ternary=loss_aware"),
    "ternarybert": Row(recipe="ternarybert"),
    "w1a8": _weights(1),
    "w1a4": _weights(1, 4),
    "binarybert-ternary": Row(recipe="binarybert-ternary"),
    "binarybert": _split(8),
    "binarybert-a4": _split(4),
    "kmeans": Row(recipe="sst2-kmeans"),
    "bs-flex": Row(recipe="sst2-bsflex"),
    "w2a8-untrained": _post_training(),
    "w2a8-bias-correction": _post_training("bias_correction"),
    "w2a8-equalization": _post_training("equalization"),
    "w2a8-learned-rounding": _post_training("learned_rounding"),
}
COMPRESSION = {"none": Row(recipe="sst2-tiny")} | {name: Row(recipe=name) for name, path in shipped().items() if path.parent.name == "compression"}
# The pre-trained 6x384 encoder, distilled from its own float model. Eight bits have little to learn, and lose it again at the rate of the others.
PRETRAINED = {
    f"minilm-w{bits}a8": Row(recipe="minilm-sst2", sets=(f"quantization.weights={bits}", f"training.qat_epochs={epochs}", f"training.qat_learning_rate={rate}"))
    for bits, epochs, rate in ((8, 0.05, 2e-5), (4, 0.5, 1e-4), (2, 0.5, 1e-4), (1, 0.8, 1e-4))
}
TABLES = {"quantization": QUANTIZATION, "pretrained": PRETRAINED, "compression": COMPRESSION}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a finished row shows. Scores are shares, sizes bytes, cycles those between sentences of full length."""

    row: str
    weights: str
    activations: int
    float_score: float | None
    golden_score: float | None
    bytes: int
    bytes_without_embeddings: int
    cycles: int
    multipliers: int
    block_ram: int
    dsp: int
    mismatches: int
    values: int


def bench(of: str, rows: Sequence[str], data: Path | None, out: Path, overrides: Sequence[str], board: str, watcher: Watcher,
          say: Callable[[str], None]) -> str:  # fmt: skip
    """Run the rows of a table (none: all), and those that they begin with, in its order; the table as Markdown.

    out        gets it behind each row, as `of`.md and `of`.json
    overrides  `key=value` for all rows, behind their own
    Raises UsageError: no such table or row. BoardError. What a stage raises; the rows before it are kept.
    """
    if of not in TABLES:
        raise UsageError(f"bench: got table {shown(of)}, must be a known one; {did_you_mean(of, TABLES)}")
    every, chip, done = TABLES[of], Board.load(board), {}
    for name in rows:
        if name not in every:
            raise UsageError(f"bench: got row {shown(name)}, must be one of the table's; {did_you_mean(name, every)}")
    needed = {*rows, *(every[name].after for name in rows)}
    wanted = [name for name in every if not rows or name in needed]
    recipes = {name: _recipe(name, every[name], out, overrides) for name in wanted}  # mistakes in settings are told before the first training
    for number, name in enumerate(wanted, start=1):
        say(f"{name} ({number} of {len(wanted)})")
        done[name] = _run(name, recipes[name], data, out, chip, watcher)
        text = table(list(done.values()), chip)
        (out / f"{of}.md").write_text(text + "\n", encoding="utf-8")
        content = {"board": board, "set": list(overrides), "rows": [vars(figures) for figures in done.values()]}
        (out / f"{of}.json").write_text(json.dumps(content, indent=1) + "\n")
    return text


def _recipe(name: str, row: Row, out: Path, overrides: Sequence[str]) -> Recipe:
    texts = [*row.sets, *overrides, *row.last]
    if row.after:
        texts = [text.replace("{AFTER}", str((out / row.after).resolve())) for text in texts]
    return Recipe.load(find(row.recipe), texts).model_copy(update={"name": name})


def _run(name: str, recipe: Recipe, data: Path | None, out: Path, board: Board, watcher: Watcher) -> Figures:
    run = RunFolder.create(out / name, recipe)
    with run.locked():
        run.adopt(recipe, data)
        if not run.is_done("train"):
            share_float(run.recipe, run.data_dir, out, run.path / START, watcher)
        run_flow(run, watcher=watcher)
        return figures(run, board)


def share_float(recipe: Recipe, data_dir: Path | None, out: Path, start: Path, watcher: Watcher) -> None:
    """Put the float model of a row into `start`: trained once for all rows that agree on its settings, in `out`/float-HASH.

    Nothing is put where compression has a part in the float phase.
    """
    from bitloom.qat.shared_float import begin_with, float_alone  # torch takes seconds to import
    from bitloom.qat.train import train_float

    training = float_alone(recipe.quantization, recipe.training, recipe.compression)
    if training is None:
        return
    agreed = {name: group.model_dump(mode="json") for name, group in (("model", recipe.model), ("data", recipe.data), ("training", training))}
    folder = out / f"float-{hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()[:12]}"
    began = time.monotonic()
    watcher.began(STAGES["train"])
    made = train_float(recipe.model, QuantConfig(), training, recipe.data, data_dir, folder, progress=watcher.progress)
    begin_with(made, folder, start, recipe.model, recipe.training, recipe.data, recipe.compression)
    watcher.ended(STAGES["train"], time.monotonic() - began, f"float phase, {folder}")


def figures(run: RunFolder, board: Board) -> Figures:
    """Of a run that has its report."""
    report = json.loads((run.path / "report.json").read_text())
    graph, folding = graph_file.load(run.stage("export")), Folding.load(run.stage("build") / "folding.json")
    used, accuracy, size, checks = resources(graph, folding, board), report["accuracy"], report["size"], report["verify"]["comparisons"]
    bits = sorted({layer["weights"] for name, layer in report["bits"].items() if name != "logits"})
    return Figures(
        row=run.recipe.name,
        weights=", ".join(map(str, bits)),
        activations=run.recipe.quantization.activations,
        float_score=accuracy["float"],
        golden_score=accuracy["golden"],
        bytes=size["quantized_bytes"],
        bytes_without_embeddings=size["without_embeddings"]["quantized_bytes"],
        cycles=round(report["cycles"]["interval_measured"]),
        multipliers=report["hardware"]["multipliers"],
        block_ram=used[board.resources.block_ram[0].kind].used,
        dsp=used[board.resources.dsp.kind].used,
        mismatches=sum(check["mismatches"] for check in checks),
        values=sum(check["values_compared"] for check in checks),
    )


def table(rows: Sequence[Figures], board: Board) -> str:
    """Markdown."""
    ram, dsp = board.resources.block_ram[0].kind, board.resources.dsp.kind
    titles = (
        "method",
        "weights, bits",
        "activations",
        "float",
        "golden",
        "kB",
        "kB without embeddings",
        "cycles",
        "multipliers",
        ram,
        dsp,
        "values that differ",
    )
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for row in rows:
        sizes = (f"{count / 1000:.1f}" for count in (row.bytes, row.bytes_without_embeddings))
        hardware = (f"{count:,}" for count in (row.cycles, row.multipliers, row.block_ram, row.dsp))
        cells = row.row, row.weights, str(row.activations), score(row.float_score), score(row.golden_score), *sizes, *hardware
        lines.append(f"| {' | '.join(cells)} | {row.mismatches:,} of {row.values:,} |")
    return "\n".join(lines)
