# SPDX-License-Identifier: Apache-2.0
"""From the integer graph to C++ for high-level synthesis, through hls4ml."""
