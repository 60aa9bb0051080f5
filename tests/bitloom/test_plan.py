# SPDX-License-Identifier: Apache-2.0
"""`bitloom plan`: sizes, cycles and what binds, before anything is trained."""

import re

import pytest

from bitloom.recipe import Recipe, find
from bitloom.sentences import Sentences
from bitloom.stages.build import above
from bitloom.untrained import untrained

TINY = ["--set", "model={layers: 1, hidden: 16, heads: 2, intermediate: 24, max_tokens: 8}"]


def test_a_recipe_on_one_board(bitloom):
    code, out, _ = bitloom("plan", "quickstart", "--board", "ulx3s_85f", *TINY)
    assert code == 0 and "layer.*.ffn.up.acc" in out and "total" in out
    board, goal = (next(line for line in out.splitlines() if line.startswith(name)) for name in ("ulx3s_85f", "recipe's goal"))
    multipliers = re.search(r"^ulx3s_85f +(?:all|1 in turn) +(\d+)", board)
    assert multipliers and int(multipliers[1]) > 8 and "LUT4" in out and "PE x SIMD, ulx3s_85f" in out and goal.split()[2] == "all" and int(goal.split()[3]) > 0


@pytest.mark.parametrize(("arguments", "text"), [(["quikstart"], "did you mean 'quickstart'"), (["quickstart", "--board", "ulx"], "no board 'ulx'")])
def test_wrong_names(arguments, text, bitloom):
    code, _, err = bitloom("plan", *arguments)
    assert code == 2 and text in err


def test_the_compressed_network_is_planned(bitloom):
    """Half the heads and units: half the parameters of their matrices, and a line that says so."""
    pruned = "compression=[{method: head_pruning, keep: 0.5}, {method: ffn_pruning, keep: 0.5}]"
    code, out, _ = bitloom("plan", "quickstart", "--board", "ulx3s_85f", *TINY, "--set", pruned)
    assert code == 0
    assert out.replace("\n", " ").startswith(
        "Compression: 1 layers of 2 heads and a feed-forward of 24, "
    ) and "become 1 layers of 1 heads and a feed-forward of 12, " in out.replace("\n", " ")
    row = next(line for line in out.splitlines() if line.startswith("layer.*.ffn.up.acc")).split()
    assert row[2] == f"{12 * 16 + 12}"


@pytest.mark.parametrize(
    "entry", ["{method: block_pruning, tile: [8, 8], keep: 0.25}", "{method: balanced_pruning, keep: 2, of: 8}"], ids=["zero_tiles", "weights_in_groups"]
)
def test_weights_that_are_left_out_are_planned(entry, bitloom):
    """A quarter of each layer's weights is left: less than half of the multipliers does as many sentences."""
    goal = [*TINY, "--set", "model.intermediate=64", "--set", "hardware={target_cycles: 512}", "--board", "ulx3s_85f"]
    multipliers = []
    for compression in ("[]", f"[{entry}]"):
        code, out, _ = bitloom("plan", "quickstart", *goal, "--set", f"compression={compression}")
        assert code == 0
        multipliers.append(int(next(line for line in out.splitlines() if line.startswith("recipe's goal")).split()[3]))
    assert multipliers[1] < multipliers[0] / 2, multipliers


def test_a_target_that_waiting_misses_is_told():
    """By how much, and what to ask for instead; one that is met within what predictions promise is not."""
    assert above(137_085, 131_072) == "; 4.6% above target_cycles: operators wait for each other, so set 125322"
    assert above(131_200, 131_072) == above(137_085, None) == above(100, 131_072) == ""


def test_pairs_are_planned_as_the_data_has_them():
    """The share of a pair that is its first sentence: stated, or known of the set; measured where the sentences are there."""
    small = ["model={layers: 2, hidden: 16, heads: 2, intermediate: 24, max_tokens: 8}", "hardware={target_cycles: 9000}"]
    segments = "compression=[{method: attention_segments, layers: layer.0}]"
    for changes, share in (([segments, "data={name: qnli}"], 0.29), ([segments, "data={name: qnli, first_share: 0.4}"], 0.4), (["data={name: qnli}"], None)):
        recipe = Recipe.load(find("attention-segments"), ["compression=[]", *small, *changes])
        assert untrained(recipe)[0].meta.get("first_share") == share
    pairs = Sentences(ids=[[1, 2, 3, 4], [5, 6, 7], [8]], segments=[[0, 1, 1, 1], [0, 0, 1], [0]], labels=[0, 1, 0])
    assert pairs.first_share() == 0.43 and pairs.take([2]).first_share() is None
    assert pairs.of_length(5, 2, 2).segments == [[0, 0, 1, 1, 1]] * 2 and pairs.of_length(5, 1).segments == [[0, 0, 0, 1, 1]]
    assert pairs.alone(8, lambda tokens: 1)[1].segments == [[0, 1, 1, 1]]
