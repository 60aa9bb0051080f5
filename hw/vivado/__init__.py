# SPDX-License-Identifier: Apache-2.0
"""Vivado projects of built encoders, for the boards of AMD's families. See docs/vivado.md."""

