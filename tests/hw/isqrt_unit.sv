// SPDX-License-Identifier: Apache-2.0
// isqrt_unit: isqrt of hw/rtl with a whole stream's ports, so that the unit bench can drive it; m_last = s_last of the same number
module isqrt_unit #(
  parameter int V_W = 32,
  localparam int S_W = (V_W + 1) / 2
) (
  input wire logic clk, input wire logic rst,
  input wire logic s_valid, output logic s_ready, input wire logic [V_W-1:0] s_data, input wire logic s_last,
  output logic m_valid, input wire logic m_ready, output logic [S_W-1:0] m_data, output logic m_last
);
  always_ff @(posedge clk) if (s_valid && s_ready) m_last <= s_last;
  isqrt #(.V_W(V_W)) dut (.*);
endmodule
