# SPDX-License-Identifier: Apache-2.0
"""report: report.json from what the stages measured, and report.html from report.json."""

from __future__ import annotations

import json

from bitloom.flow import STAGES, Context, is_current
from bitloom.report import SCHEMA, render, score
from bitloom.runfolder import RunFolder
from hw.graph import Graph


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

    graph = Graph.load(run.stage("export"))
    trained, exported = read("train", "metrics.json"), read("export", "metrics.json")
    timing, verified = read("build", "timing.json"), read("verify", "verify.json")
    cycles = dict(verified["cycles"])
    utilization = {key: cycles.pop(key) for key in ("mac_utilization", "mac_utilization_real")}
    stages = [{**stage, "cycles": stage["interval"]} for stage in timing["stages"]]
    comparisons = exported["comparisons"] + [
        {"name": f"RTL = golden, {r['name']}", **{k: r[k] for k in ("sentences", "values_compared", "mismatches")}}
        for r in verified["runs"]
    ]
    backends = {name: found for name, read_backend in BACKENDS.items() if (found := read_backend(run))}
    for found in backends.values():
        comparisons += found["comparisons"]
    return {
        "schema": SCHEMA,
        "name": context.recipe.name,
        "graph_hash": graph.hash,
        "model": exported["model"],
        "accuracy": {**exported["accuracy"], "rtl": verified["rtl_accuracy"]},
        "verify": {
            key: verified[key] for key in ("backend", "sentences", "values_compared", "mismatches", "stall_runs")
        }
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
            "stages": stages,
        },
        "size": exported["size"],
        "bits": exported["bits"],
        "training": {"curves": trained["curves"]},
        "backends": backends,
        "seconds": {
            name: run.record(name)["seconds"] for name in STAGES if name != "report" and "seconds" in run.record(name)
        },
    }


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


BACKENDS = {"hls4ml": _hls4ml}
