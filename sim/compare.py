# SPDX-License-Identifier: Apache-2.0
"""Equality of streams, with the place of the first difference."""

from __future__ import annotations

import numpy as np

from bitloom.sim.errors import MismatchError


def assert_equal_streams(name: str, got, want: np.ndarray, want_last: np.ndarray | None = None) -> None:
    """Raise MismatchError unless got.beats == want and got.last == want_last, everywhere.

    got        UnitResult or Record: beats int64 [n, lanes], last bool [n]
    want       integers [n, lanes], or anything of that many elements in stream order
    want_last  bool [n]; default: on the last beat only
    """
    beats = np.asarray(got.beats)
    want = np.asarray(want)
    if want.size == 0:
        raise MismatchError(f"{name}: 0 values to compare, must be at least 1; a comparison of nothing proves nothing")
    if want.size != beats.size:
        lanes = beats.shape[1]
        raise MismatchError(f"{name}: {len(beats)} beats of {lanes} came, must be {want.size / lanes:g} ({want.size} values); beats were lost or added")
    want = want.reshape(beats.shape)
    different = beats != want
    if different.any():
        beat, lane = np.argwhere(different)[0]
        raise MismatchError(
            f"{name}: {different.sum()} of {different.size} values differ; first: beat {beat} lane {lane} got {beats[beat, lane]}, must be {want[beat, lane]}"
        )
    want_last = np.arange(len(beats)) == len(beats) - 1 if want_last is None else np.asarray(want_last, dtype=bool)
    if want_last.shape != got.last.shape:
        raise MismatchError(f"{name}: `last` of {len(got.last)} beats came, must be {len(want_last)}")
    if (wrong := got.last != want_last).any():
        beat = int(np.argmax(wrong))
        raise MismatchError(
            f"{name}: `last` differs on {wrong.sum()} of {wrong.size} beats; first: beat {beat} got {int(got.last[beat])}, must be {int(want_last[beat])}"
        )
