// SPDX-License-Identifier: Apache-2.0
// linear_tiles: acc = W x + b, exact, PE x SIMD products per cycle, weights from external memory
// Golden : hw/ops/linear.py (bit-exact)
// Stream : s_* tokens of K elements, in order or folded (blocks.sv) -> m_* folded: of a block of up to TOKENS tokens of one sentence the first PE
//          channels of each token, then the next PE of each, ...; m_last ends each of these C/PE parts, m_bus tells its turn (bit 7: its block ends a
//          sentence) when its first beat is there
// Order  : tile f computes channels f*PE .. of all tokens of the block, a token in Slot = max(K/SIMD, PE/LANES_OUT) cycles. It is used for the
//          whole block before the next one, which comes from memory meanwhile (tiles.sv). WORDS > 0: a step whose weights are all zero is left out
//          (schedule.sv): neither fetched nor computed
// Timing : a block of n tokens takes C/PE * n * Slot cycles where tiles come in time. From the first step of a token to its first beat
//          K/SIMD + 7 + ceil(log4(SIMD)) cycles, 5 more of two values
// Memory : tile f of turn t: K/SIMD words as linear has them, at BASE in external memory. Bias word a holds LANES_OUT biases, of each turn one after the other.
//          KEEP > 0, WORDS > 0: as linear has them; of a tile the words that are left lie one behind the other, TABLE_FILE says where (tiles.sv).
//          INDEX_W > 0: the words are indices in a codebook (decode.sv; two_values.sv where INDEX_W = 1), which is on the chip
// Reset  : no token held
module linear_tiles #(
  parameter int K = 4,                 // inputs
  parameter int C = 4,                 // outputs
  parameter int PE = 2,                // outputs computed side by side, divides C
  parameter int SIMD = 2,              // products of an output per cycle, as of linear
  parameter int KEEP = 0,              // see linear
  parameter int GROUP = 1,             // see linear
  parameter int LANES_IN = 1,          // elements per input beat, divides the inputs of a step
  parameter int LANES_OUT = 1,         // elements per output beat, divides PE
  parameter int IN_W = 8,              // bits per input
  parameter bit IN_SIGNED = 1'b1,
  parameter int WEIGHT_W = 4,          // bits per weight; 1 is binary
  parameter int OUT_W = 20,            // bits per accumulator
  parameter MUL_STYLE = "one",         // multipliers: see mac_array
  parameter bit W_NARROW = 1'b0,       // likewise
  parameter BIAS_FILE = "",
  parameter int BIAS_LOAD = 0,  // see rom
  parameter int WORDS = 0,             // of weights of all turns, where zero tiles are left out; 0: none is
  parameter int MOST = 1,              // of them in a tile
  parameter int ENTRIES = 1,           // see linear
  parameter int GRAIN = 1,             // see schedule
  parameter int REPEAT = 1,            // see schedule
  parameter SCHEDULE_FILE = "",        // see schedule
  parameter int SCHEDULE_LOAD = 0,     // see rom
  parameter START_FILE = "",           // where a turn's schedule begins; "" where it is 0
  parameter int START_LOAD = 0,        // see rom
  parameter TABLE_FILE = "",           // see tiles
  parameter int TABLE_LOAD = 0,        // see rom
  parameter int OFFSET_W = 1,          // see tiles
  parameter int INDEX_W = 0,           // bits of an index; 0: no codebook
  parameter bit EACH = 1'b0,           // of two values: each channel has its own
  parameter CODEBOOK_FILE = "",
  parameter int CODEBOOK_LOAD = 0,  // see rom
  parameter int TOKENS = 4,            // of a block, at most
  parameter int FOLD = 0,              // of the input: see blocks
  parameter int PLACES = 2,            // for blocks: see blocks
  parameter int DATA_W = 64,           // of external memory
  parameter int ADDR_W = 32,
  parameter logic [63:0] BASE = 0,     // where the weights lie there
  parameter int TURNS = 1,             // weights and biases by turn
  parameter int BANKS = TURNS,         // of tiles in memory: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int CONSTANTS = TURNS,     // turns whose biases and codebooks are on the chip at once: all, or 1
  parameter int SENTENCES = 2,         // see turns
  parameter RAM_STYLE = "auto",        // of the blocks of tokens: see blocks
  parameter TILE_STYLE = "auto"        // of the tiles: see tiles
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [25:0]                bus,
  input  wire logic [32:0]                load,
  input  wire logic                       s_valid,
  output      logic                       s_ready,
  input  wire logic [LANES_IN*IN_W-1:0]   s_data,
  input  wire logic                       s_last,
  output      logic                       m_valid,
  input  wire logic                       m_ready,
  output      logic [LANES_OUT*OUT_W-1:0] m_data,
  output      logic                       m_last,
  output      logic [25:0]                m_bus,
  output      logic                       req_valid,
  input  wire logic                       req_ready,
  output      logic [ADDR_W-1:0]          req_addr,
  output      logic [15:0]                req_beats,
  input  wire logic                       w_valid,
  input  wire logic [DATA_W-1:0]          w_data,
  input  wire logic                       w_last
);
  localparam int Inputs = KEEP > 0 ? SIMD / KEEP * GROUP : SIMD;
  localparam int Steps = K / Inputs;
  localparam int Folds = C / PE;
  localparam int Beats = PE / LANES_OUT;
  localparam int StepW = Steps > 1 ? $clog2(Steps) : 1;
  localparam int TileWords = WORDS > 0 ? MOST : Steps;
  localparam int TileStepW = TileWords > 1 ? $clog2(TileWords) : 1;
  localparam int EntryW = WORDS > 0 && ENTRIES > 1 ? $clog2(ENTRIES) : 1;
  localparam int AtW = TOKENS * Steps > 1 ? $clog2(TOKENS * Steps) : 1;
  localparam int CountW = $clog2(TOKENS + 1);
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int BiasWords = C / LANES_OUT;
  localparam int BiasW = CONSTANTS * BiasWords > 1 ? $clog2(CONSTANTS * BiasWords) : 1;
  localparam int ConstantW = CONSTANTS > 1 ? $clog2(CONSTANTS) : 1;
  localparam int StoredW = INDEX_W > 0 ? INDEX_W : WEIGHT_W;
  localparam int ElementW = StoredW + (KEEP > 0 ? $clog2(GROUP) : 0);
  localparam int Operands = KEEP > 0 ? PE * SIMD : SIMD;
  localparam bit Two = INDEX_W == 1;
  localparam int Rows = Two ? PE + 1 : PE;  // the last one sums all inputs
  localparam int ProductW = Two ? 1 : WEIGHT_W;
  localparam int SumW = Two ? IN_W + (IN_SIGNED ? 0 : 1) + $clog2(K) : OUT_W;
  localparam int BeatW = BiasWords > 1 ? $clog2(BiasWords) : 1;
  localparam int InFlight = 15;  // parts between issue and output, at most: the pipeline is shorter than so many cycles

  wire en = m_ready || !m_valid;

  // Issue: which step of which token of which tile
  logic [CountW-1:0] token_q;
  logic [AtW-1:0] at_q;  // of the token's first word
  wire full, last, ready, first, step_last, slot_end, last_fold, block_end;
  wire [CountW-1:0] count;
  wire [6:0] turn, next_turn;
  wire [1:0] begun;
  wire [StepW-1:0] step, place;
  wire [EntryW-1:0] entry;

  wire go = full && ready;
  wire token_last = token_q + 1'b1 == count;
  wire part_end = slot_end && token_last;

  /* verilator lint_off PINCONNECTEMPTY */
  schedule #(.STEPS(Steps), .FOLDS(Folds), .BEATS(Beats), .WORDS(WORDS > 0 ? ENTRIES : 0), .GRAIN(GRAIN), .REPEAT(REPEAT),
             .SCHEDULE_FILE(SCHEDULE_FILE), .SCHEDULE_LOAD(SCHEDULE_LOAD)) u_schedule (
    .clk, .rst, .load, .go(en && go), .again(!token_last), .turn_end(1'b1), .start('0), .entry, .first, .last(step_last), .slot_end, .last_fold, .end_all(block_end), .step,
    .place, .addr());
  /* verilator lint_on PINCONNECTEMPTY */
  if (TURNS > 1 && WORDS > 0) begin : g_start
    rom #(.WIDTH(EntryW), .DEPTH(TURNS), .FILE(START_FILE), .LOAD(START_LOAD), .NOW(1'b1)) u_start (
      .clk, .load, .en, .addr(TurnW'(en && go && block_end ? next_turn : turn)), .q(entry));
  end else begin : g_one
    assign entry = '0;
  end
  wire unused_schedule = &{1'b0, last_fold, place};

  always_ff @(posedge clk) begin
    if (en && go && slot_end) begin
      token_q <= part_end ? '0 : token_q + 1'b1;
      at_q <= part_end ? '0 : at_q + AtW'(Steps);
    end
    if (rst) begin
      token_q <= '0;
      at_q <= '0;
    end
  end

  // Operands, and what the step is
  logic [Inputs*IN_W-1:0] inputs;
  logic [PE*SIMD*ElementW-1:0] word;
  wire [Operands*IN_W-1:0] x;
  wire [PE*SIMD*StoredW-1:0] stored;
  wire [Rows*SIMD*ProductW-1:0] w;
  logic first_q, final_q, last_q;

  blocks #(.K(K), .TOKENS(TOKENS), .LANES(LANES_IN), .WORD(Inputs), .W(IN_W), .FOLD(FOLD), .PLACES(PLACES), .TURNS(TURNS), .SENTENCES(SENTENCES),
           .RAM_STYLE(RAM_STYLE)) u_tokens (
    .clk, .rst, .bus, .s_valid, .s_ready, .s_data, .s_last,
    .en, .at(at_q + AtW'(step)), .done(go && block_end), .full, .count, .last, .turn, .next_turn, .begun, .word(inputs));
  tiles #(.WIDTH(PE * SIMD * ElementW), .STEPS(TileWords), .TILES(Folds), .TURNS(TURNS), .BANKS(BANKS), .BANK_OF(BANK_OF), .DATA_W(DATA_W), .ADDR_W(ADDR_W), .BASE(BASE),
          .TABLE_FILE(TABLE_FILE), .TABLE_LOAD(TABLE_LOAD), .OFFSET_W(OFFSET_W), .RAM_STYLE(TILE_STYLE)) u_tiles (
    .clk, .rst, .load, .req_valid, .req_ready, .req_addr, .req_beats, .w_valid, .w_data, .w_last,
    .begun, .turn, .next_turn, .block_done(go && block_end), .en, .step(TileStepW'(place)), .done(go && part_end), .ready, .word);

  if (KEEP > 0) begin : g_pick
    pick #(.PE(PE), .SIMD(SIMD), .KEEP(KEEP), .GROUP(GROUP), .X_W(IN_W), .W_W(StoredW)) u_pick (.x(inputs), .word, .picked(x), .w(stored));
  end else begin : g_all
    assign x = inputs;
    assign stored = word;
  end
  if (Two) begin : g_ones
    assign w = {{SIMD{1'b1}}, stored};
  end else if (INDEX_W > 0) begin : g_codebook
    decode #(.COUNT(PE * SIMD), .INDEX_W(INDEX_W), .W(WEIGHT_W), .TURNS(CONSTANTS), .CODEBOOK_FILE(CODEBOOK_FILE), .CODEBOOK_LOAD(CODEBOOK_LOAD)) u_decode (
      .clk, .load, .en, .turn(turn[ConstantW-1:0]), .index(stored), .w);
  end else begin : g_values
    assign w = stored;
  end

  always_ff @(posedge clk) begin
    if (en) begin
      first_q <= first;
      final_q <= go && step_last;
      last_q <= token_last;
    end
    if (rst) final_q <= 1'b0;
  end

  logic acc_valid, acc_last, beat_valid, beat_last;
  logic [Rows*SumW-1:0] acc;
  logic [LANES_OUT*SumW-1:0] beat;
  logic [LANES_OUT*OUT_W-1:0] bias;

  mac_array #(.PE(Rows), .SIMD(SIMD), .X_W(IN_W), .X_SIGNED(IN_SIGNED), .W_W(ProductW), .OUT_W(SumW), .MUL_STYLE(Two ? "and" : MUL_STYLE), .W_NARROW(W_NARROW),
              .W_HELD(INDEX_W > 1), .OWN(KEEP > 0)) u_mac (
    .clk, .rst, .en, .first(first_q), .final_step(final_q), .i_last(last_q), .x, .w,
    .o_valid(acc_valid), .o_last(acc_last), .acc);
  unpack #(.WORD(PE), .LANES(LANES_OUT), .W(SumW)) u_out (
    .clk, .rst, .en, .load(acc_valid), .load_last(acc_last), .word(acc[PE*SumW-1:0]), .valid(beat_valid), .last(beat_last), .data(beat));

  // Parts leave in the order in which they were begun: their turns, and whether their blocks end sentences
  wire begins = en && go && first && token_q == '0;
  wire [25:0] issued = {17'd0, last, turn, begins};  // as turns takes it
  wire [7:0] part_turn;
  wire [BiasW-1:0] bias_base;
  wire [ConstantW-1:0] out_turn;
  wire leaves = en && beat_valid && beat_last;

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(256), .SENTENCES(InFlight)) u_part (.clk, .rst, .bus(issued), .load(33'd0), .done(leaves), .now(part_turn), .base(), .word());
  turns #(.TURNS(CONSTANTS), .SENTENCES(InFlight), .STRIDE(BiasWords)) u_bias_turn (
    .clk, .rst, .bus({18'd0, 7'(turn[ConstantW-1:0]), begins}), .load(33'd0), .done(leaves), .now(out_turn), .base(bias_base), .word());
  /* verilator lint_on PINCONNECTEMPTY */

  // Bias: of the part's first channel on, again for each token
  logic [BeatW-1:0] part_at_q, beat_at_q;  // words of the turn
  logic valid_q, end_q, fresh_q, enter_q;  // fresh: the next beat is a part's first
  logic [7:0] enter_turn_q;
  wire token_end = beat_at_q == part_at_q + BeatW'(Beats - 1);
  wire [BeatW-1:0] next_part = part_at_q == BeatW'(BiasWords - Beats) ? '0 : part_at_q + BeatW'(Beats);

  // What is added to the bias, and when
  wire [BiasW-1:0] bias_at = bias_base + BiasW'(beat_at_q);
  wire made_valid, made_last, made_fresh;
  wire [7:0] made_turn;
  wire [BiasW-1:0] made_at;
  wire [LANES_OUT*OUT_W-1:0] made;  // a cycle later

  if (Two) begin : g_two
    logic [SumW-1:0] total_q;  // of the token whose beats leave
    always_ff @(posedge clk) if (en && acc_valid) total_q <= acc[PE*SumW +: SumW];

    two_values #(.LANES(LANES_OUT), .SUM_W(SumW), .W(WEIGHT_W), .OUT_W(OUT_W), .SIDE_W(BiasW + 9), .EACH(EACH), .WORDS(CONSTANTS * BiasWords), .TURNS(CONSTANTS),
                 .CODEBOOK_FILE(CODEBOOK_FILE), .CODEBOOK_LOAD(CODEBOOK_LOAD)) u_values (
      .clk, .rst, .load, .en, .at(bias_at), .turn(out_turn), .i_valid(beat_valid), .i_last(beat_last), .i_side({part_turn, fresh_q, bias_at}),
      .ones(beat), .total(total_q), .o_valid(made_valid), .o_last(made_last), .o_side({made_turn, made_fresh, made_at}), .sum(made));
  end else begin : g_sums
    logic [LANES_OUT*OUT_W-1:0] beat_q;
    always_ff @(posedge clk) if (en) beat_q <= beat;
    assign {made_valid, made_last, made_turn, made_fresh, made_at, made} = {beat_valid, beat_last, part_turn, fresh_q, bias_at, beat_q};
    wire unused = &{1'b0, out_turn};
  end

  rom #(.WIDTH(LANES_OUT * OUT_W), .DEPTH(CONSTANTS * BiasWords), .FILE(BIAS_FILE), .LOAD(BIAS_LOAD)) u_bias (.clk, .load, .en, .addr(made_at), .q(bias));

  always_ff @(posedge clk) begin
    if (en) begin
      if (beat_valid) begin
        beat_at_q <= beat_last ? next_part : token_end ? part_at_q : beat_at_q + 1'b1;
        if (beat_last) part_at_q <= next_part;
        fresh_q <= beat_last;
      end
      valid_q <= made_valid;
      end_q <= made_last;
      m_valid <= valid_q;
      m_last <= end_q;
      for (int i = 0; i < LANES_OUT; i++)
        m_data[i*OUT_W +: OUT_W] <= made[i*OUT_W +: OUT_W] + bias[i*OUT_W +: OUT_W];
    end
    enter_q <= en && made_valid && made_fresh;
    if (en) enter_turn_q <= made_turn;
    if (rst) begin
      part_at_q <= '0;
      beat_at_q <= '0;
      valid_q <= 1'b0;
      m_valid <= 1'b0;
      fresh_q <= 1'b1;
      enter_q <= 1'b0;
    end
  end
  assign m_bus = {17'd0, enter_turn_q, enter_q};

  initial begin
    if (C % PE != 0 || K % Inputs != 0)
      $fatal(1, "linear_tiles: got PE %0d, SIMD %0d (of %0d inputs), must divide C %0d, K %0d", PE, SIMD, Inputs, C, K);
  end
endmodule
