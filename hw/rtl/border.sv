// SPDX-License-Identifier: Apache-2.0
// border: how many tokens the first sentence of a pair has: those in front of the first token whose lowest bit (of channel 0) is set, else all;
//          or (ENDS) how many each sentence of a pack has: the last token of each is marked so
// Golden : hw/ops/border.py
// Stream : s_* (token stream of marked sums, BEATS a token) -> m_*, one beat a sentence; of a pack one for each of its sentences, `last` on the last
// Timing : latency 1 from the first beat of the second sentence, or, where there is none, from the last beat of all; any beat waits while the
//          border before it stands at m_*. Of a pack from the last beat of each marked token
// Layout : channel 0 = lane 0 of a token's first beat
// Reset  : at a sentence's first token
module border #(
  parameter int BEATS = 2,    // of a token
  parameter int WIDTH = 8,    // bits of a beat
  parameter int OUT_W = 4,    // bits of the longest sentence's number of tokens
  parameter int ENDS = 0      // 1: marks are those of the last tokens of a pack's sentences
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             s_valid,
  output      logic             s_ready,
  input  wire logic [WIDTH-1:0] s_data,
  input  wire logic             s_last,
  output      logic             m_valid,
  input  wire logic             m_ready,
  output      logic [OUT_W-1:0] m_data,
  output      logic             m_last
);
  localparam int BeatW = BEATS > 1 ? $clog2(BEATS) : 1;
  logic [BeatW-1:0] beat_q;
  logic [OUT_W-1:0] tokens_q;        // whole ones of the sentence
  logic told_q;
  wire take = s_valid && s_ready;
  wire token_end = beat_q == BeatW'(BEATS - 1);
  wire begins = ENDS == 0 && !told_q && beat_q == '0 && s_data[0];
  wire ends;                         // of a pack: the beat is the last one of a sentence
  wire tell = take && (ENDS != 0 ? ends : begins || (s_last && !told_q));

  if (ENDS != 0) begin : g_ends
    logic marked_q, last_q;
    wire marked = beat_q == '0 ? s_data[0] : marked_q;
    assign ends = token_end && marked;
    assign m_last = last_q;
    always_ff @(posedge clk) begin
      if (take) marked_q <= marked;
      if (tell) last_q <= s_last;
    end
  end else begin : g_pair
    assign ends = 1'b0;
    assign m_last = 1'b1;
  end

  assign s_ready = !m_valid || m_ready;
  always_ff @(posedge clk) begin
    if (take) begin
      beat_q <= token_end ? '0 : beat_q + 1'b1;
      if (token_end) tokens_q <= s_last || ends ? '0 : tokens_q + 1'b1;
      told_q <= !s_last && (told_q || begins);
    end
    if (tell) m_data <= begins ? tokens_q : tokens_q + 1'b1;
    if (s_ready) m_valid <= tell;
    if (rst) begin
      beat_q <= '0;
      tokens_q <= '0;
      told_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end
  if (WIDTH > 1) begin : g_rest
    wire unused = &{1'b0, s_data[WIDTH-1:1]};
  end
endmodule
