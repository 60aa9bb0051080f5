# SPDX-License-Identifier: Apache-2.0
"""From the integer graph to other compilers' hardware: C++ for high-level synthesis through hls4ml, FINN dataflow.

`bitloom.hls.to_hls4ml` and `bitloom.hls.pad` import hls4ml when they are first used: without it the rest of this package works.
"""


def __getattr__(name: str) -> object:
    if name in ("to_hls4ml", "pad"):
        from bitloom.hls import project

        return getattr(project, name)
    raise AttributeError(f"module 'hls' has no attribute '{name}'")
