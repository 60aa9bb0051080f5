// SPDX-License-Identifier: Apache-2.0
// unfold: a folded stream -> tokens in order (blocks.sv says what folded is)
// Golden : none, moves data only
// Stream : s_* folded, m_* a token stream; m_last at the end of each sentence
// Timing : from a block's last beat in to its first beat out 3 cycles; II 1 also from block to block where there are two places
// Reset  : no block
module unfold #(
  parameter int C = 8,       // elements of a token
  parameter int TOKENS = 4,  // of a block, at most
  parameter int LANES = 1,   // elements per beat, divides FOLD
  parameter int W = 8,       // bits per element
  parameter int FOLD = 2,    // elements of a token that come one after the other, divides C
  parameter int PLACES = 2,     // for blocks: see blocks
  parameter RAM_STYLE = "auto"  // "ultra": in UltraRAM, Pack beats to a word
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic [25:0]        bus,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [LANES*W-1:0] s_data,
  input  wire logic               s_last,
  output      logic               m_valid,
  input  wire logic               m_ready,
  output      logic [LANES*W-1:0] m_data,
  output      logic               m_last
);
  localparam int Beats = C / LANES;
  /* verilator lint_off WIDTHEXPAND */
  localparam bit Ultra = RAM_STYLE == "ultra";
  /* verilator lint_on WIDTHEXPAND */
  // As many beats as have room in 72 bits, each in whole bytes of 9: a power of two that divides a token's
  localparam int Most = Ultra ? 8 / ((LANES * W + 8) / 9) : 1;
  localparam int Pack = Most >= 8 && Beats % 8 == 0 ? 8 : Most >= 4 && Beats % 4 == 0 ? 4 : Most >= 2 && Beats % 2 == 0 ? 2 : 1;
  localparam int PackW = $clog2(Pack);
  localparam int WordAtW = TOKENS * Beats / Pack > 1 ? $clog2(TOKENS * Beats / Pack) : 1;
  localparam int AtW = TOKENS * Beats > 1 ? $clog2(TOKENS * Beats) : 1;
  localparam int BeatW = Beats > 1 ? $clog2(Beats) : 1;
  localparam int CountW = $clog2(TOKENS + 1);

  logic [AtW-1:0] at_q;
  logic [BeatW-1:0] beat_q;
  logic [CountW-1:0] token_q;
  logic read_q, last_q;
  wire full, last;
  wire [CountW-1:0] count;
  wire [Pack*LANES*W-1:0] word;
  wire [LANES*W-1:0] beat;
  wire en = m_ready || !m_valid;
  wire token_end = beat_q == BeatW'(Beats - 1);
  wire done = full && token_end && token_q + 1'b1 == count;

  /* verilator lint_off PINCONNECTEMPTY */
  blocks #(.K(C), .TOKENS(TOKENS), .LANES(LANES), .WORD(Pack * LANES), .W(W), .FOLD(FOLD), .PLACES(PLACES), .RAM_STYLE(RAM_STYLE)) u_blocks (
    .clk, .rst, .bus, .s_valid, .s_ready, .s_data, .s_last,
    .en, .at(WordAtW'(at_q >> PackW)), .done, .full, .count, .last, .turn(), .next_turn(), .begun(), .word);
  /* verilator lint_on PINCONNECTEMPTY */

  if (Pack == 1) begin : g_whole
    assign beat = word;
  end else begin : g_packed
    logic [PackW-1:0] place_q;
    always_ff @(posedge clk) if (en) place_q <= at_q[PackW-1:0];
    assign beat = word[place_q*LANES*W +: LANES*W];
  end

  always_ff @(posedge clk) begin
    if (en) begin
      if (full) begin
        at_q <= done ? '0 : at_q + 1'b1;
        beat_q <= token_end ? '0 : beat_q + 1'b1;
        if (token_end) token_q <= done ? '0 : token_q + 1'b1;
      end
      read_q <= full;
      last_q <= done && last;
      m_valid <= read_q;
      m_last <= last_q;
      m_data <= beat;
    end
    if (rst) begin
      at_q <= '0;
      beat_q <= '0;
      token_q <= '0;
      read_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end
endmodule
