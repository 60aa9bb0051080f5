# SPDX-License-Identifier: Apache-2.0
"""What training minimizes: objectives are methods too (bitloom.qat.methods), a file each."""
