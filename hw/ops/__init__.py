# SPDX-License-Identifier: Apache-2.0
"""The operator library: `OPS[name]` is the record of an operator (hw/ops/record.py). A new operator is its file here and one name in the list."""

from bitloom.hw.ops import add, context, embed, first_token, layernorm, linear, requant, scores, softmax, table
from bitloom.hw.ops.record import Operator

OPS: dict[str, Operator] = {m.OP.name: m.OP for m in (embed, linear, requant, add, table, scores, softmax, context, layernorm, first_token)}
