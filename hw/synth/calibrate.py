# SPDX-License-Identifier: Apache-2.0
"""Measures every operator of synthesized encoders and fits the cost model's coefficients (hw/resources.py) to them.

    python -m bitloom.hw.synth.calibrate measure FOLDER BUILD_DIR...   synthesizes for ECP5, one row an operator, into FOLDER/<name>.json
    python -m bitloom.hw.synth.calibrate fit FOLDER/*.json             prints the coefficients and how far each row is off

An encoder is synthesized with its operators kept apart, so that one run gives the figures of all of them.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bitloom.hw.board import Board
from bitloom.hw.instance import Instance
from bitloom.hw.mapping import dsps
from bitloom.hw.memories import map_memory, memories
from bitloom.hw.resources import terms
from bitloom.hw.synth.families import FAMILIES, count
from bitloom.hw.synth.registers import absorb_module
from bitloom.hw.synth.tools import run
from scipy.optimize import nnls

COEFFICIENTS_FILE = Path(__file__).parents[1] / "coefficients.py"
OPERATORS = ("linear", "requant", "add", "table_op", "scores", "softmax", "context_op", "layernorm", "first_token", "fifo", "stream_fork")


def measure(build_dir: Path, out: Path, board: Board) -> list[dict]:
    """Cells and memories of each kind of operator instance: {module, params, count, lut, ff, dsp, block_ram, memories}."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(build_dir / "rtl", out / "rtl", dirs_exist_ok=True)
    for path in [build_dir / "encoder.sv", *build_dir.glob("*.hex")]:
        shutil.copy(path, out / path.name)
    family = FAMILIES[board.family]
    kept = " ".join(f"*{name}" for name in OPERATORS)
    lines = [
        "read_verilog -sv rtl/*.sv encoder.sv",
        "hierarchy -top encoder",
        f"setattr -mod -set keep_hierarchy 1 {kept}",
        family.synth.format(top="encoder"),
        "write_json netlist.json",
    ]
    (out / "synth.ys").write_text("\n".join(lines) + "\n")
    log = run("yosys", ["synth.ys"], out, makes=["netlist.json"])
    memories = _memories(log.read_text())
    modules = json.loads((out / "netlist.json").read_text())["modules"]
    used = Counter(cell["type"] for cell in modules["encoder"]["cells"].values())
    rows = []
    for name, module in modules.items():
        kind = name.rsplit("\\", 1)[-1]
        if kind not in OPERATORS:
            continue
        absorb_module(module)
        own = Counter(cell["type"] for cell in module["cells"].values())
        rows.append({"module": kind, "params": _params(module), "count": used[name], **count(own, family), "memories": memories.get(name, {})})
    return rows


def _params(module: dict) -> dict[str, int | str]:
    """Parameters of a derived module: Yosys writes numbers as bits, and texts as they are."""
    values = module.get("parameter_default_values", {})
    return {key: (int(v, 2) - (int(v[0]) << len(v) if len(v) == 32 else 0) if re.fullmatch(r"[01]{8,}", v) else v) for key, v in values.items()}


def _memories(log: str) -> dict[str, dict[str, str]]:
    """{module: {memory: primitive}} of `mapping memory MODULE.MEMORY via PRIMITIVE`."""
    found: dict[str, dict[str, str]] = {}
    for module, memory, primitive in re.findall(r"^(?:mapping|using FF mapping for) memory (\S+?)\.(\S+)(?: via (\S+))?$", log, re.MULTILINE):
        found.setdefault(module, {})[memory] = primitive or "FF"
    return found


SHARED = ("linear", "scores", "context_op")  # the same parts: fitted together, but for their constants
# A six-input LUT takes more of a function, and AMD's multipliers take operand registers too: shares measured on two encoders (docs/synthesis.md).
TAIL = """\
COEFFICIENTS = {
    "lut4": LUT4,
    "lut6": {module: {what: {name: value * LUT6_SHARE[what] for name, value in values.items()} for what, values in both.items()}
             for module, both in LUT4.items()},
}
"""
HEAD = """\
# SPDX-License-Identifier: Apache-2.0
\"\"\"LUT and FF of each term of hw/resources.py, by fabric and module of hw/rtl. Written by `python -m bitloom.hw.synth.calibrate fit`.\"\"\"

LUT6_SHARE = {"lut": 0.6, "ff": 0.75}  # of what fabrics of four-input LUTs take
"""


def fit(rows: list[dict], board: Board) -> dict[str, dict[str, dict[str, float]]]:
    """{module: {lut, ff: {term: coefficient}}}: non-negative least squares of the relative errors."""
    result: dict[str, dict[str, dict[str, float]]] = {module: {} for module in OPERATORS}
    for group in (SHARED, *((module,) for module in OPERATORS if module not in SHARED)):
        chosen = [row for row in rows if row["module"] in group]
        named = [_terms(row, board) for row in chosen]
        for row, values in zip(chosen, named, strict=True):
            values[f"one {row['module']}"] = values.pop("one")
        names = sorted({name for values in named for name in values})
        for what in ("lut", "ff"):
            sizes = np.array([max(row[what], 20) for row in chosen], float)
            matrix = np.array([[values.get(name, 0) for name in names] for values in named], float)
            weights = np.sqrt([row["count"] for row in chosen]) / sizes
            solution, _ = nnls(matrix * weights[:, None], np.array([row[what] for row in chosen]) * weights)
            for module in group:
                other = {f"one {name}" for name in group if name != module}
                result[module][what] = {
                    name.split(" ")[0]: float(f"{value:.4g}") for name, value in zip(names, solution, strict=True) if value > 0 and name not in other
                }
    return result


def _made(row: dict) -> Instance:
    params = {key: int(value) if isinstance(value, str) and value.isdigit() else value for key, value in row["params"].items()}
    return Instance(module=row["module"], params=params)


def _terms(row: dict, board: Board) -> dict[str, float]:
    made = _made(row)
    return dict(terms(made, [map_memory(memory, board) for memory in memories(made)]))


def print_errors(rows: list[dict], table: dict) -> None:
    """How far the fit is off: per module, and over all."""
    board = Board.load("ulx3s_85f")
    totals = {"lut": [0.0, 0.0], "ff": [0.0, 0.0]}
    for module in OPERATORS:
        chosen, text = [row for row in rows if row["module"] == module], ""
        for what, total in totals.items():
            guesses = [sum(table[module][what].get(name, 0) * value for name, value in _terms(row, board).items()) for row in chosen]
            off = [guess / max(row[what], 1) - 1 for guess, row in zip(guesses, chosen, strict=True)]
            total[0] += sum(guess * row["count"] for guess, row in zip(guesses, chosen, strict=True))
            total[1] += sum(row[what] * row["count"] for row in chosen)
            text += f"  {what}: mean |error| {np.mean(np.abs(off)):6.1%}, worst {max(off, key=abs):+7.1%}"
        exact = sum(dsps(_made(row), board.family) == row["dsp"] for row in chosen)
        blocks = sum(sum(map_memory(m, board).blocks for m in memories(_made(row))) == row["block_ram"].get("DP16KD", 0) for row in chosen)
        print(f"{module:12s} {len(chosen):3d} rows{text}  DSP exact {exact}/{len(chosen)}, block RAM exact {blocks}/{len(chosen)}")
    print("all", ", ".join(f"{what} {guess / got - 1:+.1%}" for what, (guess, got) in totals.items()))


def _lines(table: dict) -> Iterator[str]:
    """A table as Python text, a term a line."""
    for module, both in table.items():
        yield f"    {module!r}: {{\n"
        for what, values in both.items():
            yield f"        {what!r}: {{\n" + "".join(f"            {name!r}: {value!r},\n" for name, value in values.items()) + "        },\n"
        yield "    },\n"


def main(arguments: list[str]) -> None:
    board = Board.load("ulx3s_85f")
    if arguments[:1] == ["measure"]:
        for name in arguments[2:]:
            folder = Path(arguments[1])
            rows = measure(Path(name), folder / Path(name).name, board)
            (folder / f"{Path(name).name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    elif arguments[:1] == ["fit"]:
        rows = [row for name in arguments[1:] for row in json.loads(Path(name).read_text())]
        table = fit(rows, board)
        COEFFICIENTS_FILE.write_text(HEAD + "LUT4 = {\n" + "".join(_lines(table)).replace("'", '"') + "}\n" + TAIL)
        print_errors(rows, table)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
