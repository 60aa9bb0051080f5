// SPDX-License-Identifier: Apache-2.0
// loop_unit: a rolled encoder's loop around a stand-in of a layer, which adds STEP to a token's first element, twice that to the next, .., and gives the first token's as logits, LATENCY beats later
// Pairs  : (BORDER_W) what the loop tells of a visit is added to each element, and its beats wait for it; of packs (PACK) what is told of each sentence to its
//          own elements, and what is told ends them: `last` comes from there
module loop_unit #(
  parameter int TURNS = 3,
  parameter int SENTENCES = 2,
  parameter int MAX_TOKENS = 4,
  parameter int LABELS = 2,       // elements of a token, one a beat
  parameter int W = 6,
  parameter int STEP = 5,
  parameter int PATIENCE = 1,
  parameter int LATENCY = 4,
  parameter logic [TURNS*(W+1)-1:0] THRESHOLDS = '0,
  parameter int BORDER_W = 0,     // bits of n_*; 0: they are not looked at
  parameter logic [TURNS-1:0] ALL = '0,
  parameter int PACK = 0,
  localparam int B_W = BORDER_W > 0 ? BORDER_W : 1
) (
  input  wire logic         clk,
  input  wire logic         rst,
  input  wire logic         s_valid,
  output logic              s_ready,
  input  wire logic [W-1:0] s_data,
  input  wire logic         s_last,
  input  wire logic         n_valid,
  output logic              n_ready,
  input  wire logic [B_W-1:0] n_data,
  input  wire logic         n_last,
  output logic              m_valid,
  input  wire logic         m_ready,
  output logic [W-1:0]      m_data,
  output logic              m_last
);
  wire a_valid, a_ready, a_last, d_valid, d_last, b_valid, b_ready, b_last, e_valid, e_ready, e_last, g_valid, g_ready, g_last;
  wire [W-1:0] a_data, d_data, b_data, e_data, g_data;
  wire [1:0] f_valid, f_ready, f_last;
  wire [2*W-1:0] f_data;
  wire d_ready, o_valid, o_ready, o_last, l_ready, l_last, told;
  wire [B_W-1:0] o_data;
  wire [W-1:0] more;
  logic [$clog2(LABELS)-1:0] label_q;
  wire [W-1:0] step = W'(STEP * (32'(label_q) + 1));
  always_ff @(posedge clk)
    if (rst) label_q <= '0;
    else if (a_valid && a_ready) label_q <= label_q == $clog2(LABELS)'(LABELS - 1) ? '0 : label_q + 1'b1;

  /* verilator lint_off PINCONNECTEMPTY */
  loop #(.TURNS(TURNS), .SENTENCES(SENTENCES), .MAX_TOKENS(MAX_TOKENS), .BEATS(LABELS), .WIDTH(W), .LABELS(LABELS), .LOGIT_W(W), .PATIENCE(PATIENCE),
    .THRESHOLDS(THRESHOLDS), .BORDER_W(BORDER_W), .ALL(ALL), .PACK(PACK)) dut (.clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid(a_valid), .m_ready(a_ready), .m_data(a_data), .m_last(a_last),
    .b_valid, .b_ready, .b_data, .b_last, .x_valid(m_valid), .x_ready(m_ready), .x_data(m_data), .x_last(m_last), .e_valid, .e_ready, .e_data, .e_last,
    .n_valid, .n_ready, .n_data, .n_last, .o_valid, .o_ready, .o_data, .o_last, .bus());
  /* verilator lint_on PINCONNECTEMPTY */

  if (BORDER_W == 0) begin : g_alone
    assign {told, l_last, more, o_ready} = {1'b1, d_last, W'(0), 1'b1};
    wire unused = &{1'b0, o_valid, o_data, o_last};
  end else begin : g_told
    localparam int Elements = MAX_TOKENS * LABELS;
    logic [$clog2(Elements)-1:0] at_q;  // of the visit, or of the pack's sentence
    wire t_last;
    wire [B_W-1:0] t_data;
    wire whole = PACK != 0 ? 32'(at_q) + 1 == LABELS * 32'(t_data) : d_last;
    wire moves = d_valid && d_ready;

    fifo #(.WIDTH(B_W), .DEPTH(2 * MAX_TOKENS)) u_told (.clk, .rst, .s_valid(o_valid), .s_ready(o_ready), .s_data(o_data), .s_last(o_last),
      .m_valid(told), .m_ready(moves && whole), .m_data(t_data), .m_last(t_last));
    assign l_last = whole && t_last;
    assign more = W'(t_data);
    always_ff @(posedge clk)
      if (rst) at_q <= '0;
      else if (moves) at_q <= whole ? '0 : at_q + 1'b1;
  end
  assign d_ready = l_ready && told;

  fifo #(.WIDTH(W), .DEPTH(LATENCY + (BORDER_W > 0 ? MAX_TOKENS * LABELS : 0))) u_layer (.clk, .rst, .s_valid(a_valid), .s_ready(a_ready), .s_data(a_data + step), .s_last(a_last),
    .m_valid(d_valid), .m_ready(d_ready), .m_data(d_data), .m_last(d_last));
  stream_fork #(.N(2), .WIDTH(W)) u_fork (.clk, .rst, .s_valid(d_valid && told), .s_ready(l_ready), .s_data(d_data + more), .s_last(l_last),
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
