# SPDX-License-Identifier: Apache-2.0
"""Bits of each layer, chosen for a task and a board: measured sensitivity on one side, the hardware's own costs on the other."""
