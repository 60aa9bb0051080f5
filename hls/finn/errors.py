# SPDX-License-Identifier: Apache-2.0
"""What the FINN backend refuses."""

from __future__ import annotations

from bitloom.hw.errors import BitloomError


class FinnError(BitloomError):
    """A graph, a part or an installation that FINN cannot take; one line that says what to do."""
