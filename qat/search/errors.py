# SPDX-License-Identifier: Apache-2.0
"""The error of a search; apart, so that workers need not load torch to know it."""

from bitloom.hw.errors import BitloomError


class SearchError(BitloomError):
    """A search that cannot be made as asked."""
