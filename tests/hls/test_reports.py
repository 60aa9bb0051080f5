# SPDX-License-Identifier: Apache-2.0
"""Reports of Vitis HLS: every figure is read, or the reader says which one is missing; modules find their tensors."""

import shutil
from pathlib import Path

import pytest

from bitloom.hls.errors import HlsError
from bitloom.hls.reports import Call, find_tensor, read_calls, read_cosim, read_csynth, read_modules

DATA = Path(__file__).parent / "data"
TOP = DATA / "syn" / "report" / "encoder_csynth.xml"
CALLS = [
    Call(stem=stem, cpp_name=name.replace(".", "_"), tensor=name)
    for stem, name in (
        ("linear", "layer.0.query.acc"),
        ("requant", "layer.0.query"),
        ("context", "layer.0.context.acc"),
        ("requant", "layer.0.context"),
        ("linear", "layer.1.query.acc"),
        ("linear", "layer.11.query.acc"),
        ("fork", "layer.0.query.fork"),
        ("to_axis", "m_axis"),
        ("from_axis", "embeddings.sum"),
    )
]
LONG = "context_beat_ap_uint_1u_beat_ap_int_1u_beat_ap_int_21_1u_config_layer_0_contebkb"


def test_top():
    got = read_csynth(TOP)
    assert (got.module, got.part, got.version) == ("encoder", "xc7z020-clg400-1", "2024.2")
    assert (got.clock_target_ns, got.clock_estimated_ns, got.latency_min, got.latency_max) == (10.0, 7.416, 512, 4090)


def test_unknown_cycles_are_none_and_not_zero():
    """The tool writes an interval of 0 where it does not know the latency."""
    path = DATA / "syn" / "report" / f"{LONG}_csynth.xml"
    assert "<Interval-min>0</Interval-min>" in path.read_text()
    got = read_csynth(path)
    assert (got.latency_min, got.latency_max, got.interval_min, got.interval_max) == (None,) * 4 and got.resources["LUT"] == 733


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("<Worst-caseLatency>4090</Worst-caseLatency>", ""), "got no PerformanceEstimates/SummaryOfOverallLatency/Worst-caseLatency, must be there"),
        (("<Interval-max>1986<", "<Interval-max>many<"), "Interval-max: got 'many', must be a whole number of cycles or undef"),
        (("<EstimatedClockPeriod>7.416<", "<EstimatedClockPeriod><"), "got no PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"),
        (("<TargetClockPeriod>10.00<", "<TargetClockPeriod>-<"), "UserAssignments/TargetClockPeriod: got '-', must be a number"),
        (("<LUT>28773</LUT>", ""), "got no AreaEstimates/Resources/LUT, must be there"),
        (("<URAM>0</URAM>\n</AvailableResources>", "</AvailableResources>"), "got no AreaEstimates/AvailableResources/URAM"),
        (("</profile>", ""), "got no XML"),
    ],
)
def test_broken_report(tmp_path, change, message):
    text = TOP.read_text()
    assert change[0] in text
    (tmp_path / "encoder_csynth.xml").write_text(text.replace(*change))
    with pytest.raises(HlsError, match=message):
        read_csynth(tmp_path / "encoder_csynth.xml")


def test_vivado_name_of_dsp(tmp_path):
    (tmp_path / "x.xml").write_text(TOP.read_text().replace("DSP>", "DSP48E>"))
    assert read_csynth(tmp_path / "x.xml").resources["DSP"] == 61


def test_modules():
    got = read_modules(TOP.parent, "encoder", CALLS)
    assert [(m.tensor, m.interval_max) for m in got] == [("layer.0.query.acc", 129), ("layer.0.query", 134), ("layer.0.context.acc", None), (None, None)]
    assert got[-1].module.endswith("_Pipeline_mvau") and got[-1].resources["DSP"] == 4


@pytest.mark.parametrize(
    ("module", "tensor"),
    [
        ("linear_beat_ap_int_1u_beat_ap_int_15_1u_config_layer_0_query_acc_s", "layer.0.query.acc"),
        ("linear_beat_ap_int_1u_beat_ap_int_15_1u_config_layer_11_query_acc_s", "layer.11.query.acc"),
        ("requant_beat_ap_int_1u_beat_ap_int_8_1u_config_layer_0_query_s", "layer.0.query"),
        ("fork_beat_ap_int_8_1u_config_layer_0_query_fork_s", "layer.0.query.fork"),
        ("from_axis_axis_array_ap_int_1u_0_0_0_beat_ap_int_10_1u_config_embeddings_sum_s", "embeddings.sum"),
        ("to_axis_beat_ap_int_1u_axis_array_ap_int_16_1u_0_0_0_config_m_axis_s", "m_axis"),
        (LONG, "layer.0.context.acc"),
        (LONG.replace("context_beat", "cxntext_beat"), None),  # cut, and of no operator
        ("linear_beat_ap_int_1u_beat_ap_int_15_1u_and_more_and_more_and_mor_config_layer_1bkb", None),  # cut: layer 1 or 11
        ("linear_beat_ap_int_1u_config_layer_0_query_acc_Pipeline_mvau", None),
        ("requant_code_ap_int_8_ap_int_15_config_layer_0_query_s", None),  # a function inside of it
        ("mvau_beat_ap_int_1u_beat_ap_int_15_1u_config_layer_0_query_acc_s", None),
        ("widen_beat_ap_int_1u_beat_ap_int_4u_s", None),
    ],
)
def test_module_names(module, tensor):
    assert find_tensor(module, CALLS) == tensor


def test_calls(tmp_path):
    """Those of layers that are used in turn, which call a header with the memory of the turn, stand in parameters.h."""
    source, turns = tmp_path / "encoder.cpp", tmp_path / "parameters.h"
    source.write_text("    bitloom::linear<a_t, b_t, config_layer_0_query_acc>(a, b, w); // layer.0.query.acc\n")
    turns.write_text(
        "    bitloom::requant<b_t, c_t, config_q>(b, c, m + q_bank[turn] * 8); // q\n    bitloom::move<8>(in, going);\n"
        "        if (bitloom::off_ramps<e_t, f_t, config_answer>(e, f, before, turn, t)) { // answer\n"
    )
    assert read_calls(tmp_path) == (CALLS[0], Call(stem="requant", cpp_name="q", tensor="q"), Call(stem="off_ramps", cpp_name="answer", tensor="answer"))
    source.write_text("int main() {}\n")
    turns.write_text("")
    with pytest.raises(HlsError, match="without a call of an operator, must be written by bitloom"):
        read_calls(tmp_path)


def test_cosim():
    got = read_cosim(DATA / "sim" / "report" / "encoder_cosim.rpt")
    assert (got.status, got.latency_min, got.latency_avg, got.latency_max, got.interval_avg) == ("Pass", 802, 1411, 2237, None)


def test_cosim_of_older_versions(tmp_path):
    """No column of the total time."""
    path = tmp_path / "encoder_cosim.rpt"
    path.write_text("|      VHDL|        NA|   NA|   NA|   NA|   NA|   NA|   NA|\n|   Verilog|      Fail|    1|    2|    3|    4|    5|    6|\n")
    got = read_cosim(path)
    assert (got.status, got.latency_min, got.interval_max) == ("Fail", 1, 6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "got 0 rows of Verilog, must be one"),
        ("| Verilog | Pass | 1 | 2 |\n", "must be one of 8 or 9 columns"),
        ("| Verilog | Pass | 1 | 2 | 3 | 4 | soon | 6 |\n", "got 'soon', must be a number of cycles or NA"),
    ],
)
def test_broken_cosim_report(tmp_path, row, message):
    (tmp_path / "encoder_cosim.rpt").write_text(row)
    with pytest.raises(HlsError, match=message):
        read_cosim(tmp_path / "encoder_cosim.rpt")


def test_missing_reports(tmp_path):
    for read, what in ((read_csynth, "csynth"), (read_cosim, "cosim")):
        with pytest.raises(HlsError, match=f"{what} report: got no .*, must be written by {what}_design"):
            read(tmp_path / "none")


def test_report_of_another_module_does_not_pass_for_the_top(tmp_path):
    shutil.copy(TOP, tmp_path)
    assert read_modules(tmp_path, "encoder", CALLS) == ()
