# SPDX-License-Identifier: Apache-2.0
"""Networks as forward passes over operators; everything else about them follows from one trace (bitloom.qat.net.network)."""
