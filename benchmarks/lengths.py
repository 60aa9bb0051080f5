# SPDX-License-Identifier: Apache-2.0
"""How busy the multipliers are at a data set's real lengths, measured in the RTL.

python -m benchmarks.lengths --data DIR [--recipe sst2-tiny] [--set key=value] [--sentences N] [--packs]
The recipe's shape, bits and folding with random weights, which change no cycle; the lengths are those of the development split's sentences
with the recipe's own tokenizer. Interval and useful share as `bitloom verify` has them: between last beats, those of the first sentences left out that leave
together in layers that are used in turn. In all: from the first beat in to the last one out, over all sentences, the pipeline's filling included.
With --packs the same sentences come in packs (hardware.pack), too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from bitloom.hw import golden, image
from bitloom.hw.build import build, macs_per_sentence
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.predict import mean_interval, predict
from bitloom.qat import data
from bitloom.qat.features import Features
from bitloom.qat.net.untrained import untrained_graph
from bitloom.qat.train import make_tokenizer
from bitloom.recipe import Recipe, find
from bitloom.sentences import Sentences
from bitloom.sim.encoder import Options, run_encoder

SEED = 0


def dev_lengths(recipe: Recipe, folder: Path | None) -> list[int]:
    """Tokens of the development split's sentences."""
    dataset = data.load(recipe.data, folder)
    tokenizer = make_tokenizer(recipe.data.vocab, recipe.model.checkpoint, dataset)
    return Features(dataset, dataset.dev, tokenizer, recipe.model.max_tokens).lengths


def measure(recipe: Recipe, lengths: list[int]) -> dict[str, float]:
    """Predicted and measured interval, and the useful share of the multipliers' cycles.

    Raises SimulationError, and AssertionError if the simulated outputs are not the golden ones.
    """
    graph = untrained_graph(recipe.model, recipe.quantization, labels=2, vocabulary=1000)
    rng = np.random.default_rng(SEED)
    want = golden.run(graph, [rng.integers(1, 1000, n).tolist() for n in lengths])
    with tempfile.TemporaryDirectory() as name:
        folding = build(graph, recipe.hardware, Path(name))
        got = run_encoder(Path(name), np.split(want[graph.entry], np.cumsum(lengths)[:-1]), Options(taps=False, wall_seconds=36_000, timeout_cycles=2_000_000))
    assert np.array_equal(got.outputs, want[graph.outputs[0]].ravel()), "the hardware's outputs differ"
    design = Design(graph, folding)
    assert not design.fetch or np.array_equal(got.fetched, image.reads(design, lengths)), "weights were fetched more or less often than planned"
    guess, count = predict(design, lengths), len(lengths)
    measured = mean_interval(got.out_last_cycle, guess.together)
    work = sum(macs_per_sentence(graph, n) for n in lengths[guess.together :])
    return {
        "predicted": guess.interval,
        "measured": measured,
        "all_predicted": guess.out_last[-1] / count,
        "all_measured": int(got.out_last_cycle[-1] - got.in_first_cycle[0]) / count,
        "useful": work / (folding.multipliers * measured * (count - guess.together)),
        "multipliers": folding.multipliers,
        "fetched": int(got.fetched.sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the data set; without it the recipe's source")
    parser.add_argument("--recipe", default="sst2-tiny")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe key, e.g. hardware.layers=1")
    parser.add_argument("--sentences", type=int, help="so many of its lengths alone")
    parser.add_argument("--packs", action="store_true", help="once more with hardware.pack")
    args = parser.parse_args()
    recipe = Recipe.load(find(args.recipe), args.set)
    lengths = dev_lengths(recipe, args.data)
    some = Sentences(ids=[[0] * n for n in lengths], segments=[[]] * len(lengths), labels=[None] * len(lengths))
    chosen = some.spread(args.sentences or recipe.verification.sentences, recipe.verification.seed).lengths
    mixes = [(f"{len(chosen)} of its lengths", chosen), ("all its lengths", lengths), ("full length", [recipe.model.max_tokens] * 8)]
    packed = [recipe, recipe.model_copy(update={"hardware": recipe.hardware.model_copy(update={"pack": True})})]
    for what, mix in mixes[: 1 if args.sentences else len(mixes)]:
        for own in packed[: 1 + args.packs]:
            row = measure(own, mix)
            cycles = f"{row['measured']:,.0f} cycles between sentences measured, {row['predicted']:,.0f} predicted"
            cycles += f"; in all {row['all_measured']:,.0f} a sentence measured, {row['all_predicted']:,.0f} predicted"
            cycles += f"; {row['fetched']:,} beats of weights" if row["fetched"] else ""
            how = ", in packs" if own.hardware.pack else ""
            print(f"| {recipe.name}, {what}{how} | {row['useful']:.1%} useful of {row['multipliers']} multipliers | {cycles} |", flush=True)


if __name__ == "__main__":
    main()
