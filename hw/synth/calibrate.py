# SPDX-License-Identifier: Apache-2.0
"""Measures every operator of synthesized encoders and fits the cost model's coefficients (hw/cost/coefficients.json) to them.

    python -m bitloom.hw.synth.calibrate measure FOLDER BUILD_DIR...   synthesizes for ECP5, one row an operator, into FOLDER/<name>.json
    python -m bitloom.hw.synth.calibrate fit FOLDER/*.json             writes the coefficients and prints how far each row is off
    python -m bitloom.hw.synth.calibrate extend MODULE... FOLDER/*.json   the same of these modules alone; those of the others stay

An encoder is synthesized with its operators kept apart, so that one run gives the figures of all of them.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from bitloom.hw.board import Board
from bitloom.hw.cost.resources import COEFFICIENTS, MODULES, instance_cost, terms
from bitloom.hw.instance import Instance, Terms
from bitloom.hw.ops import OPS
from bitloom.hw.parts import mac_array
from bitloom.hw.synth.families import FAMILIES, count
from bitloom.hw.synth.registers import absorb_module
from bitloom.hw.synth.tools import run

LEFT_OUT = {"KEEP": 0, "WORDS": 0, "FACTOR_W": 1}  # parameters that are not given where they have these values
# Operators with multiplier arrays have the same parts: they are fitted together, but for their constants.
ARRAY = frozenset(mac_array.terms({"MUL_STYLE": "one", "OUT_W": 1}, pe=1, simd=1, x_bits=1, w_bits=1))
SHARED = tuple(op.module.name for op in OPS.values() if op.matrix)


def measure(build_dir: Path, out: Path, board: Board) -> list[dict]:
    """Cells and memories of each kind of operator instance: {module, params, count, lut, ff, dsp, block_ram, memories}."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(build_dir / "rtl", out / "rtl", dirs_exist_ok=True)
    for path in [build_dir / "encoder.sv", *build_dir.glob("*.hex")]:
        shutil.copy(path, out / path.name)
    family = FAMILIES[board.family]
    kept = " ".join(f"*{name}" for name in MODULES)
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
    for module in modules.values():
        absorb_module(module)
    for name, module in modules.items():
        kind = _kind(name)
        if kind in MODULES and used[name]:
            own = _cells(modules, name)
            rows.append({"module": kind, "params": _params(module), "count": used[name], **count(own, family), "memories": memories.get(name, {})})
    return rows


def _kind(name: str) -> str:
    """The module that a derived one was made of."""
    return name.rsplit("\\", 1)[-1]


def _cells(modules: dict, name: str) -> Counter[str]:
    """Cells of a module, with those of operators that are inside of it and kept apart too."""
    found: Counter[str] = Counter()
    for cell in modules[name]["cells"].values():
        found.update(_cells(modules, cell["type"]) if _kind(cell["type"]) in MODULES else [cell["type"]])
    return found


def _params(module: dict) -> dict[str, int | str]:
    """Parameters of a derived module, as operators give them: Yosys writes numbers as bits, texts as they are, and all, also those that are left out."""
    values = module.get("parameter_default_values", {})
    params = {key: (int(v, 2) - (int(v[0]) << len(v) if len(v) == 32 else 0) if re.fullmatch(r"[01]{8,}", v) else v) for key, v in values.items()}
    return {key: value for key, value in params.items() if str(value).strip() and LEFT_OUT.get(key) != value}


def _memories(log: str) -> dict[str, dict[str, str]]:
    """{module: {memory: primitive}} of `mapping memory MODULE.MEMORY via PRIMITIVE`."""
    found: dict[str, dict[str, str]] = {}
    for module, memory, primitive in re.findall(r"^(?:mapping|using FF mapping for) memory (\S+?)\.(\S+)(?: via (\S+))?$", log, re.MULTILINE):
        found.setdefault(module, {})[memory] = primitive or "FF"
    return found


def fit(rows: list[dict], board: Board) -> dict[str, dict[str, dict[str, float]]]:
    """{module: {lut, ff: {term: coefficient}}} of the modules that have rows: non-negative least squares of the relative errors."""
    there = {row["module"] for row in rows}
    result: dict[str, dict[str, dict[str, float]]] = {module: {} for module in MODULES if module in there}
    for group in ([m for m in SHARED if m in there], *([m] for m in result if m not in SHARED)):
        chosen = [row for row in rows if row["module"] in group]
        if not chosen:
            continue
        named = [dict(terms(_made(row), board)) for row in chosen]
        for row, values in zip(chosen, named, strict=True):
            values[f"one {row['module']}"] = values.pop("one")
        for what in ("lut", "ff"):
            solution = _solve(chosen, named, what, {})
            for module in group:
                other = {f"one {name}" for name in group if name != module}
                result[module][what] = {name.split(" ")[0]: value for name, value in solution.items() if name not in other}
    return result


def extend(rows: list[dict], board: Board, modules: Sequence[str], known: dict) -> dict[str, dict[str, dict[str, float]]]:
    """`known` with other coefficients of these modules; those of a multiplier array are as in the arrays that are known."""
    result = dict(known)
    for module in modules:
        chosen = [row for row in rows if row["module"] == module]
        if not chosen:
            raise SystemExit(f"calibrate: {module}: got no row, must be measured; known are {', '.join(sorted({row['module'] for row in rows}))}")
        named, result[module] = [dict(terms(_made(row), board)) for row in chosen], {}
        others = [known[name] for name in SHARED if name in known and name not in modules] if module in SHARED else []
        for what in ("lut", "ff"):
            common = {name: value for other in others for name, value in (dict.fromkeys(ARRAY, 0.0) | other[what]).items() if name in ARRAY}
            result[module][what] = {name: value for name, value in common.items() if value} | _solve(chosen, named, what, common)
    return result


def _solve(rows: list[dict], named: list[Terms], what: str, common: Mapping[str, float]) -> dict[str, float]:
    """Coefficients of the terms beside those of `common`, which are given."""
    names = sorted({name for values in named for name in values} - set(common))
    sizes = np.array([max(row[what], 20) for row in rows], float)
    matrix = np.array([[values.get(name, 0) for name in names] for values in named], float)
    weights = np.sqrt([row["count"] for row in rows]) / sizes
    left = np.array([row[what] - sum(common.get(name, 0) * size for name, size in values.items()) for row, values in zip(rows, named, strict=True)])
    solution, _ = nnls(matrix * weights[:, None], left * weights)
    return {name: float(f"{value:.4g}") for name, value in zip(names, solution, strict=True) if value > 0}


def _made(row: dict) -> Instance:
    params = {key: int(value) if isinstance(value, str) and value.isdigit() else value for key, value in row["params"].items()}
    return Instance(module=row["module"], params=params)


def print_errors(rows: list[dict], board: Board) -> None:
    """How far the fit is off: per module, and over all."""
    totals = {"lut": [0.0, 0.0], "ff": [0.0, 0.0]}
    for module in MODULES:
        chosen, text = [row for row in rows if row["module"] == module], ""
        if not chosen:
            continue
        costs = [instance_cost(_made(row), board) for row in chosen]
        for what, total in totals.items():
            guesses = [getattr(cost, what) for cost in costs]
            off = [guess / max(row[what], 1) - 1 for guess, row in zip(guesses, chosen, strict=True)]
            total[0] += sum(guess * row["count"] for guess, row in zip(guesses, chosen, strict=True))
            total[1] += sum(row[what] * row["count"] for row in chosen)
            text += f"  {what}: mean |error| {np.mean(np.abs(off)):6.1%}, worst {max(off, key=abs):+7.1%}"
        exact = sum(cost.dsp == row["dsp"] for cost, row in zip(costs, chosen, strict=True))
        blocks = sum(cost.block_ram == row["block_ram"].get("DP16KD", 0) for cost, row in zip(costs, chosen, strict=True))
        print(f"{module:12s} {len(chosen):3d} rows{text}  DSP exact {exact}/{len(chosen)}, block RAM exact {blocks}/{len(chosen)}")
    print("all", ", ".join(f"{what} {guess / got - 1:+.1%}" for what, (guess, got) in totals.items()))


def main(arguments: list[str]) -> None:
    board = Board.load("ulx3s_85f")
    if arguments[:1] == ["measure"]:
        for name in arguments[2:]:
            folder = Path(arguments[1])
            rows = measure(Path(name), folder / Path(name).name, board)
            (folder / f"{Path(name).name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    elif arguments[:1] in (["fit"], ["extend"]):
        names = [name for name in arguments[1:] if name.endswith(".json")]
        rows, data = [row for name in names for row in json.loads(Path(name).read_text())], json.loads(COEFFICIENTS.read_text())
        data["lut4"] = fit(rows, board) if arguments[0] == "fit" else extend(rows, board, [name for name in arguments[1:] if name not in names], data["lut4"])
        COEFFICIENTS.write_text(json.dumps(data, indent=1) + "\n")
        print_errors(rows, board)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
