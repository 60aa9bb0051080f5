# SPDX-License-Identifier: Apache-2.0
"""Training: networks of integer operators in Brevitas, data, calibration, and the export of the integer graph."""
