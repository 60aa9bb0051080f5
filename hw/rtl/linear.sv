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
//          From a token's last input beat to the first beat of fold f: K/SIMD + 8 + ceil(log4(SIMD)) + f*Slot cycles;
//          WORDS > 0: Slot(0) + .. + Slot(f) + 8 + ceil(log4(SIMD))
// Memory : weight word f*(K/SIMD)+step, row pe, element simd at bit (pe*SIMD+simd)*WEIGHT_W; signed, or 0/1 for -1/+1 when
//          WEIGHT_W = 1. WORDS > 0: the words that are left, in that order; a fold of fewer than Slot(f) keeps some zero ones.
//          KEEP > 0: an element is {place in its group, weight} (pick.sv). Bias word a holds LANES_OUT biases of OUT_W bits, of channels a*LANES_OUT ..
//          TURNS > 1: of each turn one after the other, in a rolled encoder (turns.sv)
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
  parameter WEIGHT_FILE = "",
  parameter int WEIGHT_LOAD = 0,  // see rom
  parameter BIAS_FILE = "",
  parameter int BIAS_LOAD = 0,  // see rom
  parameter int WORDS = 0,             // of weights of all turns, where zero tiles are left out; 0: none is
  parameter SCHEDULE_FILE = "",        // see schedule
  parameter int SCHEDULE_LOAD = 0,     // see rom
  parameter START_FILE = "",           // see schedule
  parameter int START_LOAD = 0,        // see rom
  parameter int TURNS = 1,             // weights and biases by turn
  parameter int SENTENCES = 2          // see turns
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
  localparam int ElementW = WEIGHT_W + (KEEP > 0 ? $clog2(GROUP) : 0);
  localparam int Words = WORDS > 0 ? WORDS : TURNS * Folds * Steps;
  localparam int BiasWords = C / LANES_OUT;
  localparam int AddrW = Words > 1 ? $clog2(Words) : 1;
  localparam int BiasW = TURNS * BiasWords > 1 ? $clog2(TURNS * BiasWords) : 1;

  // One enable stalls everything behind the input buffer.
  wire en = m_ready || !m_valid;

  // Operands, and what the step is
  localparam int Operands = KEEP > 0 ? PE * SIMD : SIMD;
  logic [Inputs*IN_W-1:0] inputs;
  logic [PE*SIMD*ElementW-1:0] word;
  wire [Operands*IN_W-1:0] x;
  wire [PE*SIMD*WEIGHT_W-1:0] w;
  logic first_q, final_q, last_q;
  wire full, token_last, first, last, last_fold, token_end;
  wire [WordW-1:0] step;
  wire [AddrW-1:0] addr;

  schedule #(.STEPS(Steps), .FOLDS(Folds), .BEATS(Beats), .WORDS(WORDS), .SCHEDULE_FILE(SCHEDULE_FILE), .SCHEDULE_LOAD(SCHEDULE_LOAD),
             .START_FILE(START_FILE), .START_LOAD(START_LOAD), .TURNS(TURNS), .SENTENCES(SENTENCES)) u_schedule (
    .clk, .rst, .bus, .load, .go(en && full), .sentence_end(token_last), .first, .last, .last_fold, .token_end, .step, .addr);
  /* verilator lint_off PINCONNECTEMPTY */
  banks #(.LANES(LANES_IN), .WORD(Inputs), .W(IN_W), .DEPTH(Steps), .FIXED(1'b1)) u_token (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last,
    .en, .offset(step), .done(full && token_end), .full, .count(), .last(token_last), .word(inputs));
  /* verilator lint_on PINCONNECTEMPTY */
  rom #(.WIDTH(PE * SIMD * ElementW), .DEPTH(Words), .FILE(WEIGHT_FILE), .LOAD(WEIGHT_LOAD)) u_weight (.clk, .load, .en, .addr, .q(word));
  if (KEEP > 0) begin : g_pick
    pick #(.PE(PE), .SIMD(SIMD), .KEEP(KEEP), .GROUP(GROUP), .X_W(IN_W), .W_W(WEIGHT_W)) u_pick (.x(inputs), .word, .picked(x), .w);
  end else begin : g_all
    assign x = inputs;
    assign w = word;
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
  logic [PE*OUT_W-1:0] acc;
  logic [LANES_OUT*OUT_W-1:0] beat, bias;

  mac_array #(.PE(PE), .SIMD(SIMD), .X_W(IN_W), .X_SIGNED(IN_SIGNED), .W_W(WEIGHT_W), .OUT_W(OUT_W), .MUL_STYLE(MUL_STYLE), .OWN(KEEP > 0)) u_mac (
    .clk, .rst, .en, .first(first_q), .final_step(final_q), .i_last(last_q), .x, .w,
    .o_valid(acc_valid), .o_last(acc_last), .acc);
  unpack #(.WORD(PE), .LANES(LANES_OUT), .W(OUT_W)) u_out (
    .clk, .rst, .en, .load(acc_valid), .load_last(acc_last), .word(acc), .valid(beat_valid), .last(beat_last), .data(beat));

  // Bias: read, then added
  logic [BiasW-1:0] bias_at_q;
  logic [LANES_OUT*OUT_W-1:0] beat_q;
  logic valid_q, end_q;

  wire [BiasW-1:0] bias_base;

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .STRIDE(BiasWords)) u_bias_turn (
    .clk, .rst, .bus, .load(33'd0), .done(en && beat_valid && beat_last), .now(), .base(bias_base), .word());
  /* verilator lint_on PINCONNECTEMPTY */
  rom #(.WIDTH(LANES_OUT * OUT_W), .DEPTH(TURNS * BiasWords), .FILE(BIAS_FILE), .LOAD(BIAS_LOAD)) u_bias (
    .clk, .load, .en, .addr(bias_base + bias_at_q), .q(bias));

  always_ff @(posedge clk) begin
    if (en) begin
      if (beat_valid) bias_at_q <= bias_at_q == BiasW'(BiasWords - 1) ? '0 : bias_at_q + 1'b1;
      beat_q <= beat;
      valid_q <= beat_valid;
      end_q <= beat_last;
      m_valid <= valid_q;
      m_last <= end_q;
      for (int i = 0; i < LANES_OUT; i++)
        m_data[i*OUT_W +: OUT_W] <= beat_q[i*OUT_W +: OUT_W] + bias[i*OUT_W +: OUT_W];
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
