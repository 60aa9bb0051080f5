# SPDX-License-Identifier: Apache-2.0
"""What bitloom takes of Brevitas. Brevitas asks torch._dynamo, which takes seconds to import, for what torch.compiler tells; so it gets that instead."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import torch

_alone = "torch._dynamo" not in sys.modules and "brevitas" not in sys.modules
if _alone:
    torch._dynamo = SimpleNamespace(is_compiling=torch.compiler.is_compiling)
try:
    import brevitas.nn as qnn
    from brevitas.core.function_wrapper.learned_round import LearnedRoundHardSigmoid
    from brevitas.inject import ExtendedInjector
    from brevitas.proxy import ActQuantProxyFromInjector, BiasQuantProxyFromInjector, WeightQuantProxyFromInjector
finally:
    if _alone:
        del torch._dynamo  # torch imports it where it is needed

__all__ = ["ActQuantProxyFromInjector", "BiasQuantProxyFromInjector", "ExtendedInjector", "LearnedRoundHardSigmoid", "WeightQuantProxyFromInjector", "qnn"]
