// SPDX-License-Identifier: Apache-2.0
// A board on a pseudo-terminal: clocks the board top, and is the UART at the far end of its two pins, bit by bit.
//   +fd=N       the pseudo-terminal's master     +divider=N  cycles of a bit
//   +idle=N     stop the clock after N cycles in which nothing moved on either pin, until a byte comes
// stdin: 'r' presses the reset button; its end turns the board off. Then a line `cycles dropped` is printed.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>

#include "Vtop.h"
#include "verilated.h"

static long plusarg(VerilatedContext& context, const char* name) {
    const std::string found = context.commandArgsPlusMatch(name);
    const size_t at = found.find('=');
    if (at == std::string::npos) {
        std::fprintf(stderr, "board: +%s=N is missing\n", name);
        std::exit(2);
    }
    return std::strtol(found.c_str() + at + 1, nullptr, 10);
}

// The host's transmitter: one frame of start bit, 8 data bits, stop bit on the pin after another.
struct Sender {
    std::deque<uint8_t> bytes;
    unsigned frame = 0;
    int bits = 0;
    long wait = 0;
    bool step(long divider) {
        if (wait > 0 && --wait > 0) return frame & 1;
        if (bits > 0) {
            frame >>= 1;
            if (--bits > 0) {
                wait = divider;
                return frame & 1;
            }
        }
        frame = 1;
        if (bytes.empty()) return true;
        frame = 0x200u | bytes.front() << 1;
        bytes.pop_front();
        bits = 10;
        wait = divider;
        return false;
    }
    bool busy() const { return bits > 0 || !bytes.empty(); }
};

// The host's receiver: samples in the middle of each bit.
struct Receiver {
    std::string bytes;
    unsigned frame = 0;
    int bits = -1;
    long wait = 0;
    void step(bool line, long divider) {
        if (bits < 0) {
            if (line) return;
            bits = 0;
            frame = 0;
            wait = divider / 2;
        }
        if (wait-- > 0) return;
        frame |= unsigned(line) << bits;
        wait = divider - 1;
        if (++bits < 10) return;
        if ((frame & 1) == 0 && line) bytes.push_back(char(frame >> 1 & 0xFF));
        bits = -1;
    }
    bool busy() const { return bits >= 0; }
};

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    const int fd = int(plusarg(context, "fd"));
    const long divider = plusarg(context, "divider"), idle = plusarg(context, "idle");
    // A host finds the board out of its reset; bytes into a running one are lost.
    const uint64_t reset_cycles = 32, power_up = 2 * reset_cycles, io_period = uint64_t(divider) * 10;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    Vtop top{&context};
    Sender sender;
    Receiver receiver;
    uint64_t cycle = 0, reset_until = reset_cycles, moved = 0, dropped = 0;
    bool line = true;
    top.clk = 0;
    for (;; ++cycle) {
        if (cycle % io_period == 0) {
            pollfd events[2] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
            const bool rest = cycle > moved + uint64_t(idle);
            poll(events, 2, rest ? 100 : 0);
            if (events[1].revents) {
                char command;
                if (read(STDIN_FILENO, &command, 1) <= 0) break;
                if (command == 'r') reset_until = cycle + reset_cycles;
                moved = cycle;
            }
            uint8_t buffer[256];
            if (cycle > power_up && sender.bytes.size() < sizeof buffer && events[0].revents & POLLIN) {
                const ssize_t count = read(fd, buffer, sizeof buffer);
                if (count > 0) sender.bytes.insert(sender.bytes.end(), buffer, buffer + count);
                moved = cycle;
            }
            if (!receiver.bytes.empty()) {  // what the terminal has no room for is lost, as on a real line
                const ssize_t count = write(fd, receiver.bytes.data(), receiver.bytes.size());
                dropped += receiver.bytes.size() - size_t(count > 0 ? count : 0);
                receiver.bytes.clear();
            }
            if (rest && moved != cycle) {
                --cycle;  // the clock stands still
                continue;
            }
        }
        line = sender.step(divider);
        top.rst = cycle < reset_until;
        top.uart_rx = line;
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        receiver.step(top.uart_tx, divider);
        if (sender.busy() || receiver.busy()) moved = cycle;
        context.timeInc(1);
    }
    top.final();
    std::printf("%llu %llu\n", static_cast<unsigned long long>(cycle), static_cast<unsigned long long>(dropped));
    return 0;
}
