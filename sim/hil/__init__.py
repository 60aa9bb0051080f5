# SPDX-License-Identifier: Apache-2.0
"""Hardware-in-the-loop: sentences to a board, or to a simulation of one, and every answer checked (docs/hil.md)."""
