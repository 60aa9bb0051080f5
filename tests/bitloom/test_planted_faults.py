# SPDX-License-Identifier: Apache-2.0
"""Faults planted in the hardware of a verified run: each makes `bitloom verify` fail, and it says where.

The golden model reads the graph in export/, so whatever is changed in build/ is a fault of the hardware alone.
"""

import json
import re
from pathlib import Path

import pytest
from sweep import plain_or_slow

from bitloom.sim import job

WHERE = r": sentence \d+ token \d+ channel \d+ \(lane \d+\): value: got (-?\d+|nothing \(lost\)), must be -?\d+"


WORD = r"word \d+: got '\w+', must be '\w+' \(1 of \d+ words differ\)"


def edit_words(file: str, change, into: str = "planted.hex"):
    """Give the hardware a memory with other words: change(list of hex words) -> as many of the same width.

    into  the file that encoder.sv then names: the graph's own files are compared before anything is simulated
    """

    def apply(build: Path) -> None:
        words = (build / file).read_text().split()
        changed = change(words)
        assert changed != words and [len(w) for w in changed] == [len(w) for w in words]
        (build / into).write_text("\n".join(changed) + "\n")
        edit_text("encoder.sv", (f'"{file}"', f'"{into}"'))(build)

    return apply


def edit_text(file: str, *changes: tuple[str, str]):
    """Replace pieces of text, each of which must be there once."""

    def apply(build: Path) -> None:
        text = (build / file).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{file} has {text.count(old)} of {old!r}"
            text = text.replace(old, new)
        (build / file).write_text(text)

    return apply


def flip_lowest_bit(words: list[str]) -> list[str]:
    return [f"{int(words[0], 16) ^ 1:0{len(words[0])}x}", *words[1:]]


def late_by_one(words: list[str]) -> list[str]:
    return [words[0], *words[:-1]]


def one_less(words: list[str]) -> list[str]:
    """The first entry is one too small: exp(0), which every row has."""
    return [f"{int(words[0], 16) - 1:0{len(words[0])}x}", *words[1:]]


def swap_first_two(words: list[str]) -> list[str]:
    return [words[1], words[0], *words[2:]]


# What is changed, and the tensor that is named: the first that the fault reaches.
FAULTS = {
    "one flipped weight bit": (edit_words("layer.0.ffn.up.acc.weight.hex", flip_lowest_bit), "layer.0.ffn.up.acc"),
    "a table read one entry off": (edit_words("layer.0.ffn.act.table.hex", late_by_one), "layer.0.ffn.act"),
    "a table entry off by one": (edit_words("layer.0.probs.exp.hex", one_less), "layer.0.probs"),
    "swapped multipliers": (edit_words("layer.0.value.mult.hex", swap_first_two), "layer.0.value"),
    "a dropped rounding term": (
        edit_text("rtl/requant.sv", ("prod[i] + half", "prod[i]")),
        r"layer.0.(query|key|value)",
    ),
    "swapped lanes": (
        edit_text(
            "encoder.sv",
            (".s_data(layer_0_ffn_up_data)", ".s_data({layer_0_ffn_up_data[7:0], layer_0_ffn_up_data[15:8]})"),
        ),
        "layer.0.ffn.act",
    ),
    "a FIFO that loses beats under stall": (
        edit_text(
            "rtl/fifo.sv",
            ("s_ready <= pop || !(count_q == CountW'(DEPTH) || (push && count_q == CountW'(DEPTH - 1)));", "s_ready <= 1'b1;"),
            ("push = s_valid && s_ready;", "push = s_valid && s_ready && count_q != CountW'(DEPTH);"),
        ),
        r"[\w.]+",
    ),
}


# A memory's values, a module's beats; the others of each kind are slow (each module's values: tests/ops).
PLAIN = ("one flipped weight bit", "a FIFO that loses beats under stall")


@pytest.mark.parametrize("fault", plain_or_slow(FAULTS, PLAIN))
def test_a_planted_fault_fails_the_verification_and_is_named(tiny_copy, bitloom, fault):
    plant, tensor = FAULTS[fault]
    plant(tiny_copy / "build")
    for _ in range(2):  # it must not count as done after the first time
        code, _, err = bitloom("verify", tiny_copy)
        assert code == 1 and err.startswith("bitloom: verify: back to back: ") and err.count("\n") == 1
        found = re.search(r"(\d+) values compared, (\d+) mismatches; first at " + tensor + WHERE, err)
        assert found and int(found[1]) > 10_000 and int(found[2]) > 0, err
    assert bitloom("report", tiny_copy)[0] == 2  # no report without a passed verification


# A memory file, what is done to it, and what is said of it.
FILES = {
    "an entry that no sentence reads": ("layer.0.probs.exp.hex", lambda words: [*words[:-1], f"{int(words[-1], 16) ^ 1:0{len(words[-1])}x}"], WORD),
    "the last weight word": ("layer.0.ffn.up.acc.weight.hex", lambda words: [*words[:-1], words[0] if words[0] != words[-1] else words[1]], WORD),
    "a word too few": ("layer.0.value.mult.hex", lambda words: words[:-1], r"got \d+ words, must be \d+"),
    "no number": ("layer.0.value.mult.hex", lambda words: ["x" * len(words[0]), *words[1:]], WORD),
    "no file": ("layer.0.value.mult.hex", None, r"got no file that can be read .*, must hold \d+ words"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_changed_memory_file_is_found_before_simulating(tiny_copy, bitloom, monkeypatch, fault):
    file, change, said = FILES[fault]
    path = tiny_copy / "build" / file
    words = path.read_text().split()
    path.unlink()
    if change:
        path.write_text("\n".join(change(words)) + "\n")
    monkeypatch.setattr(job, "run_encoder", None)
    code, _, err = bitloom("verify", tiny_copy)
    where = re.escape(f"bitloom: verify: {tiny_copy}/build: {file}: ")
    assert code == 1 and re.fullmatch(where + said + re.escape(f"; it is not the graph's: run `bitloom build {tiny_copy}`\n"), err), err


def test_the_share_of_memory_words_that_were_read_is_told(tiny_run, tiny_copy, bitloom):
    memories = json.loads((tiny_run / "verify" / "verify.json").read_text())["memories"]
    file, (read, entries) = next((f, counts) for f, counts in memories["tables"].items() if f.endswith("probs.exp.hex"))
    words = (tiny_run / "build" / file).read_text().split()
    assert memories["files"] == len(list((tiny_run / "build").glob("*.hex"))) and 0 < read < entries == len(words)
    assert memories["words"] == sum(len(p.read_text().split()) for p in (tiny_run / "build").glob("*.hex"))
    assert memories["words"] - memories["read"] == sum(size - seen for seen, size in memories["tables"].values())
    assert f"{memories['read']:,} of them" in (tiny_run / "report.html").read_text()


# Registers that keep what they held, or what they begin with.
RESETS = {
    "of a FIFO's counter": edit_text("rtl/fifo.sv", ("        count_q <= '0;\n", "")),
    "of the root's valid": edit_text("rtl/isqrt.sv", ("      m_valid <= 1'b0;\n    end\n  end", "    end\n  end")),
}


@pytest.mark.parametrize("fault", plain_or_slow(RESETS, ["of a FIFO's counter"]))
def test_a_removed_reset_fails_the_verification(tiny_copy, bitloom, fault):
    RESETS[fault](tiny_copy / "build")
    code, _, err = bitloom("verify", tiny_copy)
    assert code == 1 and err.count("\n") == 1
    assert re.match(r"bitloom: verify: back to back: (stream \w+: run 1 of 2: beat \d+: got .* look for a register without reset|.*then nothing moved)", err), (
        err
    )


@pytest.mark.slow  # in the plain run the bench of tests/sim/test_encoder.py has one
def test_a_stream_without_end_ends_the_verification_and_is_named(tiny_copy, bitloom):
    edit_text("rtl/add.sv", ("advance = m_ready || !m_valid", "advance = m_ready && !m_valid"))(tiny_copy / "build")
    code, _, err = bitloom("verify", tiny_copy)
    assert code == 1 and err.count("\n") == 1
    assert re.search(r"stream layer_0_\w+_sum: rule broken in cycle \d+: beat (\d+) came, must be at most \d+", err), err


def test_without_a_fault_the_same_way_passes(tiny_copy, bitloom):
    """The faults fail the verification, not the copying of the run."""
    assert bitloom("verify", tiny_copy, "--force")[0] == 0
