# SPDX-License-Identifier: Apache-2.0
"""Makes the shared helpers beside this file importable, and puts the longest files first, so that workers end together.

The simulations of the plain tests, which run a moment, are compiled with little effort.
"""

import gc
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Minutes to tens of seconds each, the longest first; those that wait for one another's tiny run (tests/bitloom) apart.
LONGEST = (
    "bitloom/test_tiny.py",
    "hw/test_synth.py",  # Yosys is translated in it, once a machine: others that use it had to wait
    "hw/test_encoder_rtl.py",
    "qat/test_train.py",
    "hls/test_encoders.py",
    "hls/test_operators.py",
    "bitloom/test_board_stages.py",
    "bitloom/test_hls4ml.py",
    "bitloom/test_finn.py",
    "bitloom/test_planted_faults.py",
    "bitloom/test_readme.py",
    "hil/test_board.py",
    "hw/test_streamed.py",
    "rtl/test_sdram.py",
    "sim/test_encoder.py",  # the last folder's: else one worker were left with it
    "sim/test_unit.py",
)


def pytest_collection_modifyitems(items):
    """A stable sort: within a file, and among the other files, the order stays."""
    here = Path(__file__).parent
    place = {str(here / name): index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(str(item.path), len(place)))


def pytest_runtest_setup(item) -> None:
    if item.get_closest_marker("slow"):
        os.environ.pop("BITLOOM_BUILD", None)
    else:
        os.environ["BITLOOM_BUILD"] = "quick"


@pytest.fixture(scope="module", autouse=True)
def imports_are_not_searched_for_garbage():
    """The Trainer collects garbage in every training, which in a toy training takes longer than its steps where all that is imported is searched too."""
    gc.collect()
    gc.freeze()
