// SPDX-License-Identifier: Apache-2.0
// pool: for each channel the largest code of a sentence's tokens, or their sum, one element a beat
// Golden : none of its own; token_max and token_mean
// Stream : s_* (token stream, LANES a beat) -> m_* (1 a beat, last on the C-th); `tokens`: of the sentence whose beats are at m_*
// Timing : a sentence whose last beat is taken in cycle t leaves from t + 2 on, an element a cycle, while the next one is taken; so a sentence takes
//          max(T*C/LANES, C) cycles
// Layout : lane i = s_data[i*W +: W], lowest first
// Reset  : rst drops what is inside
module pool #(
  parameter int C = 4,            // elements of a token
  parameter int LANES = 1,        // elements a beat at s_*
  parameter int W = 8,            // bits of a code
  parameter bit SIGNED = 1,
  parameter bit SUM = 0,          // the sum, of OUT_W bits, signed; else the largest, of W bits, as signed as the input
  parameter int OUT_W = 8,
  parameter int MAX_TOKENS = 64,  // of a sentence, at most
  localparam int COUNT_W = $clog2(MAX_TOKENS + 1)
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [LANES*W-1:0] s_data,
  input  wire logic               s_last,
  output      logic               m_valid,
  input  wire logic               m_ready,
  output      logic [OUT_W-1:0]   m_data,
  output      logic               m_last,
  output      logic [COUNT_W-1:0] tokens
);
  localparam int Beats = C / LANES;
  localparam int BeatW = Beats > 1 ? $clog2(Beats) : 1;
  localparam int LaneW = LANES > 1 ? $clog2(LANES) : 1;

  // Two banks: one is filled while the other leaves. Each has its next word in a register.
  logic [2*LANES*OUT_W-1:0] words;
  logic [1:0] full_q;
  logic into_q, from_q;           // the bank that is filled, the one that leaves
  logic [BeatW-1:0] beat_q, out_beat_q;
  logic [LaneW-1:0] out_lane_q;
  logic [COUNT_W-1:0] count_q;
  logic [2*COUNT_W-1:0] counts_q; // of each bank's sentence
  logic take, give, token_end, first, out_end;
  logic lane_end;
  wire [LANES*OUT_W-1:0] so_far = words[into_q*LANES*OUT_W +: LANES*OUT_W];
  wire [LANES*OUT_W-1:0] leaves = words[from_q*LANES*OUT_W +: LANES*OUT_W];
  logic [LANES*OUT_W-1:0] now;

  assign s_ready = !full_q[into_q];
  assign take = s_valid && s_ready;
  assign token_end = beat_q == BeatW'(Beats - 1);
  assign first = count_q == '0;

  for (genvar i = 0; i < LANES; i++) begin : g_lane
    wire [W-1:0] x = s_data[i*W +: W];
    wire signed [OUT_W:0] wide = (OUT_W + 1)'($signed({SIGNED && x[W-1], x}));
    wire [OUT_W-1:0] held = so_far[i*OUT_W +: OUT_W];
    wire signed [OUT_W:0] old = $signed({(SIGNED || SUM) && held[OUT_W-1], held});
    if (SUM) begin : g_sum
      assign now[i*OUT_W +: OUT_W] = first ? wide[OUT_W-1:0] : OUT_W'(old + wide);
    end else begin : g_max
      assign now[i*OUT_W +: OUT_W] = first || wide > old ? wide[OUT_W-1:0] : old[OUT_W-1:0];
    end
  end

  for (genvar b = 0; b < 2; b++) begin : g_bank
    logic [LANES*OUT_W-1:0] word_q;
    wire put = take && into_q == b[0];
    assign words[b*LANES*OUT_W +: LANES*OUT_W] = word_q;
    if (Beats == 1) begin : g_word
      always_ff @(posedge clk) if (put) word_q <= now;
    end else begin : g_words
      logic [LANES*OUT_W-1:0] ram [0:Beats-1];
      wire [BeatW-1:0] at = full_q[b] ? out_beat_q : beat_q;
      wire [BeatW-1:0] next = at == BeatW'(Beats - 1) ? '0 : at + 1'b1;
      always_ff @(posedge clk) if (put) ram[beat_q] <= now;
      always_ff @(posedge clk) if (put || (give && lane_end && from_q == b[0])) word_q <= ram[next];
    end
  end

  assign give = (m_ready || !m_valid) && full_q[from_q];
  assign lane_end = out_lane_q == LaneW'(LANES - 1);
  assign out_end = out_beat_q == BeatW'(Beats - 1) && lane_end;

  always_ff @(posedge clk) begin
    if (m_ready) m_valid <= 1'b0;
    if (take) begin
      beat_q <= token_end ? '0 : beat_q + 1'b1;
      if (token_end) count_q <= s_last ? '0 : count_q + 1'b1;
      if (s_last) begin
        full_q[into_q] <= 1'b1;
        counts_q[into_q*COUNT_W +: COUNT_W] <= count_q + 1'b1;
        into_q <= !into_q;
      end
    end
    if (give) begin
      m_valid <= 1'b1;
      m_last <= out_end;
      m_data <= leaves[out_lane_q*OUT_W +: OUT_W];
      tokens <= counts_q[from_q*COUNT_W +: COUNT_W];
      out_lane_q <= lane_end ? '0 : out_lane_q + 1'b1;
      if (lane_end) out_beat_q <= out_end ? '0 : out_beat_q + 1'b1;
      if (out_end) begin
        full_q[from_q] <= 1'b0;
        from_q <= !from_q;
      end
    end
    if (rst) begin
      m_valid <= 1'b0;
      full_q <= '0;
      into_q <= 1'b0;
      from_q <= 1'b0;
      beat_q <= '0;
      count_q <= '0;
      out_beat_q <= '0;
      out_lane_q <= '0;
    end
  end

  initial begin
    if (C % LANES != 0) $fatal(1, "pool: got LANES %0d, must divide C %0d", LANES, C);
    if (!SUM && OUT_W != W) $fatal(1, "pool: got OUT_W %0d, must be W %0d of the largest", OUT_W, W);
  end
endmodule
