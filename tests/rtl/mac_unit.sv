// SPDX-License-Identifier: Apache-2.0
// mac_unit: mac_array as a stream: a beat is {weights of rows PE-1 .. 0, x}, its result the PE products
module mac_unit #(
  parameter int X_W = 8,
  parameter bit X_SIGNED = 1'b1,
  parameter int W_W = 4,
  parameter int PE = 2,
  parameter bit W_NARROW = 1'b0,
  parameter MUL_STYLE = "one"
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic                   s_valid,
  output logic                        s_ready,
  input  wire logic [X_W+PE*W_W-1:0]   s_data,
  input  wire logic                   s_last,
  output logic                        m_valid,
  input  wire logic                   m_ready,
  output logic [PE*(X_W+W_W)-1:0]      m_data,
  output logic                        m_last
);
  assign s_ready = m_ready || !m_valid;

  mac_array #(.PE(PE), .SIMD(1), .X_W(X_W), .X_SIGNED(X_SIGNED), .W_W(W_W), .OUT_W(X_W + W_W), .MUL_STYLE(MUL_STYLE), .W_NARROW(W_NARROW)) dut (
    .clk, .rst, .en(s_ready), .first(1'b1), .final_step(s_valid), .i_last(s_last), .x(s_data[X_W-1:0]), .w(s_data[X_W +: PE*W_W]),
    .o_valid(m_valid), .o_last(m_last), .acc(m_data));
endmodule
