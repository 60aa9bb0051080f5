# SPDX-License-Identifier: Apache-2.0
"""The open synthesis flow: Yosys, nextpnr and bitstream packers, for the boards of `boards/`. See docs/synthesis.md."""
from hw.budget import Usage
from hw.synth.flow import synthesize
from hw.synth.report import ClockResult, DoesNotFit, SynthReport
from hw.synth.tools import SynthError

__all__ = ["ClockResult", "DoesNotFit", "SynthError", "SynthReport", "Usage", "synthesize"]
