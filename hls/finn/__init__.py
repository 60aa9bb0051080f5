# SPDX-License-Identifier: Apache-2.0
"""FINN backend: the integer graph in FINN's nodes, through FINN's own build steps. All contact with finn is in `tool`."""
