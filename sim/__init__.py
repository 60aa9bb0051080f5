# SPDX-License-Identifier: Apache-2.0
"""Simulation: cocotb benches for operators and whole encoders, and the comparison with golden tensors."""
