# SPDX-License-Identifier: Apache-2.0
"""The table of stages is the only description of their options: the command line offers what it names, and checks by it."""

import importlib
import inspect

import pytest

from bitloom import cli
from bitloom.errors import UsageError
from bitloom.stage import OPTIONS, STAGES, stage_of, typed

VERBS = {name.rpartition("/")[2] for name in STAGES} - {"rtl"}  # that one is verify's --rtl


def test_every_stage_is_a_module_and_reads_stages_before_it():
    seen = []
    for stage in STAGES.values():
        assert inspect.isfunction(importlib.import_module(f"bitloom.stages.{stage.name.replace('/', '_')}").run)
        assert {*stage.takes} <= OPTIONS.keys()
        if stage.name != "report":
            assert {*stage.after} <= {*seen}
        seen.append(stage.name)


OF_A_RECIPE = ("recipe", "data", "out", "overrides", "train")  # what a command that begins with one takes


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_command_offers_the_options_of_its_stages(verb):
    takes = {name for stage in STAGES.values() if stage.name.rpartition("/")[2] == verb for name in stage.takes}
    offered = {*inspect.signature(getattr(cli, verb)).parameters} - {"run", "force", "backend", "waves", "rtl", *OF_A_RECIPE}
    assert offered == takes


def test_values_are_kept_as_texts_and_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = typed(stage_of("synth"), {"board": "mine.yaml", "clock": 80.0, "seed": 2, "cosim": None})
    assert texts == {"board": str(tmp_path / "mine.yaml"), "clock": "80", "seed": "2"}
    assert [OPTIONS[name].value(text) for name, text in texts.items()] == [texts["board"], 80.0, 2]
    assert typed(stage_of("synth", "hls4ml"), {"cosim": True, "ip": False}) == {"cosim": "yes", "ip": "no"}
    assert OPTIONS["ip"].value("no") is False
    assert typed(stage_of("build"), {"board": "pynq_z2"}) == {"board": "pynq_z2"}


@pytest.mark.parametrize(
    ("verb", "backend", "given", "message"),
    [
        ("build", "hls4ml", {"tokens": 8}, "build: got --tokens with --backend hls4ml, must be with finn; leave it out"),
        ("synth", "hls4ml", {"board": "x"}, "synth: got --board with --backend hls4ml, must be with rtl; leave it out"),
        ("synth", "rtl", {"seed": 0}, "synth: got --seed 0, must be 1 or more; change it"),
        ("synth", "rtl", {"clock": float("nan")}, "synth: got --clock nan, must be above 0 (MHz); change it"),
    ],
)
def test_wrong_options(verb, backend, given, message):
    with pytest.raises(UsageError) as error:
        typed(stage_of(verb, backend), given)
    assert str(error.value) == message
