# SPDX-License-Identifier: Apache-2.0
"""Vivado projects of built encoders, for the boards of AMD's families. See docs/vivado.md."""

from bitloom.hw.vivado.overlay import pack_overlay
from bitloom.hw.vivado.project import write_project
from bitloom.hw.vivado.runner import build_project, collect, find_vivado

__all__ = ["build_project", "collect", "find_vivado", "pack_overlay", "write_project"]
