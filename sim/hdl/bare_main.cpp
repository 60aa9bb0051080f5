// SPDX-License-Identifier: Apache-2.0
// The fastest main loop that Verilator allows: no cocotb, no VPI, no event scheduler. Only the clock is driven.
#include "Vtop.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{&context};
    top.clk = 0;
    do {  // before the first evaluation, `done` has random bits too
        top.eval();
        top.clk = !top.clk;
        context.timeInc(1);
    } while (!top.done && !context.gotFinish());
    top.final();
    return 0;
}
