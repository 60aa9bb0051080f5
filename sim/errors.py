# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in a simulation."""

from bitloom.hw.errors import BitloomError


class SimulationError(BitloomError):
    """The simulation died, hung, or broke a stream rule."""


class ToolError(SimulationError):
    """The simulation ended without a word about the hardware: it ran no test, was killed, or lost its records. Not a finding."""


class BuildError(ToolError):
    """The simulation could not be built: the machine's or the generator's fault."""


class MismatchError(AssertionError):
    """The hardware's values differ from the golden ones. Names tensor, count and first place."""
