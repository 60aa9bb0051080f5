# SPDX-License-Identifier: Apache-2.0
"""Networks: forward passes over operator modules, from which everything else about a network is derived."""
