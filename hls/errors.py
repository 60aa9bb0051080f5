# SPDX-License-Identifier: Apache-2.0
"""What the HLS backend refuses."""

from bitloom.hw.errors import BitloomError


class HlsError(BitloomError):
    """A graph, board, tool or folder that no HLS project can be made with."""
