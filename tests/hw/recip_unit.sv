// SPDX-License-Identifier: Apache-2.0
// recip_unit: recip of hw/rtl with a whole stream's ports, so that the unit bench can drive it; m_last = s_last of the same number
module recip_unit #(
  parameter int K = 24,
  parameter int S_W = 17,
  parameter int S_MIN_LOG2 = 10,
  localparam int R_W = K - S_MIN_LOG2 + 1
) (
  input wire logic clk, input wire logic rst,
  input wire logic s_valid, output logic s_ready, input wire logic [S_W-1:0] s_data, input wire logic s_last,
  output logic m_valid, input wire logic m_ready, output logic [R_W-1:0] m_data, output logic m_last
);
  always_ff @(posedge clk) if (s_valid && s_ready) m_last <= s_last;
  recip #(.K(K), .S_W(S_W), .S_MIN_LOG2(S_MIN_LOG2)) dut (.*);
endmodule
