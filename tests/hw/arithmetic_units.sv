// SPDX-License-Identifier: Apache-2.0
// Wrappers that give the arithmetic blocks of hw/rtl whole streams, so that the unit bench can drive them; m_last = s_last of the same number.

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

// a in the low bits of s_data, b above it
module mul_unit #(
  parameter int A_W = 18,
  parameter int B_W = 18,
  parameter int P_W = A_W + B_W
) (
  input wire logic clk, input wire logic rst,
  input wire logic s_valid, output logic s_ready, input wire logic [A_W+B_W-1:0] s_data, input wire logic s_last,
  output logic m_valid, input wire logic m_ready, output logic [P_W-1:0] m_data, output logic m_last
);
  logic [2:0] valid_q, last_q;
  assign s_ready = m_ready || !m_valid;
  assign {m_valid, m_last} = {valid_q[2], last_q[2]};
  always_ff @(posedge clk) begin
    if (s_ready) begin
      valid_q <= {valid_q[1:0], s_valid};
      last_q <= {last_q[1:0], s_last};
    end
    if (rst) valid_q <= '0;
  end
  mul #(.A_W(A_W), .B_W(B_W), .P_W(P_W)) dut (.clk, .en(s_ready), .a(s_data[A_W-1:0]), .b(s_data[A_W +: B_W]), .p(m_data));
endmodule
