# SPDX-License-Identifier: Apache-2.0
"""Makes the shared helpers beside this file importable; compiles the simulations of the plain tests, which run a moment, with little effort."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_runtest_setup(item) -> None:
    if item.get_closest_marker("slow"):
        os.environ.pop("BITLOOM_BUILD", None)
    else:
        os.environ["BITLOOM_BUILD"] = "quick"
