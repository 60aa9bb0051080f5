# SPDX-License-Identifier: Apache-2.0
"""sdram: the cycles of a 16-bit SDR SDRAM behind its controller (hw/rtl/board/sdram.sv), burst by burst."""

from __future__ import annotations

from dataclasses import dataclass

BEAT = 8  # bytes
READ = 4  # cycles from a beat's READ to the next one's
QUEUE = 4  # bursts that wait in the controller
BANKS = 4


@dataclass(frozen=True, kw_only=True)
class Sdram:
    """The controller's parameters, as in its header; times in ns. `start`: the cycle in which its refreshes begin to count."""

    clock_mhz: int
    column_bits: int = 9
    row_bits: int = 13
    capture: int = 2
    t_rcd: int = 20
    t_rp: int = 20
    t_ras: int = 45
    t_rc: int = 70
    t_rfc: int = 70
    refresh_ns: int = 64_000_000
    start: int = 0

    def cycles(self, ns: int) -> int:
        return -(-ns * self.clock_mhz // 1000)

    @property
    def interval(self) -> int:
        """Cycles between refreshes."""
        return (self.refresh_ns >> self.row_bits) * 15 // 16 * self.clock_mhz // 1000

    def port(self) -> Port:
        """Its read port, with nothing under way."""
        return Port(self)

    def alone(self, beats: int) -> int:
        """Cycles from AR accepted to the last of so many beats, where their rows are open and nothing is in their way."""
        return 9 + self.capture + READ * (beats - 1)


@dataclass
class Bank:
    """Its open row, and from which cycle on it may be opened, read, closed."""

    row: int | None = None
    openable: int = 0
    usable: int = 0
    closable: int = 0

    def open(self, row: int, cycle: int, memory: Sdram) -> None:
        self.row, self.usable = row, cycle + memory.cycles(memory.t_rcd)
        self.openable, self.closable = cycle + memory.cycles(memory.t_rc), cycle + memory.cycles(memory.t_ras)

    def close(self, cycle: int, memory: Sdram) -> None:
        self.row, self.openable = None, max(self.openable, cycle + memory.cycles(memory.t_rp))


class Port:
    """What is under way, in the controller's own steps: an AXI burst leaves the queue, its parts that lie in one row come next, are present, are read."""

    def __init__(self, memory: Sdram):
        self.memory, self.banks = memory, [Bank() for _ in range(BANKS)]
        self._pops: list[int] = []  # cycles in which the latest bursts left the queue
        self._loaded, self._taken = -2, -1  # in which the latest part came next, and was taken as the present one
        self._first, self._step, self._readable = 0, -1, 0  # of it, the first and the last READ; from when on another may follow
        self._bank: Bank | None = None
        self._due = memory.start + memory.interval - 1  # in which the next refresh falls due

    def burst(self, cycle: int, address: int, beats: int) -> tuple[int, int]:
        """(cycle in which AR is accepted, that in which the last beat is at R) of a burst whose AR is there from `cycle` on."""
        accepted = max(cycle, self._pops[0] + 1) if len(self._pops) == QUEUE else cycle
        waits = max(accepted + 1, self._loaded)
        self._pops = [*self._pops[-QUEUE + 1 :], waits]
        columns = (2 << self.memory.column_bits) // BEAT  # beats of a row
        while beats:
            row, column = divmod(address // BEAT, columns)
            part = min(beats, columns - column)
            self._loaded = waits = max(waits, self._taken) + 1
            self._read(self.banks[row % BANKS], row // BANKS, part)
            address, beats = address + BEAT * part, beats - part
        return accepted, self._step + self.memory.capture + 5

    def _read(self, bank: Bank, row: int, beats: int) -> None:
        """The part that came next in the cycle `_loaded`."""
        if bank is not self._bank and bank.row not in (None, row):
            self._close_early(bank)
        self._bank, self._taken = bank, max(self._loaded + 1, self._step)
        cycle, first = self._taken + 1, None
        while beats:
            opened = bank.row == row
            cycle = max(cycle, *((bank.usable, self._readable) if opened else (bank.openable if bank.row is None else bank.closable,)))
            if cycle > self._due + 1:
                cycle = max(cycle, self._refresh())
            elif opened:
                first = cycle if first is None else first
                reads = min(beats, (self._due + 1 - cycle) // READ + 1)
                self._step, beats = cycle + READ * (reads - 1), beats - reads
                self._readable = self._step + READ
                bank.closable = max(bank.closable, self._readable)
                cycle = self._step + 1
            elif bank.row is None:
                bank.open(row, cycle, self.memory)
                cycle += 1
            else:
                bank.close(cycle, self.memory)
                cycle += 1
        self._first = first

    def _close_early(self, bank: Bank) -> None:
        """Of the part that comes next, while the one before is read, in a cycle without a READ."""
        cycle = max(self._loaded + 1, bank.closable)
        if self._first <= cycle <= self._step and (self._step - cycle) % READ == 0:
            cycle += 1
        if cycle <= self._step:
            bank.close(cycle, self.memory)

    def _refresh(self) -> int:
        """The one that is due closes all; the first cycle behind it."""
        memory = self.memory
        closes = max(self._due + 2, *(bank.closable for bank in self.banks))
        begins = max(closes + 1, *(max(bank.openable, closes + memory.cycles(memory.t_rp)) for bank in self.banks))
        for bank in self.banks:
            bank.row, bank.openable = None, begins + memory.cycles(memory.t_rfc)
        self._due += memory.interval
        return begins + 1
