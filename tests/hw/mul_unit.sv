// SPDX-License-Identifier: Apache-2.0
// mul_unit: mul of hw/rtl as a stream, so that the unit bench can drive it; s_data holds a in its low bits, b above
module mul_unit #(
  parameter int A_W = 18,
  parameter int B_W = 18,
  parameter int P_W = A_W + B_W
) (
  input wire logic clk, input wire logic rst,
  input wire logic s_valid, output logic s_ready, input wire logic [A_W+B_W-1:0] s_data, input wire logic s_last,
  output logic m_valid, input wire logic m_ready, output logic [P_W-1:0] m_data, output logic m_last
);
  logic [3:0] valid_q, last_q;
  assign s_ready = m_ready || !m_valid;
  assign {m_valid, m_last} = {valid_q[3], last_q[3]};
  always_ff @(posedge clk) begin
    if (s_ready) begin
      valid_q <= {valid_q[2:0], s_valid};
      last_q <= {last_q[2:0], s_last};
    end
    if (rst) valid_q <= '0;
  end
  mul #(.A_W(A_W), .B_W(B_W), .P_W(P_W)) dut (.clk, .en(s_ready), .a(s_data[A_W-1:0]), .b(s_data[A_W +: B_W]), .p(m_data));
endmodule
