# SPDX-License-Identifier: Apache-2.0
"""From an integer graph to its hardware: folding, the design, FIFO depths, timing, prediction."""
