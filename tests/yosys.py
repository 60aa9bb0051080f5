# SPDX-License-Identifier: Apache-2.0
"""Yosys for tests of their own scripts."""

import subprocess
from pathlib import Path

import pytest

from bitloom.hw.synth.tools import SynthError, ready


def run_yosys(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`yosys ARGUMENTS` in a folder (it sees no other one); skips the test where Yosys is missing."""
    try:
        tool = ready("yosys")
    except SynthError as error:
        pytest.skip(str(error))
    return subprocess.run([*tool.command, *arguments], cwd=folder, capture_output=True, text=True, check=False)
