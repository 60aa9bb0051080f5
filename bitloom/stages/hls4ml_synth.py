# SPDX-License-Identifier: Apache-2.0
"""hls4ml/synth: Vitis HLS on the HLS project, and its reports."""

from __future__ import annotations

import json

from bitloom.errors import VerificationError
from bitloom.flow import Context
from bitloom.hls.synth import synthesize
from bitloom.sim.errors import SimulationError


def run(context: Context) -> str:
    """Raises HlsError: no tool, or it failed. VerificationError: its simulation gave another value than the golden model."""
    try:
        report = synthesize(
            context.run.stage("hls4ml/build"),
            context.out,
            cosim=context.option("cosim", False),
            export=context.option("ip", True),
            progress=context.progress,
        )
    except SimulationError as error:
        raise VerificationError(f"synth: {error}") from error
    (context.out / "synth.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    used = report.estimate.resources
    return f"{report.tool}: " + ", ".join(f"{count:,} {name}" for name, count in used.items())
