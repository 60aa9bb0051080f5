# SPDX-License-Identifier: Apache-2.0
"""What the processes of the timing network ask for (hw/plan/timing.py), and the tokens that they get."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bitloom.hw.plan.timing import Channel, Fork


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


DECIDED = (Choose, Comes, Next)
Request = Get | Leave | Put | Choose | Comes | Next | Beside
Process = Generator[Request, Token | int | bool | tuple, None]
