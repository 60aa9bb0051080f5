# SPDX-License-Identifier: Apache-2.0
"""Runs on a PYNQ board: loads an encoder's bitstream and serves it to one host at a time. Needs Python 3.8, NumPy and pynq; see README.md."""
