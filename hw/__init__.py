# SPDX-License-Identifier: Apache-2.0
"""Integer graph, operators, folding, timing and RTL generation. Never imports torch."""
