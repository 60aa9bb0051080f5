# SPDX-License-Identifier: Apache-2.0
"""What recipes, boards and training settings share: the nearest name, strict groups, rules in the project's words."""

import subprocess
import sys

import pytest
from pydantic import Field, ValidationError

from bitloom.hw.plan.solve import HardwareConfig
from bitloom.hw.settings import ConfigError, Number, Strict, did_you_mean, rule


class Group(Strict):
    count: int = Field(1, ge=1, le=9)
    rate: Number = 0.5


def test_the_nearest_name_is_told_whatever_its_case():
    assert did_you_mean("Pynq_z1", ["pynq_z2", "ulx3s"]) == "did you mean 'pynq_z2'? Known: pynq_z2, ulx3s"
    assert did_you_mean("xyz", ["Pynq"]) == "Known: Pynq"
    assert did_you_mean("a", map(str, range(20))).endswith("10, 11, ...")


def test_a_group_takes_what_is_meant_and_nothing_else():
    assert Group(rate="1e-3").rate == 1e-3
    with pytest.raises(ValueError, match="no setting 'cuont'; did you mean 'count'[?] Known: count, rate"):
        Group(cuont=1)
    for wrong in ({"count": 1.0}, {"count": True}, {"rate": float("nan")}, {"count": 0}):
        with pytest.raises(ValidationError):
            Group(**wrong)
    with pytest.raises(ValueError, match="no setting 'multiplier'; did you mean 'multipliers'"):
        HardwareConfig(multiplier=5)
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Input should be greater than or equal to 1", "at least 1"),
        ("Input should be less than or equal to 9", "at most 9"),
        ("Input should be a valid integer", "an integer"),
        ("Input should be a valid boolean", "true or false"),
        ("Input should be a valid dictionary or instance of Group", "a mapping of keys"),
        ("List should have at least 2 items after validation, not 1", "a list of at least 2 items"),
        ("String should have at least 1 character", "a text of at least 1 character"),
        ("Input should be a valid string", "a text"),
    ],
)
def test_rules(message, text):
    assert rule(message) == text


def test_settings_load_no_other_room():
    code = "import sys, bitloom.hw.settings; print(sorted(m for m in sys.modules if m.startswith(('bitloom.', 'torch', 'yaml'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['bitloom.hw', 'bitloom.hw.errors', 'bitloom.hw.settings', 'bitloom.version']\n"
