// SPDX-License-Identifier: Apache-2.0
// banks: double buffer of a stream's units (tokens or rows), written as they come, read at random
// Golden : none, moves data only
// Stream : s_* in; a unit is DEPTH words (FIXED = 1) or ends with s_last (FIXED = 0, then at most DEPTH words)
// Reader : while `full`, the oldest unit may be read: `word` holds the word at `offset` of the cycle before.
//          `done` drops the unit; the next one, if there, can be read in the following cycle. Both only count when `en`.
// Timing : a unit whose last beat is taken in cycle t is `full` from t + 1. No idle cycle between units on either side.
// Layout : element i of a word = word[i*W +: W]; WORD/LANES beats fill a word, the first beat the lowest elements
// Reset  : both banks empty; the memory keeps its contents
module banks #(
  parameter int LANES = 1,    // elements per beat
  parameter int WORD = 1,     // elements per word, a multiple of LANES
  parameter int W = 8,        // bits per element
  parameter int DEPTH = 2,    // words per unit, at most
  parameter bit FIXED = 1'b1, // 1: every unit is DEPTH words; 0: s_last ends a unit
  parameter int LEAST = 1,    // words, see few
  localparam int OFFSET_W = DEPTH > 1 ? $clog2(DEPTH) : 1,
  localparam int COUNT_W = $clog2(DEPTH + 1)
) (
  input  wire logic                clk,
  input  wire logic                rst,
  input  wire logic                s_valid,
  output      logic                     s_ready,
  input  wire logic [LANES*W-1:0]  s_data,
  input  wire logic                s_last,
  input  wire logic                en,
  input  wire logic [OFFSET_W-1:0] offset,
  input  wire logic                done,
  output      logic                     full,
  output      logic [COUNT_W-1:0]       count,  // words of the oldest unit
  output      logic                     one,    // count is 1
  output      logic                     few,    // count is below LEAST
  output      logic                     last,   // s_last of its final beat
  output      logic [WORD*W-1:0]        word
);
  localparam int Beats = WORD / LANES;
  localparam int AddrW = $clog2(2 * DEPTH);
  localparam logic [COUNT_W-1:0] Few = COUNT_W'(LEAST - 1 < DEPTH ? LEAST - 1 : DEPTH);

  // A unit is read only after the cycle in which its last word was written.
  (* no_rw_check *) logic [WORD*W-1:0] ram [0:2*DEPTH-1];
  logic [WORD*W-1:0] filled;
  logic [AddrW-1:0] write_at, read_at;
  logic [COUNT_W-1:0] written_q;     // words of the unit being written
  logic [COUNT_W+2:0] unit, second_q; // {count, last, one, few} of the unit that ends, of the second one held; the oldest's are the outputs
  logic full_q, both_q;              // a unit is held, two are
  logic last_word_q;                 // written_q == DEPTH - 1
  logic write_bank_q, read_bank_q, word_end, unit_end;

  // A word is written with its last beat; `part_q` holds the beats before.
  if (Beats == 1) begin : g_whole
    assign filled = s_data;
    assign word_end = s_valid && s_ready;
  end else begin : g_parts
    localparam int Part = (Beats - 1) * LANES * W;
    logic [Part-1:0] part_q;
    logic [$clog2(Beats)-1:0] beat_q;
    logic last_beat_q;

    assign filled = {s_data, part_q};
    assign word_end = s_valid && s_ready && last_beat_q;
    always_ff @(posedge clk) begin
      if (s_valid && s_ready) begin
        part_q <= filled[WORD*W-1 -: Part];
        beat_q <= word_end ? '0 : beat_q + 1'b1;
        last_beat_q <= beat_q == $clog2(Beats)'(Beats - 2);
      end
      if (rst) begin
        beat_q <= '0;
        last_beat_q <= 1'b0;
      end
    end
  end

  assign s_ready = !both_q;
  assign unit_end = word_end && (FIXED ? last_word_q : s_last);
  assign unit = {written_q + 1'b1, s_last, written_q == '0, written_q + 1'b1 <= Few};
  assign write_at = (write_bank_q ? AddrW'(DEPTH) : '0) + AddrW'(written_q);
  assign read_at = (read_bank_q ? AddrW'(DEPTH) : '0) + AddrW'(offset);

  always_ff @(posedge clk) if (word_end) ram[write_at] <= filled;
  always_ff @(posedge clk) if (en) word <= ram[read_at];

  assign full = full_q;

  always_ff @(posedge clk) begin
    if (word_end) begin
      written_q <= unit_end ? '0 : written_q + 1'b1;
      last_word_q <= DEPTH == 1 || written_q == COUNT_W'(DEPTH - 2);
    end
    full_q <= unit_end || both_q || (full_q && !(en && done));
    both_q <= full_q && (unit_end || both_q) && !(en && done);
    if (unit_end) begin
      second_q <= unit;
      write_bank_q <= !write_bank_q;
    end
    if (!full_q || (en && done)) {count, last, one, few} <= both_q ? second_q : unit;
    if (en && done) read_bank_q <= !read_bank_q;
    if (rst) begin
      written_q <= '0;
      last_word_q <= DEPTH == 1;
      full_q <= 1'b0;
      both_q <= 1'b0;
      write_bank_q <= 1'b0;
      read_bank_q <= 1'b0;
    end
  end

  initial if (LANES < 1 || WORD % LANES != 0) $fatal(1, "banks: got LANES %0d, must divide WORD %0d", LANES, WORD);
endmodule
