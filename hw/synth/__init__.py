# SPDX-License-Identifier: Apache-2.0
"""The open synthesis flow: Yosys, nextpnr and bitstream packers, for the boards of `boards/`. See docs/synthesis.md."""

from bitloom.hw.cost.budget import Usage
from bitloom.hw.synth.flow import synthesize
from bitloom.hw.synth.report import ClockResult, DoesNotFit, SynthReport
from bitloom.hw.synth.tools import SynthError

__all__ = ["ClockResult", "DoesNotFit", "SynthError", "SynthReport", "Usage", "synthesize"]
