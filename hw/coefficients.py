# SPDX-License-Identifier: Apache-2.0
"""LUT and FF of each term of hw/resources.py, by fabric and module of hw/rtl. Written by `python -m hw.synth.calibrate fit`."""

LUT6_SHARE = 0.6  # of four-input LUTs
LUT4 = {
    "linear": {
        "lut": {
            "acc_bits": 2.231,
            "count_bits": 2.091,
            "lut_product_bits": 2.838,
            "lut_ram": 8.772,
            "one": 42.75,
            "out_bits": 2.165,
            "pair_bits": 0.6244,
            "part_bits": 0.526,
            "product_bits": 0.9785,
            "rom_bits": 0.05669,
            "tree_adder_bits": 0.01897,
        },
        "ff": {
            "acc_bits": 2.297,
            "count_bits": 1.857,
            "out_bits": 2.717,
            "part_bits": 2.28,
            "product_bits": 1.26,
            "rom_bits": 0.003196,
            "tree_bits": 0.5443,
            "w_bits": 1.419,
            "x_bits": 3.27,
        },
    },
    "requant": {
        "lut": {
            "count_bits": 1.56,
            "in_bits": 0.6649,
            "low_bits": 2.172,
            "one": 0.07156,
            "rom_bits": 0.09052,
            "sum_bits": 1.376,
        },
        "ff": {
            "count_bits": 1.083,
            "low_bits": 0.7354,
            "multiplied_bits": 2.113,
            "one": 6.887,
            "rom_bits": 0.007837,
            "shift_bits": 0.1952,
            "sum_bits": 1.36,
        },
    },
    "add": {
        "lut": {
            "in_bits": 0.4317,
            "one": 9.304,
        },
        "ff": {
            "in_bits": 1.419,
            "out_bits": 0.7289,
        },
    },
    "table_op": {
        "lut": {
            "out_bits": 0.4625,
            "rom_bits": 0.04645,
        },
        "ff": {
            "one": 0.3659,
            "out_bits": 1.207,
        },
    },
    "scores": {
        "lut": {
            "acc_bits": 2.231,
            "count_bits": 2.091,
            "lut_product_bits": 2.838,
            "lut_ram": 8.772,
            "one": 137.7,
            "out_bits": 2.165,
            "pair_bits": 0.6244,
            "part_bits": 0.526,
            "product_bits": 0.9785,
            "rom_bits": 0.05669,
            "tree_adder_bits": 0.01897,
        },
        "ff": {
            "acc_bits": 2.297,
            "count_bits": 1.857,
            "one": 5.256,
            "out_bits": 2.717,
            "part_bits": 2.28,
            "product_bits": 1.26,
            "rom_bits": 0.003196,
            "tree_bits": 0.5443,
            "w_bits": 1.419,
            "x_bits": 3.27,
        },
    },
    "softmax": {
        "lut": {
            "lut_ram": 10.07,
            "product_bits": 11.05,
            "rom_bits": 0.2817,
        },
        "ff": {
            "in_bits": 9.0,
            "index_bits": 31.25,
            "product_bits": 1.75,
        },
    },
    "context_op": {
        "lut": {
            "acc_bits": 2.231,
            "count_bits": 2.091,
            "lut_product_bits": 2.838,
            "lut_ram": 8.772,
            "one": 137.4,
            "out_bits": 2.165,
            "pair_bits": 0.6244,
            "part_bits": 0.526,
            "product_bits": 0.9785,
            "rom_bits": 0.05669,
            "tree_adder_bits": 0.01897,
        },
        "ff": {
            "acc_bits": 2.297,
            "count_bits": 1.857,
            "out_bits": 2.717,
            "part_bits": 2.28,
            "product_bits": 1.26,
            "rom_bits": 0.003196,
            "tree_bits": 0.5443,
            "w_bits": 1.419,
            "x_bits": 3.27,
        },
    },
    "layernorm": {
        "lut": {
            "lut_ram": 26.58,
            "rom_bits": 0.06715,
            "scaled_bits": 4.847,
        },
        "ff": {
            "product_bits": 13.26,
            "rom_bits": 0.0003366,
            "scaled_bits": 1.246,
            "serial_bits": 4.385,
            "square_bits": 8.467,
        },
    },
    "first_token": {
        "lut": {
            "lane_bits": 2.0,
            "one": 14.0,
        },
        "ff": {
            "count_bits": 1.0,
            "lane_bits": 1.0,
            "one": 3.0,
        },
    },
    "fifo": {
        "lut": {
            "chunk_bits": 3.259,
            "deep": 167.2,
            "deep_address_bits": 0.8147,
            "deep_bits": 8.683,
            "lut_ram": 6.716,
            "memory": 5.385,
            "memory_bits": 9.803,
            "one": 14.0,
            "pair_bits": 1.0,
        },
        "ff": {
            "chunk_bits": 1.105,
            "deep": 37.83,
            "deep_address_bits": 2.197,
            "deep_bits": 3.68,
            "lut_ram": 0.4865,
            "memory": 4.149,
            "memory_address_bits": 1.757,
            "memory_bits": 2.77,
            "one": 4.0,
            "pair_bits": 2.0,
        },
    },
    "stream_fork": {
        "lut": {
            "branches": 5.036,
        },
        "ff": {
            "branches": 1.0,
        },
    },
}
COEFFICIENTS = {
    "lut4": LUT4,
    "lut6": {module: {what: {name: value * (LUT6_SHARE if what == "lut" else 1) for name, value in values.items()} for what, values in both.items()}
             for module, both in LUT4.items()},
}
