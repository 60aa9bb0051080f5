// SPDX-License-Identifier: Apache-2.0
// first_token: the first token of each sentence, one element a beat; the other tokens are dropped
// Golden : hw/ops/first_token.py
// Stream : s_* (token stream, LANES a beat) -> m_* (1 a beat, last on the C-th)
//          b_*: of packs (BORDER_W) tokens of each of their sentences, one beat, taken with its last token, which each of its beats waits for;
//          b_last: it is its pack's last one, at whose first token's last element alone m_last is set
// Timing : latency 1; a beat of the first token takes LANES cycles, any other one. Dropped beats never wait for m_*, so a sentence
//          takes C + (T-1)*C/LANES cycles less the LANES-1 in which the first token's last elements leave beside the second token
// Layout : lane i = s_data[i*W +: W], lowest first
// Reset  : rst drops what is in flight
module first_token #(
  parameter int C = 4,        // elements of a token
  parameter int LANES = 1,    // elements a beat at s_*
  parameter int W = 8,        // bits of a code
  parameter int BORDER_W = 0, // bits of b_*; 0: a sentence ends with s_last
  localparam int B_W = BORDER_W > 0 ? BORDER_W : 1
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [LANES*W-1:0] s_data,
  input  wire logic               s_last,
  input  wire logic               b_valid,
  output      logic               b_ready,
  input  wire logic [B_W-1:0]     b_data,
  input  wire logic               b_last,
  output      logic               m_valid,
  input  wire logic               m_ready,
  output      logic [W-1:0]       m_data,
  output      logic               m_last
);
  localparam int Beats = C / LANES;
  localparam int BeatW = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int LeftW = $clog2(LANES + 1);

  logic [LANES*W-1:0] hold_q;         // next element lowest
  logic [LeftW-1:0] left_q;           // elements in hold_q
  logic [BeatW-1:0] beat_q;
  logic first_q, final_q;             // first_q: in the first token; final_q: hold_q is that token's last beat
  logic take, move, end_of_token;

  if (C % LANES != 0) begin : check
    initial $fatal(1, "first_token: LANES must divide C");
  end

  assign m_valid = left_q != '0;
  assign m_data = hold_q[W-1:0];
  assign m_last = final_q && left_q == LeftW'(1) && pack_last;
  assign move = m_valid && m_ready;
  assign s_ready = (BORDER_W == 0 || b_valid) && (!first_q || !m_valid || (m_ready && left_q == LeftW'(1)));
  assign take = s_valid && s_ready;
  assign end_of_token = beat_q == BeatW'(Beats - 1);

  // Whether the token is its sentence's last; whether hold_q is of the last sentence of its pack
  wire ends, pack_last;
  if (BORDER_W == 0) begin : g_alone
    assign ends = s_last;
    assign b_ready = 1'b1;
    assign pack_last = 1'b1;
    wire unused = &{1'b0, b_valid, b_data, b_last};
  end else begin : g_pack
    logic [B_W-1:0] token_q;
    logic last_q;
    assign pack_last = last_q;
    assign ends = token_q + 1'b1 == b_data;
    assign b_ready = take && end_of_token && ends;
    always_ff @(posedge clk) begin
      if (take && first_q) last_q <= b_last;
      if (take && end_of_token) token_q <= ends ? '0 : token_q + 1'b1;
      if (rst) token_q <= '0;
    end
    wire unused = &{1'b0, s_last};
  end

  always_ff @(posedge clk) begin
    if (move) begin
      hold_q <= hold_q >> W;
      left_q <= left_q - LeftW'(1);
    end
    if (take) begin
      beat_q <= end_of_token ? '0 : beat_q + BeatW'(1);
      if (end_of_token) first_q <= ends;
      if (first_q) begin
        hold_q <= s_data;
        left_q <= LeftW'(LANES);
        final_q <= end_of_token;
      end
    end
    if (rst) begin
      left_q <= '0;
      beat_q <= '0;
      first_q <= 1'b1;
    end
  end
endmodule
