# SPDX-License-Identifier: Apache-2.0
"""One fault in each header: the comparison fails and names the first tensor that differs; the operators' own bench sees it, too."""

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from csim_bench import check_headers
from csim_cases import cases
from csim_networks import in_turn
from encoders import random_encoder, random_sentences
from ops import test_linear

from bitloom.hls import csim
from bitloom.hls.layers import HEADERS
from bitloom.hls.project import to_hls4ml
from bitloom.hw.plan.design import Design
from bitloom.hw.plan.solve import HardwareConfig, solve

GRAPH = random_encoder(8, layers=1, hidden=16, heads=2, intermediate=12, max_tokens=6)
SOLVED = solve(GRAPH, HardwareConfig(target_cycles=80))  # two lanes; then several steps and folds for each head
FOLDS = {"layer.0.scores.acc": replace(SOLVED.folds["layer.0.scores.acc"], simd=4), "layer.0.context.acc": replace(SOLVED.folds["layer.0.context.acc"], pe=4)}
FOLDING = replace(SOLVED, folds=SOLVED.folds | FOLDS)
DESIGN = Design(GRAPH, FOLDING)
SENTENCES = random_sentences(GRAPH, [6, 1, 3, 6], 1)
IN_TURN, IN_TURN_SENTENCES = in_turn()  # tests/csim_networks.py
MISSING_LAST = "the streams: WARNING: Hls::stream 'm_axis' ends without TLAST"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One place in a header, and how it is broken.

    tensor    the first one that then differs in the whole encoder, if any does
    operator  whose own cases show it, if any do: another one than the header's for what operators share
    first     of six of its cases
    in_turn   of layers that are used in turn: the encoder is IN_TURN
    """

    header: str
    right: str
    wrong: str
    tensor: str | None = None
    operator: str | None = None
    first: int = 0
    in_turn: bool = False

    def plant(self, folder: Path) -> None:
        path = folder / f"{self.header}.h"
        text = path.read_text()
        assert self.right in text, f"{path.name} has no such place any more: {self.right}"
        path.write_text(text.replace(self.right, self.wrong, 1))  # of two, the one on streams, which comes first


ENTRIES = len(test_linear.SHAPES) + len(test_linear.STYLES)  # cases with codebooks, and those of two values
TWO = ENTRIES + next(i for i, (_, index, _) in enumerate(test_linear.CODEBOOKS) if index == 1)
FAULTS = {
    "beat: no rounding term": Fault(header="beat", right="SHIFT - 1 : 0] = 1;", wrong="SHIFT - 1 : 0] = 0;", tensor="embeddings.norm", operator="add"),
    "beat: saturates one too early": Fault(header="beat", right="if (v > range<OUT>::high())", wrong="if (v >= range<OUT>::high() - 1)", tensor="layer.0.query", operator="requant"),
    "beat: widens in the wrong order": Fault(header="beat", right="word.data[e] = word.data[e + lanes];", wrong="word.data[e] = got.data[e % lanes];", tensor="layer.0.query.acc", operator="linear"),
    "beat: last on each beat of a word": Fault(header="beat", right="made.last = word.last && part == parts - 1;", wrong="made.last = word.last;", tensor="layer.0.query.acc", operator="linear"),
    "axis: wrong lane": Fault(header="axis", right="typename out_T::value_type(word.data[e])", wrong="typename out_T::value_type(word.data[0])", tensor="embeddings.norm"),
    "axis: no TLAST": Fault(header="axis", right="word.last = got.last;", wrong="word.last = false;", tensor="the streams"),
    "axis: TLAST on each beat": Fault(header="axis", right="word.last = got.last;", wrong="word.last = true;", tensor="m_axis"),
    "fork: the last branch gets nothing": Fault(header="fork", right="        d.write(got);\n", wrong="", tensor="layer.0.attention.sum"),
    "csim: wrong lane sent": Fault(header="csim", right="T((long long)src[i + e])", wrong="T((long long)src[i])", tensor="embeddings.norm"),
    "add: difference for sum": Fault(header="add", right="(CONFIG::mult_a) + b", wrong="(CONFIG::mult_a) - b", tensor="layer.0.attention.sum", operator="add"),
    "linear: bias of another fold": Fault(header="linear", right="bias[fold * CONFIG::pe + p]", wrong="bias[p]", tensor="layer.0.query.acc", operator="linear"),
    "linear: last on each fold": Fault(header="linear", right="made.last = x.last && fold == folds - 1;", wrong="made.last = x.last;", tensor="layer.0.query.acc", operator="linear"),
    "linear: the next entry of a codebook": Fault(header="linear", right="product(book[index], x)", wrong="product(book[index ^ 1], x)", operator="linear", first=ENTRIES),
    "linear: two values swapped": Fault(header="linear", right="book[at] * total + book[at + 1] * sum", wrong="book[at + 1] * total + book[at] * sum", operator="linear", first=TWO),
    "linear: inputs of the smaller value": Fault(header="linear", right="return index ? value", wrong="return !index ? value", operator="linear", first=TWO),
    "requant: multiplier of another channel": Fault(header="requant", right="unsigned(word * in_T::size + e)", wrong="e", tensor="layer.0.query", operator="requant"),
    "scores: sums of the key before": Fault(header="scores", right="acc[h] = step == 0 ?", wrong="acc[h] = step == 0 && key == 0 ?", tensor="layer.0.scores.acc", operator="scores"),
    "scores: last at the end of the sentence": Fault(header="scores", right="made.last = row_done;", wrong="made.last = row_done && seen.at_last_query();", tensor="layer.0.probs", operator="scores"),
    "scores: keys from the sentence's first on": Fault(header="scores", right="first++;", wrong=";", operator="scores"),  # of all keys here, nothing differs
    "scores: keys up to the first query's last": Fault(header="scores", right="final++;", wrong=";", operator="context"),
    "softmax: smallest for largest": Fault(header="softmax", right="|| x.data[l] > high[l])", wrong="|| x.data[l] < high[l])", tensor="layer.0.probs", operator="softmax"),
    "softmax: the next exponential": Fault(header="softmax", right="exp_table[below]", wrong="exp_table[below | 1]", tensor="layer.0.probs", operator="softmax"),
    "context: one value for all": Fault(header="context", right="* value[e]", wrong="* value[0]", tensor="layer.0.context.acc", operator="context"),
    "context: probabilities of the fold before": Fault(header="context", right="if (fold == 0) {", wrong="if (fold == 0 && group == 0) {", tensor="layer.0.context.acc", operator="context"),
    "layernorm: root with > for >=": Fault(header="layernorm", right="grown >= trial", wrong="grown > trial", tensor="embeddings.norm", operator="layernorm"),
    "layernorm: no epsilon": Fault(header="layernorm", right=" + ap_uint<CONFIG::eps_bits>(CONFIG::eps)", wrong=" + 1", operator="layernorm"),  # too little to show here
    "layernorm: the mean left in": Fault(header="layernorm", right=" - total * total", wrong="", tensor="embeddings.norm", operator="layernorm"),
    "table: off by one": Fault(header="table", right="table[table_index(x.data[e])]", wrong="table[table_index(x.data[e]) ^ 1]", tensor="layer.0.ffn.act", operator="table"),
    "first_token: last too early": Fault(header="first_token", right="made.last = i == CONFIG::channels - 1;", wrong="made.last = i == CONFIG::channels - 2;", tensor="pooler.acc", operator="first_token"),
    "concat: the second part first": Fault(header="concat", right="beat >= CONFIG::a_beats", wrong="beat < CONFIG::b_beats", operator="concat"),
    "pool: tokens of the sentence before": Fault(header="pool", right="joined[e] = taken == 0 ?", wrong="joined[e] = taken == 0 && beat == 0 ?", operator="token_max"),
    "pool: lanes in another order": Fault(header="pool", right="word[lane]", wrong="word[word_T::size - 1 - lane]", operator="token_max"),
    "token_max: the smallest": Fault(header="token_max", right="x > held ? x : held", wrong="x < held ? x : held", operator="token_max"),
    "token_mean: a token too few": Fault(header="token_mean", right="/ tokens;", wrong="/ (tokens == 1 ? tokens : tokens_T(tokens - 1));", operator="token_mean"),
    "token_window: taps in another order": Fault(header="token_window", right="(e + 1) * CONFIG::kernel - 1 - back", wrong="e * CONFIG::kernel + back", operator="token_window"),
    "window: tokens before the first": Fault(header="window", right="seen >= distance &&", wrong="seen + 1 >= distance &&", operator="token_window"),
    "window: tokens behind the last": Fault(header="window", right="&& after <= distance", wrong="", operator="window_max"),
    "window: no end": Fault(header="window", right="if (!ended)", wrong="if (!ended || after < 2)", operator="token_window"),
    "window: a window too many": Fault(header="window", right="after + stride > behind", wrong="after == behind", operator="window_max"),
    "window_max: the smallest": Fault(header="window_max", right="tap[back][e] > high)", wrong="tap[back][e] < high)", operator="window_max"),
    "window_mean: all windows are whole": Fault(header="window_mean", right="if (tokens == n)", wrong="if (n == CONFIG::kernel)", operator="window_mean"),
    "upsample: a token too long": Fault(header="upsample", right="phase == stride - 1 ?", wrong="phase == stride ?", operator="upsample"),
    "upsample: one beat for all": Fault(header="upsample", right="right = token[beat];", wrong="right = token[0];", operator="upsample"),
    "lstm: gates in another order": Fault(header="lstm", right="forget[table_index(z[1])] * cell", wrong="forget[table_index(z[0])] * cell", operator="lstm"),
    "lstm: forward for backward": Fault(header="lstm", right="CONFIG::backward ?", wrong="!CONFIG::backward ?", operator="lstm"),
    "lstm: the state of the sentence before": Fault(header="lstm", right="cell[c * lanes + e] = 0;", wrong="cell[c * lanes + e] = 1 << 6;", operator="lstm"),
    "lstm: the cell's rounding": Fault(header="lstm", right="round_shift<CONFIG::cell_shift>(kept + made)", wrong="ap_int<own::kept_bits + 1>((kept + made) >> CONFIG::cell_shift)", operator="lstm"),
    "lstm: products of the last fold alone": Fault(header="lstm", right="sums[fold * CONFIG::pe + p] = sum;", wrong="sums[p] = sum;", operator="lstm"),
    "scores: keys of the first sentence of a pair alone": Fault(header="scores", right="            first = border;\n", wrong="", operator="scores", first=3),
    "scores: the second sentence a token late": Fault(header="scores", right="CONFIG::segment && query == border", wrong="CONFIG::segment && query == border + 1", operator="scores", first=3),
    "context: a first sentence as long as the whole": Fault(header="context", right="seen.border = key + 1;", wrong="seen.border = 0;", operator="context", first=4),
    "border: the last mark for the first": Fault(header="border", right="told = told || begins;", wrong="told = begins;", operator="border"),
    "border: a token too few where there is no mark": Fault(header="border", right="tokens_T(tokens + 1);", wrong="tokens;", operator="border"),
    "pattern: nothing in front of the sentence": Fault(header="pattern", right="starts ? x.data :", wrong="", operator="pattern"),
    "pattern: the neighbour behind": Fault(header="pattern", right="tap[neighbour[at]]", wrong="tap[neighbour[at] ? unsigned(neighbour[at]) - 1 : 0]", operator="pattern"),
    "keep_tokens: of equal ones the later": Fault(header="keep_tokens", right="equal < tokens_T(others - above)", wrong="true", operator="keep_tokens"),
    "keep_tokens: a share rounded down": Fault(header="keep_tokens", right="+ 255) >> 8", wrong=") >> 8", operator="keep_tokens"),
    "keep_tokens: the first one may go": Fault(header="keep_tokens", right="stay = at == 0 ||", wrong="stay =", operator="keep_tokens"),
    "keep_tokens: rows of the last head alone": Fault(header="keep_tokens", right="fresh = group == 0 &&", wrong="fresh =", operator="keep_tokens"),
    "beat: the shift of another turn": Fault(header="beat", right="LEAST + int(more);", wrong="LEAST;", tensor="layer.0.query", in_turn=True),
    "beat: the limits of the stream": Fault(header="beat", right="if (y > rounds[1])\n        return OUT(rounds[1]);", wrong="if (y > range<OUT>::high())\n        return range<OUT>::high();", tensor="layer.0.query", in_turn=True),
    "add: factors of the first turn": Fault(header="add", right="(rounds[4])", wrong="(CONFIG::mult_a)", tensor="layer.1.attention.sum", in_turn=True),
    "softmax: the reciprocal of the widest turn": Fault(header="beat", right="(CONFIG::recip_least + int(k[0]))", wrong="CONFIG::recip_bits", tensor="layer.0.probs", in_turn=True),
    "turns: the next turn has the same keys": Fault(header="turns", right="if (everything)", wrong="if (false)", tensor="layer.1.scores.acc", in_turn=True),
    "turns: the last beat stays behind": Fault(header="turns", right="        out.write(got);\n        if (ends(got))\n            break;", wrong="        if (ends(got))\n            break;\n        out.write(got);", tensor="layer.0.query.acc", in_turn=True),
    "off_ramps: threshold off by one": Fault(header="off_ramps", right="(margin >= threshold", wrong="(margin > threshold", tensor="layer.2.query.acc", in_turn=True),
    "off_ramps: the threshold of the first turn": Fault(header="off_ramps", right="threshold[last ? 0 : turn]", wrong="threshold[0]", tensor="layer.2.query.acc", in_turn=True),
    "off_ramps: none in a row": Fault(header="off_ramps", right="before.run >= CONFIG::patience", wrong="true", tensor="layer.2.query.acc", in_turn=True),
    "off_ramps: a stale count": Fault(header="off_ramps", right=": typename count<CONFIG::turns + 1>::type(1);", wrong=": before.run;", tensor="layer.2.query.acc", in_turn=True),
    "off_ramps: the first label is never the second one": Fault(header="off_ramps", right="                second = top;\n", wrong="", tensor="layer.2.query.acc", in_turn=True),
    "off_ramps: an equal later label wins": Fault(header="off_ramps", right="logit > top)", wrong="logit >= top)", tensor="layer.3.query.acc", in_turn=True),
    "csim: a turn's tap keeps what it saw": Fault(header="csim", right="    nnet::turns().erase(found);\n", wrong="", tensor="layer.2.query.acc", in_turn=True),
}  # fmt: skip
QUICK = ("axis: no TLAST",)  # of one in the values, tests/bitloom/test_hls4ml.py is plain
FAST_AND_SLOW = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name, fault in FAULTS.items() if fault.tensor]


@pytest.fixture(scope="module")
def projects(tmp_path_factory) -> dict[bool, Path]:
    """Of DESIGN, and of IN_TURN."""
    made = {False: (DESIGN, tmp_path_factory.mktemp("project")), True: (IN_TURN, tmp_path_factory.mktemp("project_in_turn"))}
    for design, folder in made.values():
        to_hls4ml(design, "pynq_z2", folder).write()
    return {kind: folder for kind, (_, folder) in made.items()}


def test_every_header_has_a_fault():
    assert {fault.header for fault in FAULTS.values()} == {path.stem for path in HEADERS.glob("*.h")}


def test_the_folding_shows_them():
    """Several folds, several lanes, several outputs at a time; else some faults change nothing."""
    query, scores, context = (FOLDING.folds[f"layer.0.{name}"] for name in ("query.acc", "scores.acc", "context.acc"))
    assert 1 < query.lanes_out < query.pe < 16 and 1 < query.lanes_in < query.simd
    assert scores.simd < 8 and 1 < context.pe < 8


@pytest.mark.slow  # in the plain run the one without TLAST below has no value that differs
def test_without_a_fault_nothing_differs(projects):
    report = csim.verify(DESIGN, csim.compile_project(projects[False]), *SENTENCES)
    assert report.ok and report.values_compared > 3000


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_the_first_tensor_that_differs_is_named(name, projects, tmp_path):
    fault = FAULTS[name]
    design, sentences = (IN_TURN, IN_TURN_SENTENCES) if fault.in_turn else (DESIGN, SENTENCES)
    copy = Path(shutil.copytree(projects[fault.in_turn], tmp_path / "project"))
    fault.plant(copy / "firmware" / "nnet_utils")
    report = csim.verify(design, csim.compile_project(copy), *sentences)
    assert not report.ok
    if fault.tensor == "the streams":
        assert report.first == MISSING_LAST and report.mismatches == 0
    else:
        assert re.fullmatch(
            rf"{re.escape(fault.tensor)}: sentence \d token \d channel \d+: got (-?\d+|nothing \(lost\)), must be (-?\d+|nothing \(extra\))", report.first
        ), report.first
        assert report.mismatches > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.operator])
def test_the_operators_own_cases_show_it(name, tmp_path):
    fault, copy = FAULTS[name], Path(shutil.copytree(HEADERS, tmp_path / "nnet"))
    fault.plant(copy)
    with pytest.raises(AssertionError, match=rf"{fault.operator} case \d+.*: (value|last|beats)|case \d+: (the program died|WARNING)"):
        check_headers(cases(fault.operator)[fault.first : fault.first + 6], copy)


def test_a_read_past_a_memory_is_seen(tmp_path):
    """Where the value that is read would not show it: the last code's neighbour is used and dropped."""
    copy = Path(shutil.copytree(HEADERS, tmp_path / "nnet"))
    right = "y.data[e] = table[table_index(x.data[e])];"
    Fault(header="table", right=right, wrong=f"y.data[e] = table[unsigned(table_index(x.data[e])) + 1]; {right}").plant(copy)
    with pytest.raises(AssertionError, match="case 0: the program died: .*AddressSanitizer: heap-buffer-overflow"):
        check_headers(cases("table")[:1], copy, sanitize=True)
