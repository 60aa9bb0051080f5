# SPDX-License-Identifier: Apache-2.0
"""What settings read from files have in common: strict groups, the nearest known name, pydantic's rules in the project's words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitloom.hw.errors import BitloomError

# YAML 1.1 reads "1e-3" as text: take it as the number it is. Neither .inf nor .nan is a setting.
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
SHOWN = 12  # known names in a message


class ConfigError(BitloomError, ValueError):
    """A setting that does not fit; a ValueError too, as pydantic's validators need."""


class Frozen(BaseModel):
    """A group of settings that does not change; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Strict(Frozen):
    """A group whose values are taken as they are; for an unknown key the nearest known one is named."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ConfigError(f"no setting '{key}'; {did_you_mean(str(key), cls.model_fields)}")
        return data


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'did you mean NEAREST? ' and the known names, for the end of an error message."""
    known = list(known)
    lower = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    shown = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
    return (f"did you mean '{lower[near[0]]}'? " if near else "") + f"Known: {shown}"


def rule(message: str) -> str:
    """What pydantic says that a value must be: 'Input should be greater than or equal to 1' -> 'at least 1'."""
    text = message.removeprefix("Input should be ").replace("Keys should be strings", "a text")
    text = text.replace("greater than or equal to", "at least").replace("less than or equal to", "at most").replace("a valid boolean", "true or false")
    text = re.sub(r"^(Tuple|List|Dictionary) should have (.*) after validation, not .*$", r"a list of \2", text)
    text = re.sub(r"^String should have (.*)$", r"a text of \1", text)
    text = re.sub(r"^a valid (dictionary or instance of \w+|dictionary)$", "a mapping of keys", text)
    text = text.replace("a valid tuple", "a list").replace("a valid string", "a text")
    return text.replace("a valid integer", "an integer").replace("a valid ", "a ")
