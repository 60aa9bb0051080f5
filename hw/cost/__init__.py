# SPDX-License-Identifier: Apache-2.0
"""What hardware takes of an FPGA, from the parameters of its modules alone. Which sizes a module has stands with the module (hw/ops, hw/parts)."""
