# SPDX-License-Identifier: Apache-2.0
"""The timing network itself: forks whose branches wait for each other, full FIFOs, deadlocks."""

import pytest

from bitloom.hw.parts.banks import Banks
from bitloom.hw.plan.requests import Next, Told
from bitloom.hw.plan.timing import Channel, DeadlockError, Fork, run, sink, source

BEATS, TOKENS = 8, 5


def reader(channel: Channel, cycles: int, taken: list[int]):
    """Double-buffered, busy for so many cycles with each token; notes when it has taken each."""
    buffer, done = Banks(channel), -1
    yield channel.beside(buffer.each())
    while True:
        whole, *_ = yield buffer.whole.get()
        taken.append(whole - 1)
        done = max(taken[-1], done) + cycles
        buffer.done(done)


def fork(fast_depth: int, slow_cycles: int, fast_cycles: int = 1) -> tuple[list[int], list[int]]:
    """Cycles in which a fast and a slow reader behind one fork have taken each token."""
    fast, slow = Channel("fast", depth=fast_depth), Channel("slow", depth=2)
    taken: tuple[list[int], list[int]] = [], []
    processes = {
        "source": source(Fork([fast, slow]), [TOKENS], BEATS),
        "fast": reader(fast, fast_cycles, taken[0]),
        "slow": reader(slow, slow_cycles, taken[1]),
    }
    run(processes, [fast, slow])
    return taken


def test_short_branches_of_a_fork_end_a_token_together():
    """Beat 3 of a token cannot come before the slow branch has room for it, for either branch."""
    fast, slow = fork(fast_depth=2, slow_cycles=50)
    assert fast == slow and [b - a for a, b in zip(slow[2:], slow[3:], strict=False)] == [50] * (TOKENS - 3)


def test_a_fork_without_a_slow_branch_costs_nothing():
    assert fork(fast_depth=2, slow_cycles=1) == ([8 * (i + 1) for i in range(TOKENS)],) * 2


def test_a_deep_branch_holds_tokens_for_a_slow_reader_elsewhere():
    """The token that the slow branch keeps waiting has left the fork for the deep one as far as it can."""
    fast, slow = fork(fast_depth=TOKENS * BEATS, slow_cycles=50)
    assert all(a <= b for a, b in zip(fast, slow, strict=True)) and fast[-1] < slow[-1]


def late_join(short: Channel, long: Channel, held: int):
    """Needs `held` tokens of one input before it takes the first of the other."""
    for _ in range(held):
        token = yield long.get()
        long.popped(token.first, token.last)
    while True:
        token = yield short.get()
        short.popped(token.first, token.last)


@pytest.mark.parametrize(("depth", "held", "stuck"), [(4 * BEATS, 5, False), (2 * BEATS, 5, True)])
def test_a_short_fifo_on_a_reconvergent_path_is_a_deadlock(depth, held, stuck):
    short, long = Channel("short", depth=depth), Channel("long", depth=2 * BEATS)
    processes = {"source": source(Fork([short, long]), [held], BEATS), "join": late_join(short, long, held)}
    if not stuck:
        return run(processes, [short, long])
    with pytest.raises(DeadlockError, match="deadlock at .*source.*; a FIFO on a reconvergent path is too shallow"):
        run(processes, [short, long])


@pytest.mark.parametrize("depth", [2, 8, 100])
def test_a_sink_that_takes_all_never_makes_a_token_wait(depth):
    channel = Channel("c", depth=depth)
    run({"source": source(channel, [TOKENS], BEATS), "sink": sink(channel)}, [channel])
    assert [t.last for t in channel.log] == [BEATS * (i + 1) - 1 for i in range(TOKENS)]


@pytest.mark.parametrize("turn", range(3))
def test_the_order_of_processes_changes_nothing(turn):
    """Kahn: whoever runs first, the cycles are the same."""
    fast, slow = Channel("fast", depth=3), Channel("slow", depth=2)
    taken: tuple[list[int], list[int]] = [], []
    named = [("source", source(Fork([fast, slow]), [TOKENS], BEATS)), ("fast", reader(fast, 3, taken[0])), ("slow", reader(slow, 50, taken[1]))]
    run(dict(named[turn:] + named[:turn]), [fast, slow])
    assert (taken[0], taken[1]) == fork(fast_depth=3, slow_cycles=50, fast_cycles=3)


def test_a_network_is_run_without_asking_in_vain():
    """A process is asked again only when what it waits for has come: a long chain costs what its tokens cost."""
    asked = []

    class Counting(Channel):
        def take(self):
            asked.append(self.name)
            return super().take()

    links = [Counting(f"c{i}", depth=2) for i in range(30)]

    def link(i):
        while True:
            token = yield links[i].get()
            links[i].popped(token.first, token.last)
            yield links[i + 1].put(token.first + 1, token.last + 1, token.beats, token.end)

    run({"sink": sink(links[-1])} | {f"p{i}": link(i) for i in range(29)} | {"source": source(links[0], [TOKENS], 1)}, links)
    assert len(asked) <= 2 * TOKENS * len(links) + len(links)


def asks(channel: Channel, out: Channel, now: int, answers: list):
    """Notes whether a token comes by that cycle; if not, gives one out in the next cycle."""
    answers.append((yield channel.by(now)))
    if not answers[-1]:
        yield out.put(now + 1, now + 1, 1, True)
    while True:
        token = yield channel.get()
        channel.popped(token.first, token.last)


@pytest.mark.parametrize(("one", "other", "answers"), [(5, 9, [[False], [True]]), (9, 5, [[True], [False]]), (5, 6, [[False], [False]])])
def test_of_two_that_wait_for_each_other_the_earlier_one_is_answered(one, other, answers):
    """Nothing can come before the earlier cycle; what its process then gives may come in time for the other."""
    there, back = Channel("there", latency=1), Channel("back", latency=1)
    got: list[list[bool]] = [[], []]
    run({"one": asks(back, there, one, got[0]), "other": asks(there, back, other, got[1])}, [there, back])
    assert got == answers


def test_a_unit_of_two_processes_gives_while_it_waits():
    """The one that gives is stalled by a full channel; the other goes on taking."""

    def give(inner: Told, out: Channel):
        while True:
            cycle, end = yield inner.get()
            yield out.put(cycle + 1, cycle + 1, 1, end)

    def take(channel: Channel, out: Channel):
        inner = channel.told()
        yield channel.beside(give(inner, out))
        while True:
            token = yield channel.get()
            channel.popped(token.first, token.last)
            taken.append(token.first)
            inner.tell(token.first, token.end)

    taken: list[int] = []
    entry, out = Channel("entry"), Channel("out", depth=1)
    run({"source": source(entry, [4], 1), "unit": take(entry, out), "sink": sink(out)}, [entry, out])
    assert taken == [1, 2, 3, 4] and [token.first for token in out.log] == [2, 4, 6, 8]


class Counter:
    """A server that does what is asked for in the order of cycles, each a cycle behind the one before."""

    def __init__(self):
        self.waiting: list[tuple[int, str]] = []
        self.served: list[tuple[int, str]] = []

    @property
    def due(self) -> int | None:
        free = self.served[-1][0] + 1 if self.served else 0
        return max(free, min(self.waiting)[0]) if self.waiting else None

    def step(self, until: int | None) -> tuple[int, str]:
        due = self.due
        _, who = self.waiting.pop(self.waiting.index(min(self.waiting)))
        self.served.append((due, who))
        return due, who


@pytest.mark.parametrize("turn", range(3))
def test_a_server_is_asked_in_the_order_of_cycles(turn):
    """The late one is evaluated first, and the quick one asks again when it is served: before the late one's cycle."""
    counter, told = Counter(), {"quick": Told(), "late": Told()}

    def client(who: str, asks: int, cycle: int):
        for _ in range(asks):
            counter.waiting.append((cycle, who))
            (served,) = yield told[who].get()
            cycle = served + 3

    def serve():
        while True:
            cycle, who = yield Next(counter)
            told[who].tell(cycle)

    named = [("late", client("late", 2, 10)), ("quick", client("quick", 4, 2)), ("server", serve())]
    run(dict(named[turn:] + named[:turn]), [])
    assert counter.served == [(2, "quick"), (5, "quick"), (8, "quick"), (10, "late"), (11, "quick"), (13, "late")]
