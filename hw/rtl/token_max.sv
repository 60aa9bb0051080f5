// SPDX-License-Identifier: Apache-2.0
// token_max: for each channel the largest code of a sentence's tokens, y[c] = max over i of x[i][c]
// Golden : hw/ops/token_max.py
// Stream : s_* (token stream, LANES a beat) -> m_* (1 a beat, last on the C-th)
// Timing : as pool
// Layout : lane i = s_data[i*W +: W], lowest first
// Reset  : rst drops what is inside
module token_max #(
  parameter int C = 4,            // elements of a token
  parameter int LANES = 1,        // elements a beat at s_*
  parameter int W = 8,            // bits of a code
  parameter bit SIGNED = 1,
  parameter int MAX_TOKENS = 64   // of a sentence, at most
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [LANES*W-1:0] s_data,
  input  wire logic               s_last,
  output      logic               m_valid,
  input  wire logic               m_ready,
  output      logic [W-1:0]       m_data,
  output      logic               m_last
);
  /* verilator lint_off PINCONNECTEMPTY */
  pool #(.C(C), .LANES(LANES), .W(W), .SIGNED(SIGNED), .SUM(1'b0), .OUT_W(W), .MAX_TOKENS(MAX_TOKENS)) u_pool (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid, .m_ready, .m_data, .m_last, .tokens());
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
