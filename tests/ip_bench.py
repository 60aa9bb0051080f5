# SPDX-License-Identifier: Apache-2.0
"""The IP of hw/vivado in a simulator, with a cocotb module beside it."""

import os
from pathlib import Path

from bitloom.sim.plusargs import arguments
from bitloom.sim.runner import Model
from bitloom.sim.runner import build as compile_bench
from bitloom.sim.tools import cocotb_env


def prepare(project: Path, folder: Path, module: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a simulation in `folder` of the IP that `write_project` wrote; module: a file with cocotb tests of the top `bench`."""
    text = (project / "src" / "encoder_ip.v").read_text().replace("module encoder_ip", "module bench")
    generated = {"bench.vlt": '`verilator_config\npublic_flat_rw -module "bench" -var "*"\n', "bench.v": text}
    executable = compile_bench(Model(sources=tuple(sorted((project / "src").glob("*.sv"))), generated=generated))
    for path in (project / "mem").glob("*.mem"):
        (folder / path.name).symlink_to(path)
    env = {**os.environ, **cocotb_env(module.stem, "bench", folder / "results.xml"), "COCOTB_ANSI_OUTPUT": "0"}
    env["PYTHONPATH"] = os.pathsep.join([str(module.parent), env["PYTHONPATH"]])
    return [str(executable), *arguments({})], env
