// SPDX-License-Identifier: Apache-2.0
// What every file that Verilator writes begins with: parsed once, not in each of them (sim/runner.py).
#pragma once
#include "verilated.h"
#if VM_TIMING
#include "verilated_timing.h"
#endif
#include "verilated_vpi.h"
