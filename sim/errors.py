# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in a simulation."""

from bitloom.hw.errors import BitloomError


class SimulationError(BitloomError):
    """The simulation died, hung, or broke a stream rule."""


class BuildError(SimulationError):
    """The simulation could not be built: the machine's or the generator's fault, not a finding about the hardware."""


class MismatchError(AssertionError):
    """The hardware's values differ from the golden ones. Names tensor, count and first place."""
