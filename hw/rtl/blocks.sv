// SPDX-License-Identifier: Apache-2.0
// blocks: PLACES blocks of up to TOKENS tokens of K elements. Of two, one is written as it comes, the other read at random, as often as its reader
//          likes; one alone is first written, then read, which takes half the memory
// Golden : none, moves data only
// Stream : FOLD = 0: tokens in order; a block ends after TOKENS tokens or with s_last, which ends a sentence. FOLD > 0: folded: the first FOLD
//          elements of each token of a block, then the next FOLD of each, ...; s_last ends each of these K/FOLD parts; `bus` tells a part's turn
// Reader : while `full`, the oldest block can be read: `word` holds word `at` of the cycle before with `en`, word t*K/WORD + i of token t.
//          `done` drops it; the next one, if there, can be read in the following cycle. Both only count when `en`
// Timing : a block whose last beat is taken in cycle t is `full` from t + 1
// Turns  : of the oldest block and of the one behind it; `begun`: how many have begun to come
// Layout : element i of a word = word[i*W +: W]; WORD/LANES beats fill a word, the first beat the lowest elements. A memory for each of
//          these beats, so that they can be written in any order; in UltraRAM one memory for all of them, each in bytes of 9 bits of its own
// Reset  : no block; the memories keep their contents
module blocks #(
  parameter int K = 8,           // elements of a token
  parameter int TOKENS = 4,      // of a block, at most
  parameter int LANES = 1,       // elements per beat, divides WORD
  parameter int WORD = 2,        // elements per word, divides K
  parameter int W = 8,           // bits per element
  parameter int FOLD = 0,        // 0, or a multiple of LANES that divides K
  parameter int PLACES = 2,      // 1 or 2
  parameter int TURNS = 1,
  parameter int SENTENCES = 2,   // see turns
  parameter RAM_STYLE = "auto",  // "ultra": in UltraRAM
  localparam int WORDS = K / WORD,
  localparam int AT_W = TOKENS * WORDS > 1 ? $clog2(TOKENS * WORDS) : 1,
  localparam int COUNT_W = $clog2(TOKENS + 1)
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic [25:0]        bus,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [LANES*W-1:0] s_data,
  input  wire logic               s_last,
  input  wire logic               en,
  input  wire logic [AT_W-1:0]    at,
  input  wire logic               done,
  output      logic               full,
  output      logic [COUNT_W-1:0] count,      // tokens of the oldest block
  output      logic               last,       // it ends a sentence
  output      logic [6:0]         turn,
  output      logic [6:0]         next_turn,  // of the block behind it
  output      logic [1:0]         begun,
  output      logic [WORD*W-1:0]  word
);
  /* verilator lint_off WIDTHEXPAND */
  localparam bit Ultra = RAM_STYLE == "ultra";
  /* verilator lint_on WIDTHEXPAND */
  localparam int Chunk = (FOLD > 0 ? FOLD : K) / LANES;  // beats of a token that come one after the other
  localparam int Parts = FOLD > 0 ? K / FOLD : 1;
  localparam int Columns = WORD / LANES;
  localparam int Size = TOKENS * WORDS;
  localparam int AddrW = PLACES * Size > 1 ? $clog2(PLACES * Size) : 1;
  localparam int ChunkW = Chunk > 1 ? $clog2(Chunk) : 1;
  localparam int PartW = Parts > 1 ? $clog2(Parts) : 1;
  localparam int ColumnW = Columns > 1 ? $clog2(Columns) : 1;
  localparam int WordW = WORDS > 1 ? $clog2(WORDS) : 1;
  localparam int TurnW = FOLD > 0 ? 8 : TURNS > 1 ? $clog2(TURNS) : 1;

  // Writing: where the beat goes; where the chunks of this part begin
  logic [ChunkW-1:0] chunk_q;
  logic [PartW-1:0] part_q;
  logic [COUNT_W-1:0] token_q;
  logic [AddrW-1:0] base_q;                    // of the token's first word, in all banks
  logic [ColumnW-1:0] column_q, first_column_q;
  logic [WordW-1:0] word_q, first_word_q;
  logic write_bank_q, read_bank_q, begun_q;
  logic [1:0] full_q, last_q;
  logic [2*COUNT_W-1:0] count_q;
  logic [13:0] turn_q;                         // of both banks

  wire take = s_valid && s_ready;
  wire chunk_end = take && chunk_q == ChunkW'(Chunk - 1);
  wire part_end = chunk_end && (s_last || (FOLD == 0 && token_q == COUNT_W'(TOKENS - 1)));
  wire block_end = part_end && part_q == PartW'(Parts - 1);
  wire column_end = column_q == ColumnW'(Columns - 1);
  wire [ColumnW-1:0] column = column_end ? '0 : column_q + 1'b1;  // of the next beat
  wire [WordW-1:0] next_word = !column_end ? word_q : word_q == WordW'(WORDS - 1) ? '0 : word_q + 1'b1;
  wire bank = PLACES > 1 && (write_bank_q ^ block_end);  // of the next beat
  wire [AddrW-1:0] write_at = base_q + AddrW'(word_q);
  wire [TurnW-1:0] now;
  wire sentence_end;

  if (FOLD > 0) begin : g_folded
    // Bit 7 of a part's turn: its block ends a sentence.
    /* verilator lint_off PINCONNECTEMPTY */
    turns #(.TURNS(256), .SENTENCES(15)) u_turn (.clk, .rst, .bus, .load(33'd0), .done(part_end), .now, .base(), .word());
    /* verilator lint_on PINCONNECTEMPTY */
    assign sentence_end = now[TurnW-1];
    wire unused = &{1'b0, TURNS, SENTENCES};
  end else begin : g_in_order
    /* verilator lint_off PINCONNECTEMPTY */
    turns #(.TURNS(TURNS), .SENTENCES(SENTENCES)) u_turn (.clk, .rst, .bus, .load(33'd0), .done(chunk_end && s_last), .now, .base(), .word());
    /* verilator lint_on PINCONNECTEMPTY */
    assign sentence_end = s_last;
  end

  assign s_ready = !full_q[write_bank_q];

  always_ff @(posedge clk) begin
    if (take) begin
      chunk_q <= chunk_end ? '0 : chunk_q + 1'b1;
      begun_q <= !block_end;
      if (!begun_q) turn_q[write_bank_q*7 +: 7] <= 7'(now);
      if (!chunk_end) {column_q, word_q} <= {column, next_word};
      else if (part_end) begin
        {column_q, word_q} <= block_end ? '0 : {column, next_word};
        {first_column_q, first_word_q} <= block_end ? '0 : {column, next_word};
      end else {column_q, word_q} <= {first_column_q, first_word_q};
    end
    if (chunk_end) begin
      token_q <= part_end ? '0 : token_q + 1'b1;
      base_q <= part_end ? (bank ? AddrW'(Size) : '0) : base_q + AddrW'(WORDS);
    end
    if (part_end) part_q <= block_end ? '0 : part_q + 1'b1;
    if (block_end) begin
      full_q[write_bank_q] <= 1'b1;
      last_q[write_bank_q] <= sentence_end;
      count_q[write_bank_q*COUNT_W +: COUNT_W] <= token_q + 1'b1;
      write_bank_q <= PLACES > 1 && !write_bank_q;
    end
    if (en && done) begin
      full_q[read_bank_q] <= 1'b0;
      read_bank_q <= PLACES > 1 && !read_bank_q;
    end
    if (rst) begin
      chunk_q <= '0;
      part_q <= '0;
      token_q <= '0;
      base_q <= '0;
      {column_q, word_q, first_column_q, first_word_q} <= '0;
      begun_q <= 1'b0;
      full_q <= '0;
      write_bank_q <= 1'b0;
      read_bank_q <= 1'b0;
    end
  end

  assign full = full_q[read_bank_q];
  assign last = last_q[read_bank_q];
  assign count = count_q[read_bank_q*COUNT_W +: COUNT_W];
  assign turn = turn_q[read_bank_q*7 +: 7];
  assign next_turn = turn_q[!read_bank_q*7 +: 7];
  assign begun = 2'(full_q[0]) + 2'(full_q[1]) + 2'(begun_q);

  wire [AddrW-1:0] read_at = (read_bank_q ? AddrW'(Size) : '0) + AddrW'(at);
  if (Ultra) begin : g_ultra
    localparam int Column = 9 * ((LANES * W + 8) / 9);
    (* ram_style = "ultra" *) logic [Columns*Column-1:0] mem [0:PLACES*Size-1];
    logic [Columns*Column-1:0] read_q;

    always_ff @(posedge clk) begin
      for (int i = 0; i < Columns; i++) if (take && column_q == ColumnW'(i)) mem[write_at][i*Column +: Column] <= Column'(s_data);
    end
    always_ff @(posedge clk) if (en) read_q <= mem[read_at];
    for (genvar i = 0; i < Columns; i++) begin : g_column
      assign word[i*LANES*W +: LANES*W] = read_q[i*Column +: LANES*W];
    end
    wire unused_bits = &{1'b0, read_q};
  end else begin : g_auto
    for (genvar i = 0; i < Columns; i++) begin : g_column
      logic [LANES*W-1:0] mem [0:PLACES*Size-1];
      always_ff @(posedge clk) if (take && column_q == ColumnW'(i)) mem[write_at] <= s_data;
      always_ff @(posedge clk) if (en) word[i*LANES*W +: LANES*W] <= mem[read_at];
    end
  end

  initial begin
    if (PLACES < 1 || PLACES > 2) $fatal(1, "blocks: got PLACES %0d, must be 1 or 2", PLACES);
    if (K % WORD != 0 || WORD % LANES != 0 || (FOLD > 0 && (K % FOLD != 0 || FOLD % LANES != 0)))
      $fatal(1, "blocks: got LANES %0d, WORD %0d, FOLD %0d, must divide each other and K %0d", LANES, WORD, FOLD, K);
  end
endmodule
