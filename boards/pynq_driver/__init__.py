# SPDX-License-Identifier: Apache-2.0
"""Runs on a PYNQ board: loads an encoder's bitstream and serves it to one host at a time. Needs pynq 3.0 or newer (Python 3.10) and NumPy; see README.md."""
