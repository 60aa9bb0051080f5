# SPDX-License-Identifier: Apache-2.0
"""report: report.json from what the stages measured, and report.html from report.json."""

from __future__ import annotations

import json

from bitloom.flow import Context, is_current
from bitloom.report import SCHEMA, render, score
from bitloom.runfolder import RunFolder
from bitloom.stage import STAGES


def run(context: Context) -> str:
    """Nothing is measured here, so nothing can fail but the disk."""
    report = assemble(context)
    (context.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    page = render(report, context.recipe.dump())
    (context.out / "report.html").write_text(page, encoding="utf-8")
    accuracy = report["accuracy"]
    return f"{accuracy['metric']} {score(accuracy['float'])} float, {score(accuracy['golden'])} golden = RTL"


def assemble(context: Context) -> dict:
    """The report, schema bitloom.report/1: stable keys, and others beside them."""
    run = context.run

    def read(stage: str, name: str) -> dict:
        return json.loads((run.stage(stage) / name).read_text())

    trained, exported = read("train", "metrics.json"), read("export", "metrics.json")
    timing, verified = read("build", "timing.json"), read("verify", "verify.json")
    cycles = dict(verified["cycles"])
    utilization = {key: cycles.pop(key) for key in ("mac_utilization", "mac_utilization_real")}
    stages = [{**stage, "cycles": stage["interval"]} for stage in timing["stages"]]
    comparisons = exported["comparisons"] + [
        {"name": f"RTL = golden, {r['name']}", **{k: r[k] for k in ("sentences", "values_compared", "mismatches")}} for r in verified["runs"]
    ]
    if is_current(run, "hil"):
        hil = read("hil", "hil.json")
        comparisons.append({"name": f"on {hil['target']} = golden, answers", **{k: hil[k] for k in ("sentences", "values_compared", "mismatches")}})
    backends = {name: found for name, read_backend in BACKENDS.items() if (found := read_backend(run))}
    for found in backends.values():
        comparisons += found["comparisons"]
    report = {
        "schema": SCHEMA,
        "name": context.recipe.name,
        "graph_hash": context.graph.hash,
        "model": exported["model"],
        "accuracy": {**exported["accuracy"], "rtl": verified["rtl_accuracy"]},
        "verify": {key: verified[key] for key in ("backend", "sentences", "values_compared", "mismatches", "stall_runs", "memories")}
        | {"comparisons": comparisons},
        "cycles": {
            **cycles,
            "clock_mhz": context.recipe.hardware.clock_mhz,
            "latency_curve": timing["latency_by_tokens"],
        },
        "hardware": {
            "multipliers": timing["multipliers"],
            "macs_per_sentence": timing["macs_per_sentence"],
            **utilization,
            "weight_bits": timing["weight_bits"],
            "bottleneck": timing["bottleneck"],
            "early_exit": verified["early_exit"],
            "recall": verified["recall"],
            "pack": verified["pack"],
            "fifos": verified["fifos"],
            "stages": stages,
        },
        "size": exported["size"],
        "bits": exported["bits"],
        "training": {
            "curves": trained["curves"],
            "notes": trained.get("notes", []),
            "epochs": {phase: getattr(context.recipe.training, f"{phase}_epochs") for phase in ("float", "qat")},
            "calibration_sentences": context.recipe.training.calibration_batches * context.recipe.training.batch_size,
        },
        "backends": backends,
        "board": {name: json.loads((run.stage(name) / f"{name}.json").read_text()) for name in ("synth", "hil") if is_current(run, name)},
        "seconds": {name: run.record(name)["seconds"] for name in STAGES if name != "report" and "seconds" in run.record(name)},
    }
    report["side_by_side"] = side_by_side(report["cycles"], report["hardware"], report["verify"], backends)
    return report


def _hls4ml(run: RunFolder) -> dict | None:
    """The HLS project: analytic figures from the folding, what C simulation compared, what Vitis HLS reported if it ran."""

    def read(stage: str, name: str) -> dict | None:
        return json.loads((run.stage(stage) / name).read_text()) if is_current(run, stage) else None

    project = read("hls4ml/build", "bitloom.json")
    if project is None:
        return None
    verified, synthesized, rtl = read("hls4ml/verify", "verify.json"), read("hls4ml/synth", "synth.json"), read("hls4ml/rtl", "verify.json")
    comparisons = [
        {"name": f"{label} = golden, {r['name']}", **{k: r[k] for k in ("sentences", "values_compared", "mismatches")}}
        for label, found in (("HLS C simulation", verified), ("RTL of Vitis HLS", rtl))
        if found
        for r in found["runs"]
    ]
    modules = {m["tensor"]: m for m in synthesized["modules"]} if synthesized else {}
    layers = [layer | {"csynth_interval": modules.get(layer["name"], {}).get("interval_max")} for layer in project["layers"]]
    return project | {"layers": layers, "comparisons": comparisons, "csim": verified, "csynth": synthesized, "rtl": rtl}


def _finn(run: RunFolder) -> dict | None:
    """FINN's graph: its estimates, and what its Python execution compared."""
    if not is_current(run, "finn/build"):
        return None
    made = json.loads((run.stage("finn/build") / "finn.json").read_text())
    verified = None
    if is_current(run, "finn/verify"):
        verified = json.loads((run.stage("finn/verify") / "verify.json").read_text())
    comparisons = [
        {"name": f"FINN's integer nodes = golden, {r['name']}", **{k: r[k] for k in ("sentences", "values_compared", "mismatches")}}
        for r in (verified["runs"] if verified else ())
        if r["values_compared"]
    ]
    return made | {"comparisons": comparisons, "verify": verified}


BACKENDS = {"hls4ml": _hls4ml, "finn": _finn}


def side_by_side(cycles: dict, hardware: dict, verify: dict, backends: dict) -> list[dict]:
    """One row a backend: cycles between sentences, multipliers, memory and exactness, each with how it is known."""
    bits = f"{hardware['weight_bits']:,} bits of weights"
    rows = [
        {
            "backend": "RTL",
            "tokens": cycles["tokens"],
            "cycles": cycles["interval_measured"],
            "cycles_are": "measured in simulation",
            "multipliers": hardware["multipliers"],
            "memory": bits,
            "exact": f"{verify['mismatches']:,} of {verify['values_compared']:,} values differ",
        }
    ]
    if h := backends.get("hls4ml"):
        csynth, csim = h["csynth"], h["csim"]
        rows.append(
            {
                "backend": "hls4ml",
                "tokens": h["tokens"],
                "cycles": csynth["estimate"]["interval_max"] if csynth else h["interval"],
                "cycles_are": "csynth's estimate" if csynth else h["interval_is"],
                "multipliers": sum(layer["multipliers"] for layer in h["layers"]),
                "memory": f"{csynth['estimate']['resources'].get('BRAM_18K', 0):,} BRAM18, csynth's estimate" if csynth else bits,
                "exact": f"{csim['mismatches']:,} of {csim['values_compared']:,} values differ, C simulation" if csim else "not compared",
            }
        )
    if f := backends.get("finn"):
        exact = "not compared"
        if f["verify"]:
            runs = [r for r in f["verify"]["runs"] if r["values_compared"]]
            tensors = [t for r in runs for t in r["tensors"]]
            counts = [[sum(t[k] for t in tensors if t["exact"] == kind) for k in ("alone", "values")] for kind in (True, False)]
            exact = (
                f"{counts[0][0]:,} of {counts[0][1]:,} values of integer nodes differ, {counts[1][0]:,} of {counts[1][1]:,} of float32 nodes; "
                f"{sum(r['labels_differ'] for r in runs)} of {sum(r['sentences'] for r in runs)} labels"
            )
        rows.append(
            {
                "backend": "FINN",
                "tokens": f["tokens"],
                "cycles": f["interval"],
                "cycles_are": "FINN's estimate",
                "multipliers": f["multipliers"],
                "memory": f"{f['totals']['bram_18k']:,} BRAM18, {f['totals']['uram']} URAM, FINN's estimate; "
                f"{len(f['unknown'])} of {len(f['nodes'])} nodes have none",
                "exact": exact,
            }
        )
    return rows
