# SPDX-License-Identifier: Apache-2.0
"""The operator library. An operator is a module with

PARAMS, ATTRS              names of its integer parameters and attributes
<stem>(...)                the golden function: int64 NumPy, the definition of the operator
check(graph, node)         raises GraphError unless shapes, widths and bounds are legal
run(graph, node, inputs, lengths)   golden function on a ragged batch (hw/golden.py says how arrays are laid out)
onnx(b, graph, node, inputs)        the same in standard ONNX operators (hw/onnx_export.py)
macs(graph, node, tokens)  multiply-accumulates for one sentence of that many tokens
foldings(graph, node, lanes_in, lanes_out)   legal Folds of a matrix operator (the ones with multiplier arrays)
interval(graph, node, fold, tokens) cycles a sentence takes a matrix operator in steady state
timing(graph, node, fold, ins, out) generator of the timing model (hw/timing.py)
rtl(graph, node, fold)     Instance: module, parameters, memory files (hw/instance.py)
hls(graph, node, fold)     HlsLayer: constants and memories for the header hls/nnet/<stem>.h (hw/instance.py)

`embed` runs on the host: it has no timing, no rtl and no hls. What an operator may hold, for FIFO depths, is in hw/fifos.py.
"""

from bitloom.hw.ops import add, context, embed, first_token, layernorm, linear, requant, scores, softmax, table

OPS = {
    "embed": embed,
    "linear": linear,
    "requant": requant,
    "add": add,
    "table": table,
    "scores": scores,
    "softmax": softmax,
    "context": context,
    "layernorm": layernorm,
    "first_token": first_token,
}
