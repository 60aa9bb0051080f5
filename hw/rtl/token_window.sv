// SPDX-License-Identifier: Apache-2.0
// token_window: tokens with their neighbours, y[i][c*KERNEL+k] = x[i*STRIDE + (k - (KERNEL-1)/2) * DILATION + (STRIDE-1)/2][c], 0 beyond the sentence's ends
// Golden : hw/ops/token_window.py
// Stream : s_* tokens of BEATS beats -> m_* tokens of BEATS beats, KERNEL times as wide; of a sentence of T tokens ceil(T / STRIDE)
// Timing : that of window
// Layout : element i of a token at s_* gives elements i*KERNEL .. at m_*, so blocks and filled places stay what they are
// Reset  : rst drops what is inside
module token_window #(
  parameter int KERNEL = 3,       // tokens side by side, at least 2
  parameter int DILATION = 1,     // from one to the next
  parameter int STRIDE = 1,       // from one window to the next
  parameter int LANES = 1,        // elements a beat at s_*
  parameter int BEATS = 4,        // of a token
  parameter int W = 8,            // bits of a code
  parameter int MAX_TOKENS = 64   // of a sentence, at most
) (
  input  wire logic                      clk,
  input  wire logic                      rst,
  input  wire logic                      s_valid,
  output      logic                      s_ready,
  input  wire logic [LANES*W-1:0]        s_data,
  input  wire logic                      s_last,
  output      logic                      m_valid,
  input  wire logic                      m_ready,
  output      logic [LANES*KERNEL*W-1:0] m_data,
  output      logic                      m_last
);
  /* verilator lint_off PINCONNECTEMPTY */
  window #(.KERNEL(KERNEL), .DILATION(DILATION), .STRIDE(STRIDE), .LANES(LANES), .BEATS(BEATS), .W(W), .MAX_TOKENS(MAX_TOKENS)) u_window (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid, .m_ready, .m_data, .there(), .m_last);
  /* verilator lint_on PINCONNECTEMPTY */
endmodule
