# SPDX-License-Identifier: Apache-2.0
"""The rest of FINN's build where Vivado is on PATH: IP, FIFO sizing by simulation, stitched design, rtlsim, synthesis, bitfile. Not run here."""

from __future__ import annotations

from pathlib import Path

from bitloom.hls.finn import tool
from bitloom.hls.finn.errors import FinnError
from bitloom.hls.finn.lower import Lowered, run_step

LAST_WITHOUT_VIVADO = "step_generate_estimate_reports"


def implement(lowered: Lowered, folder: Path, *, clock_mhz: float, board: str | None = None) -> list[str]:
    """Take a folded graph through all steps of FINN's own list that come after the estimates; the names of those that ran.

    folder  of `lower`
    board   one of FINN's boards, for a bitfile; None ends with out-of-context synthesis
    Raises FinnError: no Vivado in the environment, or a step that fails.
    """
    if not tool.has_vivado():
        raise FinnError(
            "finn: got no XILINX_VIVADO in the environment, must name a Vivado installation for IP, rtlsim and bitfiles; source its "
            "settings64.sh, or stay with the estimates and the generated HDL"
        )
    with tool.session(folder) as finn:
        outputs = finn.config.DataflowOutputType
        wanted = [outputs.STITCHED_IP, outputs.RTLSIM_PERFORMANCE, outputs.OOC_SYNTH, *([outputs.BITFILE] if board else [])]
        config = finn.config.DataflowBuildConfig(
            output_dir=str(folder.absolute()), synth_clk_period_ns=1000.0 / clock_mhz, fpga_part=lowered.part, board=board, standalone_thresholds=True,
            folding_config_file=folder.absolute() / "folding_config.json", generate_outputs=wanted)  # fmt: skip
        names = finn.config.default_build_dataflow_steps
        model, done = finn.wrapper.ModelWrapper(str(lowered.folded)), []
        for name in names[names.index(LAST_WITHOUT_VIVADO) + 1 :]:
            model = run_step(getattr(finn.steps, name), model, config)
            done.append(name)
        model.save(str(folder / "implemented.onnx"))
    return done
