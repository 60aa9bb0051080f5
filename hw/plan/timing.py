# SPDX-License-Identifier: Apache-2.0
"""The timing model: a Kahn process network at token granularity, evaluated in cycles.

Each operator is a generator `timing(graph, node, fold, ins, out)`; channels carry `Token`s: the cycles in which a token's first and last beat
can be taken. On a row stream (scores, probabilities) the unit is a row. A process talks to the scheduler by yielding (hw/plan/requests.py)

    token = yield ins[0].get()                      wait for a token
    last = yield ins[0].leave(token, last)          ask when its last beat comes: behind a fork, other branches may delay it
    ins[0].popped(first, last)                      say in which cycles its first and last beat were taken (frees the FIFO)
    yield ins[0].beside(process)                    before all else: a further process of the unit. What is taken does not wait for what is given, wherever
                                                    the hardware has a buffer in between: two processes, which tell each other (`requests.Told`)
    first, last = yield out.put(first, last, beats, end)   send a token; first/last are the earliest cycles in which its beats can move
                                                    at the output, the answer says when they did (later, where the FIFO was full); its beats come
                                                    at equal distances, or, with `group`, so many of them at a time, one a cycle

A process keeps its own state between tokens (when its buffers, multipliers, output register are free again). It never looks at a clock, so the result
does not depend on the order of evaluation (Kahn 1974; `Choose`, `Comes` and `Next` are answered when it cannot depend on it: where all wait, nothing can come
before the earliest cycle that one of them decides in, so that one is answered), and a network that cannot go on with tokens left is a deadlock, which raises.
Cycles: a beat moves in cycle t when valid and ready are both high in it. A FIFO or register that takes a beat in t offers it in t + 1.

The exact contract is per operator (hw/plan/node_timing.py). For a whole encoder the token granularity leaves an error below 1 %.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from bitloom.hw.errors import BitloomError
from bitloom.hw.plan.requests import DECIDED, Beside, Choose, Comes, Get, Leave, Meeting, Next, Process, Put, Token, Told, span

UNBOUNDED = 1 << 60


class DeadlockError(BitloomError):
    """The network cannot go on although tokens are left."""


class Channel:
    """A FIFO between two processes.

    depth    beats it holds; latency: cycles from a beat's entry to its being offered
    """

    def __init__(self, name: str, depth: int = UNBOUNDED, latency: int = 1):
        self.name, self.depth, self.latency = name, depth, latency
        self.branches = (self,)  # as a Fork has them
        self.memory = None  # that its reader fetches from (hw/plan/predict.py: Client)
        self.turns: Sequence[int] | int = 0  # in which sentences come: all in that one, or each in its own (hw/parts/loop.py)
        self.borders: Sequence[int] | None = None  # tokens of the first sentences of pairs (hw/keys.py); None: not known
        self.tokens: deque[Token] = deque()
        self.log: list[Token] = []  # every token, with the cycles in which it entered
        self._taken: deque[tuple[int, Token]] = deque()  # (first beat, token), got and not yet popped
        self._pops: deque[tuple[int, int, int, int, int, int]] = deque()  # (first beat, beats, first cycle, last cycle, pace, group)
        self._pushed = self._got = self._popped = 0  # beats
        self._entered: tuple[int, int] | None = None  # cycles of the token that is entering
        self._get = Get(self)
        self.on_token: Callable[[], None] | None = None  # wakes the process that waits for a token
        self.on_room: Callable[[], None] | None = None  # wakes the one that waits for room

    @property
    def comes(self) -> int | None:
        """The cycle of the token that comes next, if it is known."""
        return self.tokens[0].first if self.tokens else None

    def told(self) -> Told:
        """Between two processes of its reader."""
        return Told()

    def beside(self, process: Process) -> Beside:
        """Ask for a second process of its reader."""
        return Beside(process)

    def turn(self, sentence: int) -> int:
        """In which a sentence comes that has begun to."""
        return self.turns if isinstance(self.turns, int) else self.turns[sentence]

    def border(self, sentence: int) -> int | None:
        """Of a sentence of which something has come; None: not known."""
        return None if self.borders is None else self.borders[sentence]

    def get(self) -> Get:
        return self._get

    def put(self, first: int, last: int, beats: int, end: bool, group: int = 1) -> Put:
        return Put(self, first, last, beats, end, group)

    def before(self, other: Channel, now: int) -> Choose:
        """Ask whether this channel's next token comes first from the cycle `now` on, or the other's."""
        return Choose(self, other, now)

    def by(self, now: int) -> Comes:
        """Ask whether this channel's next token comes by the cycle `now`."""
        return Comes(self, now)

    def leave(self, token: Token, last: int) -> Leave:
        """Ask when a token's last beat leaves; `last` is when it could, but for the other branches of a fork."""
        return Leave(self, token, last)

    def popped(self, first: int, last: int, pace: int | None = None) -> None:
        """The oldest token that was got left the FIFO in the cycles first .. last.

        pace  cycles from the first to the last beat had it not been stalled; a stall is early in a token: after it, the rest moves at this pace
        """
        start, token = self._taken.popleft()
        beats = token.beats
        if token.meeting is not None:
            token.meeting.tell(self, last)  # for readers that do not ask
        if self.depth < UNBOUNDED:
            self._pops.append((start, beats, first, last, last - first if pace is None else pace, token.group))
        self._popped = start + beats
        if (wake := self.on_room) is not None:
            self.on_room = None
            wake()

    def take(self) -> Token | None:
        if not self.tokens:
            return None
        token = self.tokens.popleft()
        self._taken.append((self._got, token))
        self._got += token.beats
        return token

    def push(self, put: Put) -> tuple[int, int] | None:
        """Enter a token: the cycles of its first and last beat; None while it is not known when the FIFO has room.

        A token longer than the FIFO is offered to its reader at once; the answer waits until the reader has taken all but
        the beats that the FIFO holds.
        """
        whole = put.beats <= self.depth
        if self._entered is None:
            if self._pushed - self.depth + (put.beats - 1 if whole else 0) >= self._popped:
                return None
            first = max(put.first, self._freed(self._pushed - self.depth))
            last = max(put.last, first + put.beats - 1, self._unblocked(put) if whole else 0)
            meeting = None if whole else put.meeting
            self.tokens.append(Token(first + self.latency, last + self.latency, put.beats, put.end, put.group, self.depth, meeting))
            self._pushed += put.beats
            self._entered = (first, last)
            if (wake := self.on_token) is not None:
                self.on_token = None
                wake()
        if not whole and self._pushed - 1 - self.depth >= self._popped:
            return None
        first, last = self._entered
        last = last if whole else max(last, self._freed(self._pushed - 1 - self.depth))
        self._entered = None
        if whole and put.meeting is not None:
            put.meeting.tell(self, last + self.latency)
        self.log.append(Token(first, last, put.beats, put.end))
        return first, last

    def _unblocked(self, put: Put) -> int:
        """When the token's last beat can enter: after each beat that may have to wait for room, the rest comes at its producer's pace.

        The waiting is longest at the token's first or last beat or where the room of a later token begins.
        """
        start, pace = self._pushed - self.depth, put.last - put.first
        begins = [begin - start for begin, *_ in self._pops if start < begin < start + put.beats]
        return max(self._freed(start + beat) + span(put.beats - 1 - beat, put.beats, pace, put.group) for beat in (0, *begins, put.beats - 1))

    def _freed(self, beat: int) -> int:
        """The cycle from which the room of that beat can be used again."""
        if beat < 0:
            return 0
        while self._pops[0][0] + self._pops[0][1] <= beat:
            self._pops.popleft()
        start, beats, first, last, pace, group = self._pops[0]
        return 1 + max(first, last - span(beats - 1 - beat + start, beats, pace, group))


class Fork:
    """One stream to several FIFOs: each takes a beat when it can, the producer goes on when all have."""

    def __init__(self, branches: Sequence[Channel]):
        self.branches = branches
        self._moved: dict[int, tuple[int, int]] = {}  # the branches that have taken the present token
        self._meeting = Meeting(len(branches))

    def put(self, first: int, last: int, beats: int, end: bool, group: int = 1) -> Put:
        return Put(self, first, last, beats, end, group)

    def push(self, put: Put) -> tuple[int, int] | None:
        put = put._replace(meeting=self._meeting)
        for index, branch in enumerate(self.branches):
            if index not in self._moved and (moved := branch.push(put)) is not None:
                self._moved[index] = moved
        if len(self._moved) < len(self.branches):
            return None
        firsts, lasts = zip(*self._moved.values(), strict=True)
        self._moved, self._meeting = {}, Meeting(len(self.branches))
        return max(firsts), max(lasts)


def run(processes: dict[str, Process], channels: Sequence[Channel]) -> None:
    """Run all processes until no token is left on the way.

    Raises DeadlockError: tokens are left that no process can take.
    """
    processes, pending = dict(processes), {}
    for name, process in list(processes.items()):
        while isinstance(request := process.send(None), Beside):
            processes[further := f"{name} beside {len(processes)}"] = request.process
            pending[further] = request.process.send(None)
        pending[name] = request
    ready, deciding = deque(processes), {}  # deciding: those of the pending requests that are answered where nothing else can go on
    wakes = {name: partial(ready.append, name) for name in processes}
    while ready or (chosen := _settled(deciding)) is not None:
        name, answer = (ready.popleft(), None) if ready else chosen
        if name not in pending:
            continue
        send, request = processes[name].send, pending.pop(name)
        deciding.pop(name, None)
        try:
            answer = request.answer() if answer is None else answer
            while answer is not None:
                request = send(answer)
                answer = request.answer()
        except StopIteration:
            continue
        pending[name] = request
        if isinstance(request, DECIDED):
            deciding[name] = request
        request.wait(wakes[name])
    stuck = [n for n, request in pending.items() if not isinstance(request, (Get, *DECIDED))] + [c.name for c in channels if c.tokens]
    if stuck:
        raise DeadlockError(f"timing: deadlock at {', '.join(stuck)}; a FIFO on a reconvergent path is too shallow")


def _settled(deciding: dict[str, Choose | Comes | Next]) -> tuple[str, bool | tuple] | None:
    """Where no process can go on: of those that may decide now, the one that does so in the earliest cycle, and its answer."""
    found = sorted([(due, name, request) for name, request in deciding.items() if (due := request.due) is not None])
    if not found:
        return None
    _, name, request = found[0]
    return name, request.settle(found[1][0] if len(found) > 1 else None)


def source(out: Channel, lengths: Sequence[int], beats: int, always_valid: bool = False, starts: Sequence[int] | None = None) -> Process:
    """Sentences back to back, one beat a cycle; `always_valid` offers everything from cycle 0 (the unit benches' source).

    starts  the earliest cycle of each sentence's first beat
    """
    now = 0
    for sentence, length in enumerate(lengths):
        now = max(now, starts[sentence] if starts else 0)
        for index in range(length):
            first, last = (0, 0) if always_valid else (now, now + beats - 1)
            _, last = yield out.put(first, last, beats, index == length - 1)
            now = last + 1


def sink(source_channel: Channel) -> Process:
    """Takes every beat at once."""
    while True:
        token = yield source_channel.get()
        source_channel.popped(token.first, token.last)
