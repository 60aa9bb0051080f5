# SPDX-License-Identifier: Apache-2.0
"""LUT and FF of each term of hw/resources.py, by fabric and module of hw/rtl. Written by `python -m hw.synth.calibrate fit`."""

LUT6_SHARE = 0.6  # of four-input LUTs
LUT4 = {
    "linear": {
        "lut": {
            "acc_bits": 3.105,
            "carries": 0.5975,
            "count_bits": 1.691,
            "lut_product_bits": 2.448,
            "lut_ram": 10.78,
            "one": 67.72,
            "rom_bits": 0.05501,
            "tree_adder_bits": 0.927,
        },
        "ff": {
            "acc_bits": 2.324,
            "carries": 0.4276,
            "count_bits": 1.528,
            "lut_ram": 0.1246,
            "one": 16.52,
            "out_bits": 2.158,
            "part_bits": 2.711,
            "product_bits": 0.8404,
            "rom_bits": 0.00731,
            "tree_bits": 0.8803,
            "w_bits": 2.237,
            "x_bits": 2.158,
        },
    },
    "requant": {
        "lut": {
            "count_bits": 1.638,
            "in_bits": 0.01843,
            "low_bits": 2.153,
            "one": 2.977,
            "rom_bits": 0.08524,
            "sum_bits": 2.234,
        },
        "ff": {
            "count_bits": 1.639,
            "in_bits": 0.5023,
            "low_bits": 0.5595,
            "multiplied_bits": 2.347,
            "one": 2.975,
            "rom_bits": 0.004169,
            "sum_bits": 1.101,
        },
    },
    "add": {
        "lut": {
            "out_bits": 1.314,
        },
        "ff": {
            "in_bits": 1.52,
            "out_bits": 0.6328,
        },
    },
    "table_op": {
        "lut": {
            "out_bits": 0.3996,
            "rom_bits": 0.04793,
        },
        "ff": {
            "one": 0.3125,
            "out_bits": 1.219,
        },
    },
    "scores": {
        "lut": {
            "acc_bits": 3.105,
            "carries": 0.5975,
            "count_bits": 1.691,
            "lut_product_bits": 2.448,
            "lut_ram": 10.78,
            "one": 137.6,
            "rom_bits": 0.05501,
            "tree_adder_bits": 0.927,
        },
        "ff": {
            "acc_bits": 2.324,
            "carries": 0.4276,
            "count_bits": 1.528,
            "lut_ram": 0.1246,
            "one": 17.18,
            "out_bits": 2.158,
            "part_bits": 2.711,
            "product_bits": 0.8404,
            "rom_bits": 0.00731,
            "tree_bits": 0.8803,
            "w_bits": 2.237,
            "x_bits": 2.158,
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
            "acc_bits": 3.105,
            "carries": 0.5975,
            "count_bits": 1.691,
            "lut_product_bits": 2.448,
            "lut_ram": 10.78,
            "one": 146.9,
            "rom_bits": 0.05501,
            "tree_adder_bits": 0.927,
        },
        "ff": {
            "acc_bits": 2.324,
            "carries": 0.4276,
            "count_bits": 1.528,
            "lut_ram": 0.1246,
            "one": 16.35,
            "out_bits": 2.158,
            "part_bits": 2.711,
            "product_bits": 0.8404,
            "rom_bits": 0.00731,
            "tree_bits": 0.8803,
            "w_bits": 2.237,
            "x_bits": 2.158,
        },
    },
    "layernorm": {
        "lut": {
            "scaled_bits": 6.185,
            "square_bits": 27.97,
        },
        "ff": {
            "scaled_bits": 1.192,
            "serial_bits": 15.45,
            "square_bits": 5.114,
        },
    },
    "first_token": {
        "lut": {
            "lane_bits": 5.999,
        },
        "ff": {
            "count_bits": 1.5,
            "lane_bits": 1.0,
        },
    },
    "fifo": {
        "lut": {
            "address_bits": 8.36,
            "bits": 1.0,
            "lut_ram": 10.29,
            "memory_bits": 0.7347,
            "one": 13.99,
        },
        "ff": {
            "address_bits": 2.838,
            "bits": 2.001,
            "lut_ram": 0.5343,
            "memory_bits": 0.1681,
            "one": 3.989,
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
