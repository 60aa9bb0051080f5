// SPDX-License-Identifier: Apache-2.0
// loop_unit: a rolled encoder's loop around a stand-in of a layer, which adds STEP to a token's first element, twice that to the next, .., and gives the first token's as logits, LATENCY beats later
module loop_unit #(
  parameter int TURNS = 3,
  parameter int SENTENCES = 2,
  parameter int MAX_TOKENS = 4,
  parameter int LABELS = 2,       // elements of a token, one a beat
  parameter int W = 6,
  parameter int STEP = 5,
  parameter int PATIENCE = 1,
  parameter int LATENCY = 4,
  parameter logic [TURNS*(W+1)-1:0] THRESHOLDS = '0
) (
  input  wire logic         clk,
  input  wire logic         rst,
  input  wire logic         s_valid,
  output logic              s_ready,
  input  wire logic [W-1:0] s_data,
  input  wire logic         s_last,
  output logic              m_valid,
  input  wire logic         m_ready,
  output logic [W-1:0]      m_data,
  output logic              m_last
);
  wire a_valid, a_ready, a_last, d_valid, d_last, b_valid, b_ready, b_last, e_valid, e_ready, e_last, g_valid, g_ready, g_last;
  wire [W-1:0] a_data, d_data, b_data, e_data, g_data;
  wire [1:0] f_valid, f_ready, f_last;
  wire [2*W-1:0] f_data;
  wire d_ready;
  logic [$clog2(LABELS)-1:0] label_q;
  wire [W-1:0] step = W'(STEP * (32'(label_q) + 1));
  always_ff @(posedge clk)
    if (rst) label_q <= '0;
    else if (a_valid && a_ready) label_q <= label_q == $clog2(LABELS)'(LABELS - 1) ? '0 : label_q + 1'b1;

  /* verilator lint_off PINCONNECTEMPTY */
  loop #(.TURNS(TURNS), .SENTENCES(SENTENCES), .MAX_TOKENS(MAX_TOKENS), .BEATS(LABELS), .WIDTH(W), .LABELS(LABELS), .LOGIT_W(W), .PATIENCE(PATIENCE),
    .THRESHOLDS(THRESHOLDS)) dut (.clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid(a_valid), .m_ready(a_ready), .m_data(a_data), .m_last(a_last),
    .b_valid, .b_ready, .b_data, .b_last, .x_valid(m_valid), .x_ready(m_ready), .x_data(m_data), .x_last(m_last), .e_valid, .e_ready, .e_data, .e_last,
    .n_valid(1'b0), .n_ready(), .n_data('0), .n_last(1'b0), .o_valid(), .o_ready(1'b1), .o_data(), .o_last(), .bus());
  /* verilator lint_on PINCONNECTEMPTY */
  fifo #(.WIDTH(W), .DEPTH(LATENCY)) u_layer (.clk, .rst, .s_valid(a_valid), .s_ready(a_ready), .s_data(a_data + step), .s_last(a_last),
    .m_valid(d_valid), .m_ready(d_ready), .m_data(d_data), .m_last(d_last));
  stream_fork #(.N(2), .WIDTH(W)) u_fork (.clk, .rst, .s_valid(d_valid), .s_ready(d_ready), .s_data(d_data), .s_last(d_last),
    .m_valid(f_valid), .m_ready(f_ready), .m_data(f_data), .m_last(f_last));
  fifo #(.WIDTH(W), .DEPTH(2)) u_back (.clk, .rst, .s_valid(f_valid[0]), .s_ready(f_ready[0]), .s_data(f_data[0 +: W]), .s_last(f_last[0]),
    .m_valid(b_valid), .m_ready(b_ready), .m_data(b_data), .m_last(b_last));
  /* verilator lint_off PINCONNECTEMPTY */
  first_token #(.C(LABELS), .LANES(1), .W(W)) u_first (.clk, .rst, .s_valid(f_valid[1]), .s_ready(f_ready[1]), .s_data(f_data[W +: W]), .s_last(f_last[1]),
    .b_valid(1'b0), .b_ready(), .b_data(1'b0), .b_last(1'b0), .m_valid(g_valid), .m_ready(g_ready), .m_data(g_data), .m_last(g_last));
  /* verilator lint_on PINCONNECTEMPTY */
  fifo #(.WIDTH(W), .DEPTH(LATENCY)) u_ramp (.clk, .rst, .s_valid(g_valid), .s_ready(g_ready), .s_data(g_data), .s_last(g_last),
    .m_valid(e_valid), .m_ready(e_ready), .m_data(e_data), .m_last(e_last));
endmodule
