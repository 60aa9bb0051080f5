# SPDX-License-Identifier: Apache-2.0
"""report: report.json from what the stages measured, and report.html from report.json."""

from __future__ import annotations

import json

from bitloom.flow import STAGES, Context
from bitloom.report import SCHEMA, render, score
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
        "seconds": {name: run.record(name)["seconds"] for name in STAGES if name != "report"},
    }
