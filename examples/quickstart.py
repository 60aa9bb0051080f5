# SPDX-License-Identifier: Apache-2.0
"""`bitloom run recipes/quickstart.yaml` as a library: python examples/quickstart.py [RECIPE] [RUN FOLDER]."""

import json
import sys

from bitloom import Recipe, RunFolder, predict, run_flow

recipe = Recipe.load(sys.argv[1] if len(sys.argv) > 1 else "recipes/quickstart.yaml")
run = RunFolder.create(sys.argv[2] if len(sys.argv) > 2 else f"runs/{recipe.name}", recipe)
with run.locked():
    run.adopt(recipe, data_dir=None)
    run_flow(run)

report = json.loads((run.path / "report.json").read_text())
print(f"{report['accuracy']['golden']:.1%} with integers, {report['accuracy']['float']:.1%} in float")
print(f"{report['verify']['mismatches']} of {report['verify']['values_compared']:,} values differ in simulated hardware")
print(predict(run, "a wonderful film", on="rtl"))
