# SPDX-License-Identifier: Apache-2.0
"""Families of checkpoints: a family is one small file, names and quirks, and one line here."""

from bitloom.qat.families import albert, bert, distilbert, electra, roberta
from bitloom.qat.families.family import REFUSED, Family
from bitloom.qat.quantizers import QuantError

FAMILIES: dict[str, Family] = {f.FAMILY.name: f.FAMILY for f in (bert, distilbert, roberta, electra, albert)}
KINDS = {kind: family for family in FAMILIES.values() for kind in family.kinds}


def family_of(config) -> Family:
    """The family of a Hugging Face config.

    Raises QuantError: no known one; the message says which are known and how to add one.
    """
    kind = str(getattr(config, "model_type", None))
    if kind in REFUSED:
        raise QuantError(f"checkpoint: got a '{kind}' model, must be one of {', '.join(sorted(KINDS))}; {REFUSED[kind]}")
    if kind not in KINDS:
        raise QuantError(
            f"checkpoint: got a '{kind}' model, must be one of {', '.join(sorted(KINDS))}; choose another checkpoint, or add the family: "
            "a file in qat/families/ with its names and quirks, and its line in qat/families/__init__.py"
        )
    KINDS[kind].check(config)
    return KINDS[kind]
