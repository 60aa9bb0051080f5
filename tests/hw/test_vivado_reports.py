# SPDX-License-Identifier: Apache-2.0
"""What is read of Vivado's reports, of any version, and what is told of a text that is none."""

import re

import pytest
from vivado_stand_in import DATA

from bitloom.hw.board import Board
from bitloom.hw.synth import SynthError
from bitloom.hw.vivado.reports import read_timing, read_utilization, resources

UTILIZATION, TIMING = (DATA / "utilization.rpt").read_text(), (DATA / "timing.rpt").read_text()


def test_utilization_of_other_versions(tmp_path):
    """Without the column Prohibited (before 2020.2), with the names of UltraScale+."""
    text = re.sub(r"(?m)^(\|[^|]*\|[^|]*\|[^|]*)\|[^|]*(\|[^|]*\|[^|]*\|)$", r"\1\2", UTILIZATION).replace("Slice LUTs*", "CLB LUTs  ")
    text = text.replace("Slice Registers", "CLB Registers  ").replace(
        "| Block RAM Tile    | 57.5 |", "| URAM              |   16 |     0 |        96 | 16.67 |\n| Block RAM Tile    | 57.5 |"
    )
    assert "Prohibited" not in text
    (tmp_path / "u.rpt").write_text(text)
    used = resources(tmp_path / "u.rpt", Board.load("zcu104"))
    assert {name: use.used for name, use in used.items()} == {"lut": 21034, "ff": 24871, "dsp": 104, "RAMB18": 115, "URAM288": 16}
    assert used["lut"].available == 230400
    sites = read_utilization(tmp_path / "u.rpt")
    assert sites["Block RAM Tile"].used == 57.5 and sites["LUT as Distributed RAM"].available is None and "F8 Muxes" in sites


def test_timing(tmp_path):
    timing = read_timing(DATA / "timing.rpt")
    assert (timing.setup_ns, timing.hold_ns, timing.pulse_width_ns, timing.met) == (0.483, 0.017, 3.75, True)
    assert timing.periods_ns == {"clk_fpga_0": 10.0, "clkfbout_idle": 10.0} and timing.setup_by_clock_ns == {"clk_fpga_0": 0.483}
    # A number that is wider than its column keeps its sign.
    path = tmp_path / "t.rpt"
    path.write_text(TIMING.replace("      0.483        0.000 ", "  -1234.567        0.000 "))
    assert read_timing(path).setup_ns == -1234.567 and not read_timing(path).met
    path.write_text(TIMING.replace("        0.017        0.000 ", "       -0.017       -0.100 "))
    assert not read_timing(path).met, "hold counts too"
    path.write_text(
        TIMING.replace(
            "      0.483        0.000                      0                98765", "         NA           NA                     NA                   NA"
        )
    )
    assert read_timing(path).setup_ns is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("| Slice LUTs* ", "| Slice ALMs* ", "got no row Slice LUTs or CLB LUTs, must be there"),
        ("Site Type", "Type", "got no table of site types, must be a text of report_utilization"),
    ],
)
def test_bad_utilization(tmp_path, old, new, message):
    (tmp_path / "u.rpt").write_text(UTILIZATION.replace(old, new))
    with pytest.raises(SynthError, match=message):
        resources(tmp_path / "u.rpt", Board.load("pynq_z2"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: text.index("| Design Timing Summary")], "got no 'Design Timing Summary'"),
        (lambda text: text[: text.index("      0.483")], "got no row of 12 figures"),
        (
            lambda text: text.replace("All user specified timing constraints are met.", "There are no user specified timing constraints."),
            "without timing constraints",
        ),
        (lambda text: text[: text.index("| Clock Summary")], "got no 'Clock Summary'"),
    ],
)
def test_bad_timing(tmp_path, change, message):
    (tmp_path / "t.rpt").write_text(change(TIMING))
    with pytest.raises(SynthError, match=message):
        read_timing(tmp_path / "t.rpt")
    with pytest.raises(SynthError, match="got no such file or directory, must be a report that Vivado wrote"):
        read_timing(tmp_path / "none.rpt")
