# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in a simulation."""

from hw.errors import BitloomError


class SimulationError(BitloomError):
    """The simulation could not be built, died, hung, or broke a stream rule."""


class MismatchError(AssertionError):
    """The hardware's values differ from the golden ones. Names tensor, count and first place."""
