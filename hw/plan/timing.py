# SPDX-License-Identifier: Apache-2.0
"""The timing model: a Kahn process network at token granularity, evaluated in cycles.

Each operator is a generator `timing(graph, node, fold, ins, out)`; channels carry `Token`s: the cycles in which a token's first and last beat
can be taken. On a row stream (scores, probabilities) the unit is a row. A process talks to the scheduler by yielding

    token = yield ins[0].get()                      wait for a token
    last = yield ins[0].leave(token, last)          ask when its last beat comes: behind a fork, other branches may delay it
    ins[0].popped(first, last)                      say in which cycles its first and last beat were taken (frees the FIFO)
    yield ins[0].beside(process)                    before all else: a further process of the unit. What is taken does not wait for what is given, wherever
                                                    the hardware has a buffer in between: two processes, which tell each other (`Told`)
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
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

from bitloom.hw.errors import BitloomError

UNBOUNDED = 1 << 60


class Meeting:
    """A token's way through a fork: a beat comes when all branches have taken the one before it.

    So the token's last beat leaves all FIFOs that are shorter than the token when it can leave the slowest.
    """

    def __init__(self, branches: int):
        self.branches = branches
        self.said: dict[Channel, int] = {}
        self.wakes: list[Callable[[], None]] = []  # of processes that wait until all have said

    def tell(self, channel: Channel, last: int) -> int | None:
        """Say when the token's last beat can leave a branch; the answer is when it can leave all (None: not yet known)."""
        self.said.setdefault(channel, last)
        if len(self.said) == self.branches:
            while self.wakes:
                self.wakes.pop()()
        return max(self.said.values()) if len(self.said) == self.branches else None


def span(rest: int, beats: int, whole: int, group: int) -> int:
    """Cycles from the beat with `rest` beats behind it to the token's last one, of `whole` from its first; `group` of them come at a time, one a cycle."""
    if group == 1 or beats <= group:
        return whole * rest // (beats - 1) if rest else 0
    groups, behind = divmod(rest, group)
    return (whole - group + 1) * groups // (beats // group - 1) + behind


class Token(NamedTuple):
    """first, last: cycles in which the token's first and last beat can be taken, if nothing makes it wait.

    end    it ends a sentence (or each row does)
    group  beats that come at a time, one a cycle
    depth  beats that the FIFO holds: no more of them can come before the reader has begun
    meeting  of the fork that it came through
    """

    first: int
    last: int
    beats: int
    end: bool
    group: int = 1
    depth: int = 1 << 60
    meeting: Meeting | None = None

    def taken(self, first: int) -> int:
        """The earliest cycle of the last beat if the first is taken in that cycle: the rest follows as fast as its producer makes it."""
        rest = max(0, self.beats - 1 - self.depth)
        return max(self.last, first + self.beats - 1, first + span(rest, self.beats, self.last - self.first, self.group))


class Get(NamedTuple):
    """A process's request: `answer` it (None: not yet), or `wait` until that may have changed. So have the other requests."""

    channel: Channel | Told

    def answer(self) -> Token | tuple | None:
        return self.channel.take()

    def wait(self, wake: Callable[[], None]) -> None:
        self.channel.on_token = wake


class Told:
    """What a process tells another one of its unit: a cycle, and whatever else; it never waits. The other one asks with `yield told.get()`."""

    def __init__(self) -> None:
        self._queue: deque[tuple] = deque()
        self._get = Get(self)
        self.on_token: Callable[[], None] | None = None  # wakes the process that waits

    def tell(self, *what: Any) -> None:
        self._queue.append(what)
        if (wake := self.on_token) is not None:
            self.on_token = None
            wake()

    def get(self) -> Get:
        return self._get

    @property
    def comes(self) -> int | None:
        """The cycle of what is told next, if it is known."""
        return self._queue[0][0] if self._queue else None

    def by(self, now: int) -> Comes:
        """Ask whether that is at most the cycle `now`."""
        return Comes(self, now)

    def take(self) -> tuple | None:
        return self._queue.popleft() if self._queue else None


class Leave(NamedTuple):
    channel: Channel
    token: Token
    last: int

    def answer(self) -> int | None:
        meeting = self.token.meeting
        return self.last if meeting is None else meeting.tell(self.channel, self.last)

    def wait(self, wake: Callable[[], None]) -> None:
        self.token.meeting.wakes.append(wake)


class Put(NamedTuple):
    channel: Channel | Fork
    first: int
    last: int
    beats: int
    end: bool
    group: int = 1
    meeting: Meeting | None = None

    def answer(self) -> tuple[int, int] | None:
        return self.channel.push(self)

    def wait(self, wake: Callable[[], None]) -> None:
        for channel in self.channel.branches:
            channel.on_room = wake


class Choose(NamedTuple):
    """Which comes first from the cycle `now` on, a token of one channel or of the other? True: of `one`, also when both do.

    Where only one of them is known, the other may yet turn out to be earlier: unless it is there by `now`, the answer waits until nothing else can go on.
    """

    one: Channel
    other: Channel
    now: int

    def answer(self) -> bool | None:
        one, other = self.one.comes, self.other.comes
        if one is not None and one <= self.now:
            return True
        return None if one is None or other is None else one <= max(self.now, other)

    @property
    def due(self) -> int | None:
        """The cycle in which it is decided, as far as is known."""
        one, other = self.one.comes, self.other.comes
        return None if one is None and other is None else max(self.now, other if one is None else one)

    def settle(self, until: int | None) -> bool:
        """The answer where nothing else can go on before `due`."""
        return self.one.comes is not None

    def wait(self, wake: Callable[[], None]) -> None:
        self.one.on_token = self.other.on_token = wake


class Comes(NamedTuple):
    """Does a channel's next token come by the cycle `now`? Where none is known, the answer waits until nothing else can go on."""

    channel: Channel | Told
    now: int

    def answer(self) -> bool | None:
        return None if (comes := self.channel.comes) is None else comes <= self.now

    @property
    def due(self) -> int:
        return self.now

    def settle(self, until: int | None) -> bool:
        return False

    def wait(self, wake: Callable[[], None]) -> None:
        self.channel.on_token = wake


class Next(NamedTuple):
    """What a server does next for several processes, which ask it in no order of cycles: answered when no earlier request can come.

    server  `due` is the cycle in which it decides, None where nothing is asked for; step(until) does so, and on until another may ask in the cycle `until`
    """

    server: Any

    def answer(self) -> None:
        return None

    @property
    def due(self) -> int | None:
        return self.server.due

    def settle(self, until: int | None) -> tuple:
        """What it did, if anything ended."""
        return self.server.step(until) or ()

    def wait(self, wake: Callable[[], None]) -> None:
        """Nobody wakes it: it is asked where nothing else can go on."""


class Beside(NamedTuple):
    """A unit's further process, which its first one asks for before anything else; answered at once."""

    process: Process


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


DECIDED = (Choose, Comes, Next)
Request = Get | Leave | Put | Choose | Comes | Next | Beside
Process = Generator[Request, Token | int | bool | tuple, None]


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
