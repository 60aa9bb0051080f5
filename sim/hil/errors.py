# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between the host and a board."""

from bitloom.hw.errors import BitloomError


class TargetError(BitloomError):
    """A board, or the way to it, that does not do what it must."""


class PortError(TargetError):
    """A port that is absent, busy, not allowed, or that went away."""


class SilentError(TargetError):
    """A board that says nothing, or nothing that can be understood."""


class WrongBitstreamError(TargetError):
    """A board that holds another graph than the host's, or speaks another version of the protocol."""


class SessionTakenError(TargetError):
    """Another program began a session on the same board."""
