# SPDX-License-Identifier: Apache-2.0
"""The AXI4-Lite registers of the encoder's IP: byte addresses, as in hw/vivado/rtl/encoder_registers.sv."""

MAGIC, VERSION = 0x00, 0x04
IDENTITY_LOW, IDENTITY_HIGH = 0x08, 0x0C
DONE, LATEST = 0x10, 0x14
WAITED_IN, WAITED_OUT = 0x18, 0x1C
BEAT_BYTES = 0x20  # input in bits 15:0, output in bits 31:16
WEIGHTS_BASE, CONTROL = 0x24, 0x28  # written by the host, where MEMORY_BITS is not 0
MEMORY_STATE, MEMORY_ERROR_ADDRESS = 0x2C, 0x30
WEIGHTS_LOW, WEIGHTS_HIGH = 0x34, 0x38
MEMORY_BITS = 0x3C
LOG = 0x200  # entry e at LOG + 8 e: cycle of the first beat in, then of the last beat out
LOG_ENTRIES = 64

MAGIC_VALUE = 0x424C4D31
VERSION_VALUE = 2

RUN = 1  # in CONTROL
MEMORY_READY, MEMORY_FAILED = 1, 2  # in MEMORY_STATE; its bits 7:4 are the error's code
# As in hw/rtl/axi_fetch.sv and image_loader.sv
MEMORY_ERRORS = {
    1: "RRESP EXOKAY",
    2: "RRESP SLVERR",
    3: "RRESP DECERR",
    4: "RLAST before the last beat",
    5: "no RLAST with the last beat",
    6: "a beat when none was due",
    7: "RID is not 0",
    8: "the image is not for this hardware",
}
