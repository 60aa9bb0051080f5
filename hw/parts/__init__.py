# SPDX-License-Identifier: Apache-2.0
"""What operators share in hardware, one part a file beside its hw/rtl/<part>.sv: timing, memories, multiplications and sizes.

`PARTS` are the modules that stand between operators, or between them and the memory; the others are inside of them, and are counted with them.
"""

from bitloom.hw.instance import Module
from bitloom.hw.parts import axi_fetch, by_turn, fifo, image_loader, loop, stream_fork, unfold

_BETWEEN = (axi_fetch, by_turn, fifo, image_loader, loop, stream_fork, unfold)
PARTS: dict[str, Module] = {part.MODULE.name: part.MODULE for part in _BETWEEN}
