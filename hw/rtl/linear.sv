// SPDX-License-Identifier: Apache-2.0
// linear: acc = W x + b, exact, PE x SIMD products per cycle (MVAU)
// Golden : hw/ops/linear.py (bit-exact)
// Stream : s_* tokens of K elements -> m_* tokens of C elements; s_last of a token's final beat becomes its m_last
// Order  : fold f computes channels f*PE .. f*PE+PE-1 in K/SIMD steps; its PE sums leave in PE/LANES_OUT beats while
//          the next fold is computed. A fold takes Slot = max(K/SIMD, PE/LANES_OUT) cycles.
//          KEEP > 0: of each GROUP inputs a row has KEEP weights at most that are not zero. A step takes SIMD/KEEP groups, not SIMD inputs: below,
//          read K*KEEP/GROUP for K
//          WORDS > 0: a tile, the PE x SIMD weights of a step, that is all zero is left out (schedule.sv): fold f takes
//          Slot(f) = max(its tiles that are not zero, PE/LANES_OUT, 1) cycles; one without any gives its biases
// Timing : II per token max(K/LANES_IN, sum of all folds' Slots). A token may enter while the one before is computed.
//          From a token's last input beat to the first beat of fold f: K/SIMD + 8 + ceil(log4(SIMD)) + f*Slot cycles, 5 more of
//          two values; WORDS > 0: Slot(0) + .. + Slot(f) + 8 + ceil(log4(SIMD))
// Memory : weight word f*(K/SIMD)+step, row pe, element simd at bit (pe*SIMD+simd)*WEIGHT_W; signed, or 0/1 for -1/+1 when
//          WEIGHT_W = 1. WORDS > 0: the words that are left, in that order; a fold of fewer than Slot(f) keeps some zero ones.
//          KEEP > 0: an element is {place in its group, weight} (pick.sv). Bias word a holds LANES_OUT biases of OUT_W bits, of channels a*LANES_OUT ..
//          TURNS > 1: of each turn one after the other, in a rolled encoder (turns.sv); turns of the same weights, or biases, share a bank
//          INDEX_W > 1: a weight is stored as its index of INDEX_W bits in a codebook (decode.sv)
//          INDEX_W = 1: of two values; the inputs of the larger one are added, and what they are worth is multiplied at the end (two_values.sv)
// Layout : lane i = data[i*W +: W]
// Reset  : no token held
module linear #(
  parameter int K = 4,                 // inputs
  parameter int C = 4,                 // outputs
  parameter int PE = 2,                // outputs computed side by side, divides C
  parameter int SIMD = 2,              // products of an output per cycle; of as many inputs, divides K, or KEEP > 0: of SIMD/KEEP groups
  parameter int KEEP = 0,              // weights of a row that are not zero in each group of inputs, at most; 0: any
  parameter int GROUP = 1,             // inputs of a group: see pick
  parameter int LANES_IN = 1,          // elements per input beat, divides the inputs of a step
  parameter int LANES_OUT = 1,         // elements per output beat, divides PE
  parameter int IN_W = 8,              // bits per input
  parameter bit IN_SIGNED = 1'b1,
  parameter int WEIGHT_W = 4,          // bits per weight; 1 is binary
  parameter int OUT_W = 20,            // bits per accumulator
  parameter MUL_STYLE = "one",         // multipliers: see mac_array
  parameter bit W_NARROW = 1'b0,       // likewise
  parameter WEIGHT_FILE = "",
  parameter int WEIGHT_LOAD = 0,  // see rom
  parameter BIAS_FILE = "",
  parameter int BIAS_LOAD = 0,  // see rom
  parameter int WORDS = 0,             // of weights of all turns, where zero tiles are left out; 0: none is
  parameter int ENTRIES = 1,           // words of the schedule of all turns
  parameter int GRAIN = 1,             // see schedule
  parameter int REPEAT = 1,            // see schedule
  parameter SCHEDULE_FILE = "",        // see schedule
  parameter int SCHEDULE_LOAD = 0,     // see rom
  parameter START_FILE = "",           // {where a turn's schedule begins, where its weights do}; "" where both are 0
  parameter int START_LOAD = 0,        // see rom
  parameter int INDEX_W = 0,           // bits of an index; 0: no codebook
  parameter bit EACH = 1'b0,           // of two values: each channel has its own
  parameter CODEBOOK_FILE = "",
  parameter int CODEBOOK_LOAD = 0,  // see rom
  parameter int TURNS = 1,             // weights and biases by turn
  parameter int SENTENCES = 2,         // see turns
  parameter int BANKS = TURNS,         // of weights: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int BIAS_BANKS = TURNS,    // of biases: see turns
  parameter logic [TURNS*8-1:0] BIAS_BANK_OF = '0
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [25:0]                bus,
  input  wire logic [32:0]                load,
  input  wire logic                       s_valid,
  output      logic                            s_ready,
  input  wire logic [LANES_IN*IN_W-1:0]   s_data,
  input  wire logic                       s_last,
  output      logic                            m_valid,
  input  wire logic                       m_ready,
  output      logic [LANES_OUT*OUT_W-1:0]      m_data,
  output      logic                            m_last
);
  localparam int Inputs = KEEP > 0 ? SIMD / KEEP * GROUP : SIMD;
  localparam int Steps = K / Inputs;
  localparam int Folds = C / PE;
  localparam int Beats = PE / LANES_OUT;
  localparam int WordW = Steps > 1 ? $clog2(Steps) : 1;
  localparam int Words = WORDS > 0 ? WORDS : BANKS * Folds * Steps;
  localparam int EntryW = WORDS > 0 && ENTRIES > 1 ? $clog2(ENTRIES) : 1;
  localparam int BiasWords = C / LANES_OUT;
  localparam int AddrW = Words > 1 ? $clog2(Words) : 1;
  localparam int BiasW = BIAS_BANKS * BiasWords > 1 ? $clog2(BIAS_BANKS * BiasWords) : 1;
  localparam int StoredW = INDEX_W > 0 ? INDEX_W : WEIGHT_W;
  localparam int ElementW = StoredW + (KEEP > 0 ? $clog2(GROUP) : 0);
  localparam int Operands = KEEP > 0 ? PE * SIMD : SIMD;
  localparam int BaseW = BANKS * Folds * Steps > 1 ? $clog2(BANKS * Folds * Steps) : 1;
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam bit Two = INDEX_W == 1;
  localparam int Rows = Two ? PE + 1 : PE;  // the last one sums all inputs
  localparam int ProductW = Two ? 1 : WEIGHT_W;
  localparam int SumW = Two ? IN_W + (IN_SIGNED ? 0 : 1) + $clog2(K) : OUT_W;

  // One enable stalls everything behind the input buffer.
  wire en = m_ready || !m_valid;

  // Operands, and what the step is
  logic [Inputs*IN_W-1:0] inputs;
  logic [PE*SIMD*ElementW-1:0] word;
  wire [Operands*IN_W-1:0] x;
  wire [PE*SIMD*StoredW-1:0] stored;
  wire [Rows*SIMD*ProductW-1:0] w;
  wire [TurnW-1:0] turn;
  logic first_q, final_q, last_q;
  wire full, token_last, first, last, last_fold, token_end;
  wire [WordW-1:0] step;
  wire [AddrW-1:0] addr, start;
  wire [EntryW-1:0] entry;
  wire [BaseW-1:0] base;  // of the turn's weights, where all are there

  /* verilator lint_off PINCONNECTEMPTY */
  banks #(.LANES(LANES_IN), .WORD(Inputs), .W(IN_W), .DEPTH(Steps), .FIXED(1'b1)) u_token (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last,
    .en, .offset(step), .done(full && token_end), .full, .count(), .one(), .few(), .last(token_last), .word(inputs));
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .STRIDE(Folds * Steps), .BANKS(BANKS), .BANK_OF(BANK_OF), .WIDTH(EntryW + AddrW),
          .FILE(START_FILE), .LOAD(START_LOAD), .AHEAD(1'b1)) u_turn (
    .clk, .rst, .bus, .load, .done(en && full && token_end && token_last), .now(turn), .base, .word({entry, start}));
  schedule #(.STEPS(Steps), .FOLDS(Folds), .BEATS(Beats), .WORDS(WORDS > 0 ? ENTRIES : 0), .GRAIN(GRAIN), .REPEAT(REPEAT), .DEPTH(Words),
             .SCHEDULE_FILE(SCHEDULE_FILE), .SCHEDULE_LOAD(SCHEDULE_LOAD)) u_schedule (
    .clk, .rst, .load, .go(en && full), .again(1'b0), .turn_end(token_last), .start, .entry, .first, .last, .slot_end(), .last_fold, .end_all(token_end), .step,
    .place(), .addr);
  /* verilator lint_on PINCONNECTEMPTY */
  rom #(.WIDTH(PE * SIMD * ElementW), .DEPTH(Words), .FILE(WEIGHT_FILE), .LOAD(WEIGHT_LOAD)) u_weight (
    .clk, .load, .en, .addr(WORDS > 0 ? addr : AddrW'(base) + addr), .q(word));

  if (KEEP > 0) begin : g_pick
    pick #(.PE(PE), .SIMD(SIMD), .KEEP(KEEP), .GROUP(GROUP), .X_W(IN_W), .W_W(StoredW)) u_pick (.x(inputs), .word, .picked(x), .w(stored));
  end else begin : g_all
    assign x = inputs;
    assign stored = word;
  end
  if (Two) begin : g_ones
    wire unused = &{1'b0, turn};
    assign w = {{SIMD{1'b1}}, stored};
  end else if (INDEX_W > 0) begin : g_codebook
    decode #(.COUNT(PE * SIMD), .INDEX_W(INDEX_W), .W(WEIGHT_W), .TURNS(TURNS), .CODEBOOK_FILE(CODEBOOK_FILE), .CODEBOOK_LOAD(CODEBOOK_LOAD)) u_decode (
      .clk, .load, .en, .turn, .index(stored), .w);
  end else begin : g_values
    wire unused = &{1'b0, turn};
    assign w = stored;
  end

  always_ff @(posedge clk) begin
    if (en) begin
      first_q <= first;
      final_q <= full && last;
      last_q <= token_last && last_fold;
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

  // Bias: of a beat's channels, in each turn
  logic [BiasW-1:0] bias_at_q;
  wire [BiasW-1:0] bias_base;
  wire [BiasW-1:0] bias_at = bias_base + bias_at_q;
  wire [TurnW-1:0] out_turn;

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .STRIDE(BiasWords), .BANKS(BIAS_BANKS), .BANK_OF(BIAS_BANK_OF)) u_bias_turn (
    .clk, .rst, .bus, .load(33'd0), .done(en && beat_valid && beat_last), .now(out_turn), .base(bias_base), .word());
  /* verilator lint_on PINCONNECTEMPTY */

  // What is added to the bias, and when
  wire made_valid, made_last;
  wire [BiasW-1:0] made_at;
  wire [LANES_OUT*OUT_W-1:0] made;  // a cycle later

  if (Two) begin : g_two
    logic [SumW-1:0] total_q;  // of the fold whose beats leave
    always_ff @(posedge clk) if (en && acc_valid) total_q <= acc[PE*SumW +: SumW];

    two_values #(.LANES(LANES_OUT), .SUM_W(SumW), .W(WEIGHT_W), .OUT_W(OUT_W), .SIDE_W(BiasW), .EACH(EACH), .WORDS(BIAS_BANKS * BiasWords), .TURNS(TURNS),
                 .CODEBOOK_FILE(CODEBOOK_FILE), .CODEBOOK_LOAD(CODEBOOK_LOAD)) u_values (
      .clk, .rst, .load, .en, .at(bias_at), .turn(out_turn), .i_valid(beat_valid), .i_last(beat_last), .i_side(bias_at), .ones(beat), .total(total_q),
      .o_valid(made_valid), .o_last(made_last), .o_side(made_at), .sum(made));
  end else begin : g_sums
    logic [LANES_OUT*OUT_W-1:0] beat_q;
    always_ff @(posedge clk) if (en) beat_q <= beat;
    assign {made_valid, made_last, made_at, made} = {beat_valid, beat_last, bias_at, beat_q};
    wire unused = &{1'b0, out_turn};
  end

  // Bias: read, then added
  logic valid_q, end_q;

  rom #(.WIDTH(LANES_OUT * OUT_W), .DEPTH(BIAS_BANKS * BiasWords), .FILE(BIAS_FILE), .LOAD(BIAS_LOAD)) u_bias (.clk, .load, .en, .addr(made_at), .q(bias));

  always_ff @(posedge clk) begin
    if (en) begin
      if (beat_valid) bias_at_q <= bias_at_q == BiasW'(BiasWords - 1) ? '0 : bias_at_q + 1'b1;
      valid_q <= made_valid;
      end_q <= made_last;
      m_valid <= valid_q;
      m_last <= end_q;
      for (int i = 0; i < LANES_OUT; i++)
        m_data[i*OUT_W +: OUT_W] <= made[i*OUT_W +: OUT_W] + bias[i*OUT_W +: OUT_W];
    end
    if (rst) begin
      bias_at_q <= '0;
      valid_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end

  initial begin
    if (C % PE != 0 || K % Inputs != 0)
      $fatal(1, "linear: got PE %0d, SIMD %0d (of %0d inputs), must divide C %0d, K %0d", PE, SIMD, Inputs, C, K);
  end
endmodule
