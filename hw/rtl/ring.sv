// SPDX-License-Identifier: Apache-2.0
// ring: a stream's sentences, each held until it has been read to the end, one behind the other in a memory of ROOM times the longest
// Golden : none, moves data only
// Stream : s_* in; a sentence ends with s_last and is at most DEPTH words. A word enters as soon as there is room for it, so
//          behind a long sentence that is being read wait several short ones, up to SENTENCES whole ones in all
// Reader : while `full`, the oldest sentence may be read: `word` holds the word at `offset` of the cycle before.
//          `done` drops the sentence; the next one, if there, can be read in the following cycle. Both only count when `en`.
// Timing : a sentence whose last beat is taken in cycle t is `full` from t + 1; words that are dropped in cycle t leave room from
//          t + 1. No idle cycle between sentences on either side.
// Layout : element i of a word = word[i*W +: W]; WORD/LANES beats fill a word, the first beat the lowest elements
// Reset  : empty; the memory keeps its contents
module ring #(
  parameter int LANES = 1,       // elements per beat
  parameter int WORD = 1,        // elements per word, a multiple of LANES
  parameter int W = 8,           // bits per element
  parameter int DEPTH = 2,       // words of the longest sentence
  parameter int ROOM = 2,        // longest sentences that it holds, at least 1
  parameter int SENTENCES = 16,  // whole ones that it holds at most, a power of two
  /* verilator lint_off UNUSEDPARAM */  // an attribute takes it
  parameter RAM_STYLE = "auto",  // "ultra": in UltraRAM
  /* verilator lint_on UNUSEDPARAM */
  localparam int OFFSET_W = DEPTH > 1 ? $clog2(DEPTH) : 1,
  localparam int COUNT_W = $clog2(DEPTH + 1)
) (
  input  wire logic                clk,
  input  wire logic                rst,
  input  wire logic                s_valid,
  output      logic                s_ready,
  input  wire logic [LANES*W-1:0]  s_data,
  input  wire logic                s_last,
  input  wire logic                en,
  input  wire logic [OFFSET_W-1:0] offset,
  input  wire logic                done,
  output      logic                full,
  output      logic [COUNT_W-1:0]  count,  // words of the oldest sentence
  output      logic [WORD*W-1:0]   word
);
  localparam int Beats = WORD / LANES;
  localparam int Size = ROOM * DEPTH;
  localparam int AtW = Size > 1 ? $clog2(Size) : 1;
  localparam int UsedW = $clog2(Size + 1);
  localparam int SentenceW = $clog2(SENTENCES);
  localparam bit Wraps = (1 << AtW) != Size;  // else addresses wrap by themselves

  // A sentence is read only after the cycle in which its last word was written.
  (* ram_style = RAM_STYLE, no_rw_check *) logic [WORD*W-1:0] ram [0:Size-1];
  logic [COUNT_W-1:0] counts [0:SENTENCES-1];  // words of the whole sentences; of the oldest, `count` has them too
  logic [WORD*W-1:0] filled;
  logic [AtW-1:0] write_at_q, base_q, read_at, next_base;
  logic [COUNT_W-1:0] written;                 // words of the sentence being written, the present one included
  logic [COUNT_W-1:0] written_q;
  logic [UsedW-1:0] used_q;                    // words held; those of a sentence that is dropped count for one cycle more
  logic dropped_q;                             // a sentence was dropped in the cycle before, of
  logic [COUNT_W-1:0] dropped_count_q;         // so many words
  logic full_q;                                // used_q == Size
  logic crowded_q;                             // held_q == SENTENCES
  logic [SentenceW-1:0] head_q, tail_q;
  logic [SentenceW:0] held_q;                  // whole sentences
  logic alone_q;                               // held_q == 1
  logic word_end, sentence_in, sentence_out;

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

  // base + by, back to 0 at the end of the memory
  function automatic logic [AtW-1:0] moved(input logic [AtW-1:0] base, input logic [COUNT_W-1:0] by);
    logic [AtW:0] over;  // negative: the end is not reached
    over = (AtW + 1)'(base) + (AtW + 1)'(by) - (AtW + 1)'(Size);
    moved = Wraps && !over[AtW] ? over[AtW-1:0] : base + AtW'(by);
  endfunction

  assign s_ready = (!full_q || dropped_q) && !crowded_q;
  assign written = written_q + 1'b1;
  assign sentence_in = word_end && s_last;
  assign sentence_out = en && done;
  assign read_at = moved(base_q, COUNT_W'(offset));
  assign next_base = moved(base_q, count);

  always_ff @(posedge clk) if (word_end) ram[write_at_q] <= filled;
  always_ff @(posedge clk) if (en) word <= ram[read_at];
  always_ff @(posedge clk) if (sentence_in) counts[tail_q] <= written;

  always_ff @(posedge clk) begin
    if (word_end) begin
      write_at_q <= write_at_q == AtW'(Size - 1) ? '0 : write_at_q + 1'b1;
      written_q <= sentence_in ? '0 : written;
    end
    used_q <= used_q + UsedW'(word_end) - (dropped_q ? UsedW'(dropped_count_q) : '0);
    full_q <= dropped_q ? full_q && word_end && dropped_count_q == COUNT_W'(1) : full_q || (word_end && used_q == UsedW'(Size - 1));
    dropped_q <= sentence_out;
    dropped_count_q <= count;
    full <= sentence_in || (full && !(sentence_out && alone_q));
    crowded_q <= !sentence_out && (crowded_q || (sentence_in && held_q == (SentenceW + 1)'(SENTENCES - 1)));
    if (sentence_in != sentence_out) begin
      held_q <= sentence_in ? held_q + 1'b1 : held_q - 1'b1;
      alone_q <= sentence_in ? !full : held_q == (SentenceW + 1)'(2);
    end
    if (sentence_in) tail_q <= tail_q + 1'b1;
    if (sentence_out) begin
      head_q <= head_q + 1'b1;
      base_q <= next_base;
    end
    // Where none is left, the one that comes, if it does, is the oldest.
    if (!full || sentence_out) count <= !full || alone_q ? written : counts[SentenceW'(head_q + 1'b1)];
    if (rst) begin
      write_at_q <= '0;
      written_q <= '0;
      used_q <= '0;
      full_q <= 1'b0;
      full <= 1'b0;
      dropped_q <= 1'b0;
      crowded_q <= 1'b0;
      held_q <= '0;
      tail_q <= '0;
      head_q <= '0;
      base_q <= '0;
    end
  end

  initial begin
    if (LANES < 1 || WORD % LANES != 0) $fatal(1, "ring: got LANES %0d, must divide WORD %0d", LANES, WORD);
    if (SENTENCES < 2 || (1 << SentenceW) != SENTENCES) $fatal(1, "ring: got SENTENCES %0d, must be a power of two, 2 or more", SENTENCES);
  end
endmodule
