# SPDX-License-Identifier: Apache-2.0
"""How many random one-line faults of the RTL do the benches see?

python -m benchmarks.mutants [--seed 1] [--count 100] [--only FILE] [--run N] [--out DIR] [--again]
Each fault is judged by its module's unit bench (plain tests) and, if that passes, by simulated encoders with stalls. Those that survive both are a hole
in the benches, or listed in EQUIVALENT with the reason why nothing differs. Verdicts are kept in DIR/mutants-SEED.json; a killed campaign goes on where it
was. Exit code 1: some survived.
"""

from __future__ import annotations

import argparse
import difflib
import fcntl
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from benchmarks.mutants_draw import KINDS, Mutant, draw, rtl_files
from benchmarks.mutants_judge import NO_BENCH, Judge, MutantError, Verdict

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("unit", "verify", "equivalent", "survived")
# (file, which of the lines that read so, line, what it becomes): why no behaviour differs. An entry that a bench sees is an error.
EQUIVALENT: dict[tuple[str, int, str, str], str] = {
    (
        "hw/rtl/turns.sv",
        1,
        "wire unused = &{1'b0, clk, rst, bus, enter, turn, done, next};",
        "wire unused = &{1'b1, clk, rst, bus, enter, turn, done, next};",
    ): "nothing reads this wire: it only tells linters that its inputs are left aside",
    (
        "hw/rtl/requant.sv",
        1,
        "m_data[i*OUT_W +: OUT_W] <= OUT_W'(top > high ? high : top < low ? low : top);",
        "m_data[i*OUT_W +: OUT_W] <= OUT_W'(top >= high ? high : top < low ? low : top);",
    ): "where top is high both branches give high",
    (
        "hw/synth/rtl/reset_sync.sv",
        1,
        "logic [COUNT_W-1:0] count_q = '0;  // cycles without a reason for reset",
        "logic [COUNT_W-1:0] count_q = '1;  // cycles without a reason for reset",
    ): "good_q begins at 0, so the first edge clears count_q, and until then run_q does not read it: it begins at 0 and stays there without good_q[1]",
    (
        "hw/rtl/layernorm_scale.sv",
        1,
        "localparam int SumW = ((WideW > SHIFT + MORE + 1) ? WideW : SHIFT + MORE + 1) + 2;",
        "localparam int SumW = ((WideW >= SHIFT + MORE + 1) ? WideW : SHIFT + MORE + 1) + 2;",
    ): "where the two are equal both branches give the same",
    (
        "hw/rtl/linear.sv",
        1,
        "for (int i = 0; i < LANES_OUT; i++)",
        "for (int i = 0; i <= LANES_OUT; i++)",
    ): "the step more writes to a part of m_data that is not there, which has no effect (IEEE 1800-2017, 11.5.1)",
    (
        "hw/rtl/mac_array.sv",
        1,
        'localparam bit Added = MUL_STYLE == "lut" || W_W == 1;  // products are sums',
        'localparam bit Added = MUL_STYLE == "lut" || W_W != 1;  // products are sums',
    ): "sums of shifts are the products, and both branches behind are a register with `en`: so is product_reg, for synthesis to find a multiplier's own",
    (
        "hw/rtl/board/link_rx.sv",
        1,
        "beats_q <= '0;",
        ";",
    ): "read only behind the header, whose every bit has written it; a reset and a flag begin with a header",
    (
        "hw/rtl/board/link_out.sv",
        1,
        "{room_q, worth, answered} <= '0;",
        "{worth, answered} <= '0;",
    ): "differs in the first cycle after a reset alone, when all places are free: no word is there then, as stamps_left_q and the encoder are reset too",
    (
        "hw/rtl/ring.sv",
        1,
        "over = (AtW + 1)'(base) + (AtW + 1)'(by) - (AtW + 1)'(Size);",
        "over = (AtW + 1)'(base) + (AtW - 1)'(by) - (AtW + 1)'(Size);",
    ): "AtW - 1 bits are $clog2(DEPTH), which hold `by` <= DEPTH but where DEPTH is a power of two, and then `over` is not read (Wraps = 0); "
    "of DEPTH 1 it does not compile",
    (
        "hw/rtl/ring.sv",
        1,
        "localparam bit Wraps = (1 << AtW) != Size;  // else addresses wrap by themselves",
        "localparam bit Wraps = (1 >> AtW) != Size;  // else addresses wrap by themselves",
    ): "Wraps is then 1 for a power of two also, where base + by - Size has the same AtW low bits as base + by",
}


class Store:
    """Verdicts by what was changed, in a JSON file that is whole at any time."""

    def __init__(self, path: Path):
        self.path, self.records = path, {}
        if path.is_file():
            for record in json.loads(path.read_text()):
                mutant = Mutant(**record["mutant"])
                self.records[mutant.change] = mutant, Verdict(**record["verdict"])

    def get(self, mutant: Mutant) -> Verdict | None:
        return self.records.get(mutant.change, (None, None))[1]

    def put(self, mutant: Mutant, verdict: Verdict) -> None:
        self.records[mutant.change] = mutant, verdict
        new = self.path.with_suffix(".tmp")
        new.write_text(json.dumps([{"mutant": asdict(m), "verdict": asdict(v)} for m, v in self.records.values()], indent=1) + "\n")
        os.replace(new, self.path)


def files_of(only: str | None) -> list[str]:
    """The files that have a bench, or the one that is asked for."""
    files = [file for file in rtl_files(ROOT) if file not in NO_BENCH]
    if only is None:
        return files
    found = [file for file in files if only in (file, Path(file).name, Path(file).stem)]
    if not found:
        near = difflib.get_close_matches(only, [*files, *(Path(f).stem for f in files)], n=1)
        raise MutantError(f"--only: got {only!r}, must be RTL that has a bench{f'; did you mean {near[0]!r}?' if near else '; known: ' + ' '.join(files)}")
    return found


def named(mutant: Mutant, verdict: Verdict) -> str:
    """The column that it counts in."""
    return "equivalent" if verdict.verdict == "survived" and mutant.change in EQUIVALENT else verdict.verdict


def alone(out: Path) -> TextIO:
    """The folder for this process; another one would change the lines of its copy. Held while the file is open."""
    out.mkdir(parents=True, exist_ok=True)
    lock = (out / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MutantError(f"--out: got {out}, in which another campaign runs, must be free; take another folder or wait") from None
    return lock


def campaign(mutants: list[Mutant], count: int, store: Store, judge: Judge, again: bool) -> Iterator[tuple[int, Mutant, Verdict]]:
    """The first `count` that compile, with their numbers (from 0 on, in the order drawn)."""
    for number, mutant in enumerate(mutants):
        verdict = store.get(mutant)
        if verdict is None or (again and verdict.verdict == "survived"):
            verdict = judge.judge(mutant)
            store.put(mutant, verdict)
        say(number, mutant, verdict)
        if verdict.verdict != "no build":
            yield number, mutant, verdict
            count -= 1
        if count == 0:
            return


def say(number: int, mutant: Mutant, verdict: Verdict) -> None:
    how = f" by {verdict.by}: {verdict.how}" if verdict.by else ""
    print(f"{number}: {mutant.file}:{mutant.line} {mutant.kind}: {mutant.before.strip()} -> {mutant.after.strip()}: ", end="")
    print(f"{named(mutant, verdict)}{how} ({verdict.seconds:.0f} s)", flush=True)


def table(judged: list[tuple[int, Mutant, Verdict]]) -> str:
    """Markdown: by file, by kind, all."""
    lines = ["| mutants of | number | seen by unit bench | by encoders | equivalent | survived |", "| --- " * 6 + "|"]

    def row(name: str, part: list[tuple[int, Mutant, Verdict]]) -> None:
        counts = Counter(named(mutant, verdict) for _, mutant, verdict in part)
        lines.append(f"| {name} | {len(part)} | " + " | ".join(str(counts[column]) for column in COLUMNS) + " |")

    for file in sorted({mutant.file for _, mutant, _ in judged}):
        row(f"`{file}`", [one for one in judged if one[1].file == file])
    for kind in KINDS:
        row(kind, [one for one in judged if one[1].kind == kind])
    row("all", judged)
    return "\n".join(lines)


def wrong_entries(judged: list[tuple[int, Mutant, Verdict]]) -> list[str]:
    """Of EQUIVALENT, as far as judged: seen by a bench, so not equivalent."""
    return [f"{m.file}:{m.line} is in EQUIVALENT, but {v.by} sees it: {v.how}" for _, m, v in judged if m.change in EQUIVALENT and v.verdict != "survived"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="mutants that are judged")
    parser.add_argument("--only", help="of this file alone")
    parser.add_argument("--run", type=int, metavar="N", help="judge the one of this number alone, again")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutants", help="verdicts, and the copy in which benches run")
    parser.add_argument("--again", action="store_true", help="judge anew what has survived: the benches are better now")
    args = parser.parse_args()
    if args.count < 1:
        raise MutantError(f"--count: got {args.count}, must be at least 1")
    mutants = draw(ROOT, args.seed, files_of(args.only))
    args.out = args.out.absolute()
    lock = alone(args.out)
    store, judge = Store(args.out / f"mutants-{args.seed}.json"), Judge(ROOT, args.out)
    if args.run is not None:
        if not 0 <= args.run < len(mutants):
            raise MutantError(f"--run: got {args.run}, must be 0 .. {len(mutants) - 1} for this seed")
        verdict = judge.judge(mutants[args.run])
        store.put(mutants[args.run], verdict)
        say(args.run, mutants[args.run], verdict)
        judged = [(args.run, mutants[args.run], verdict)]
    else:
        judged = list(campaign(mutants, args.count, store, judge, args.again))
        print(table(judged))
    lock.close()
    wrong = wrong_entries(judged)
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong) or any(named(mutant, verdict) == "survived" for _, mutant, verdict in judged))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with its benches
    try:
        sys.exit(main())
    except MutantError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
