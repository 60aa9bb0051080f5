# SPDX-License-Identifier: Apache-2.0
"""What operators share in hardware, one part a file beside its hw/rtl/<part>.sv: timing, memories, multiplications and sizes.

`PARTS` are the modules that stand between operators, or between them and the memory; the others are inside of them, and are counted with them.
"""

from bitloom.hw.instance import Module
from bitloom.hw.parts import axi_fetch, fifo, loop, stream_fork, unfold

PARTS: dict[str, Module] = {part.name: part for part in (axi_fetch.MODULE, fifo.MODULE, loop.MODULE, stream_fork.MODULE, unfold.MODULE)}
