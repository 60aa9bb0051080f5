# SPDX-License-Identifier: Apache-2.0
"""An encoder's RTL with its weights in external memory."""

import numpy as np
from encoder_bench import Encoder

from bitloom.hw import image
from bitloom.hw.plan.design import Design


def check(encoder: Encoder, **how) -> None:
    if "reset_within" in how:
        how["reset_within"] += image.load_cycles(Design(encoder.graph, encoder.folding))
    got, report = encoder.run(**how)
    assert report.ok and report.mismatches == 0, str(report)
    assert np.array_equal(got.fetched, image.reads(Design(encoder.graph, encoder.folding), encoder.lengths))
