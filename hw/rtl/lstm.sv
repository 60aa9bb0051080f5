// SPDX-License-Identifier: Apache-2.0
// lstm: a recurrent layer: z = requant(W [x_t, h] + b), i, f, g, o = tables of z, c = clip(round(f c << KEEP + i g << WRITE, CELL_SHIFT)),
//       h = clip(round(o tanh(clip(round(c, TANH_SHIFT))), OUT_SHIFT)); h and c are 0 before a sentence's first token
// Golden : hw/ops/lstm.py (bit-exact; ties towards +inf)
// Stream : s_* tokens of X elements -> m_* tokens of H elements (ALL = 1), or a sentence's last h; BACKWARD: from its last token to its first, given out in
//          the order of the tokens all the same. m_last ends a sentence
// Order  : IN_FLIGHT sentences, whose steps take turns (places.sv). A step is one token: fold f computes channels f*PE/4 .. in (X + H)/SIMD cycles, x first,
//          four gates each. A step takes S = 4H/PE * max((X + H)/SIMD, PE/4/LANES_OUT) cycles
// Timing : a token's step may be chosen from the cycle behind its last input beat on, and begins in the one behind that; its last h is written
//          Written = 28 + ceil(log4(SIMD)) + PE/4/LANES_OUT - (S/folds - (X + H)/SIMD) cycles behind its last one, and the next step of the same sentence
//          begins DELAY behind it. The first beat of a sentence leaves 2 cycles behind its last h's. Nothing but the two streams waits
// Memory : weight word f*(X+H)/SIMD + step: row 4j+g is gate g (i, f, g, o) of channel f*PE/4+j, element simd at bit (row*SIMD+simd)*WEIGHT_W; as in linear.
//          Bias and mult word a: 4 gates each of channels a*LANES_OUT ..; tables: address is the code with its sign bit inverted
// Layout : lane i = data[i*W +: W]
// Reset  : no sentence held
module lstm #(
  parameter int X = 4,                 // inputs of a token
  parameter int H = 4,                 // channels
  parameter int TOKENS = 8,            // of the longest sentence
  parameter int IN_FLIGHT = 3,         // places
  parameter bit BACKWARD = 1'b0,
  parameter bit ALL = 1'b1,            // all states leave; else the last one
  parameter int PE = 4,                // 4 gates of PE/4 channels side by side, PE/4 divides H
  parameter int SIMD = 2,              // divides X and H
  parameter int LANES_IN = 1,          // divides SIMD
  parameter int LANES_OUT = 1,         // divides SIMD and PE/4
  parameter int X_W = 8,               // bits of x
  parameter bit X_SIGNED = 1'b1,
  parameter int WEIGHT_W = 4,          // see linear
  parameter int ACC_W = 20,            // bits of a sum
  parameter int MULT_W = 16,           // bits of a multiplier
  parameter int SHIFT = 8,             // see requant
  parameter int GATE_W = 8,            // bits of z
  parameter int ACT_W = 8,             // bits of i, f, g, o and tanh
  parameter int CELL_W = 16,           // bits of c
  parameter int KEEP = 0,
  parameter int WRITE = 0,
  parameter int CELL_SHIFT = 8,
  parameter int TANH_W = 8,            // bits of what tanh is looked up by
  parameter int TANH_SHIFT = 4,
  parameter int OUT_W = 8,             // bits of h
  parameter int OUT_SHIFT = 8,
  parameter int DELAY = 40,            // cycles from a step's last to the first of the same sentence's next step: Written + 1 - X/SIMD, at least 2
  parameter MUL_STYLE = "one",         // see mac_array
  parameter bit W_NARROW = 1'b0,       // likewise
  parameter WEIGHT_FILE = "",
  parameter int WEIGHT_LOAD = 0,       // see rom
  parameter BIAS_FILE = "",
  parameter int BIAS_LOAD = 0,
  parameter MULT_FILE = "",
  parameter int MULT_LOAD = 0,
  parameter INPUT_FILE = "",           // tables of i, f, g, o and tanh
  parameter int INPUT_LOAD = 0,
  parameter FORGET_FILE = "",
  parameter int FORGET_LOAD = 0,
  parameter CANDIDATE_FILE = "",
  parameter int CANDIDATE_LOAD = 0,
  parameter OUTPUT_FILE = "",
  parameter int OUTPUT_LOAD = 0,
  parameter TANH_FILE = "",
  parameter int TANH_LOAD = 0
) (
  input  wire logic                       clk,
  input  wire logic                       rst,
  input  wire logic [25:0]                bus,   // not looked at: it serves one layer
  input  wire logic [32:0]                load,
  input  wire logic                       s_valid,
  output      logic                       s_ready,
  input  wire logic [LANES_IN*X_W-1:0]    s_data,
  input  wire logic                       s_last,
  output      logic                       m_valid,
  input  wire logic                       m_ready,
  output      logic [LANES_OUT*OUT_W-1:0] m_data,
  output      logic                       m_last
);
  localparam int XWords = X / SIMD;
  localparam int HWords = H / SIMD;
  localparam int HBeats = H / LANES_OUT;
  localparam int Steps = XWords + HWords;
  localparam int Folds = 4 * H / PE;
  localparam int Beats = PE / 4 / LANES_OUT;
  localparam int E = LANES_OUT;
  localparam int MacLatency = 6 + ($clog2(SIMD) + 1) / 2;
  localparam int Tail = 22;  // stages behind the sums of a beat
  localparam int XSize = IN_FLIGHT * TOKENS * XWords;
  localparam int HSize = 2 * IN_FLIGHT * HWords;
  localparam int CSize = IN_FLIGHT * HBeats;
  localparam int OutStride = ALL ? HBeats : 0;                // of a token in the memory of what leaves
  localparam int OutPlace = ALL ? TOKENS * HBeats : HBeats;
  localparam int OSize = IN_FLIGHT * OutPlace;
  localparam int AtW = IN_FLIGHT > 1 ? $clog2(IN_FLIGHT) : 1;
  localparam int XAddrW = XSize > 1 ? $clog2(XSize) : 1;
  localparam int HAddrW = HSize > 1 ? $clog2(HSize) : 1;
  localparam int CAddrW = CSize > 1 ? $clog2(CSize) : 1;
  localparam int OAddrW = OSize > 1 ? $clog2(OSize) : 1;
  localparam int BeatW = HBeats > 1 ? $clog2(HBeats) : 1;
  localparam int WordW = HWords > 1 ? $clog2(HWords) : 1;
  localparam int StepW = Steps > 1 ? $clog2(Steps) : 1;
  localparam int AddrW = Folds * Steps > 1 ? $clog2(Folds * Steps) : 1;
  localparam int XOwnW = X_W + (X_SIGNED ? 0 : 1);
  localparam int OpW = XOwnW > OUT_W ? XOwnW : OUT_W;         // of an operand

  wire unused_bus = &{1'b0, bus};

  // Places
  wire token_in, sentence_in, start, first, last, step_end, given, full;
  wire [AtW-1:0] load_at, at, give_at;
  logic busy_q, half_q, first_q, last_q;
  logic [AtW-1:0] at_q;
  logic [IN_FLIGHT-1:0] halves_q;  // where each place's present h is: two halves take turns
  wire other = !first && !halves_q[at];
  wire h_end;                      // a step's last h is written
  wire [AtW-1:0] h_place;
  wire h_final;

  places #(.COUNT(IN_FLIGHT), .TOKENS(TOKENS), .BACKWARD(BACKWARD), .WAIT(DELAY)) u_places (
    .clk, .rst, .ready(s_ready), .load_at, .token_in, .sentence_in, .idle(!busy_q || step_end), .start, .at, .first, .last,
    .step_end, .step_at(at_q), .done(h_end && h_final), .done_at(h_place), .full, .give_at, .given);

  // No word of the memories below is read for use in the cycle in which it is written.

  // What comes: words of SIMD elements, each written with its last beat. Where its tokens lie in the memories of x and of what leaves
  (* no_rw_check *) logic [SIMD*X_W-1:0] x_ram [0:XSize-1];
  logic [SIMD*X_W-1:0] x_filled, x_word;
  logic [XAddrW-1:0] x_write_q, x_token_q, x_base_q, x_place_q;
  logic [IN_FLIGHT*XAddrW-1:0] x_at_q;                        // of each place's next step
  logic [OAddrW-1:0] o_token_q, o_place_q;
  logic [IN_FLIGHT*OAddrW-1:0] o_at_q, o_end_q;               // of what each place's present step gives, of the last that leaves
  logic [$clog2(XWords+1)-1:0] word_q;
  logic fresh_q;                                              // no token of the sentence is there
  wire x_end;

  if (SIMD == LANES_IN) begin : g_whole
    assign x_filled = s_data;
    assign x_end = s_valid && s_ready;
  end else begin : g_parts
    localparam int Parts = SIMD / LANES_IN;
    localparam int PartW = (Parts - 1) * LANES_IN * X_W;
    logic [PartW-1:0] x_part_q;
    logic [$clog2(Parts)-1:0] x_beat_q;

    assign x_filled = {s_data, x_part_q};
    assign x_end = s_valid && s_ready && x_beat_q == $clog2(Parts)'(Parts - 1);
    always_ff @(posedge clk) begin
      if (s_valid && s_ready) begin
        x_part_q <= x_filled[SIMD*X_W-1 -: PartW];
        x_beat_q <= x_end ? '0 : x_beat_q + 1'b1;
      end
      if (rst) x_beat_q <= '0;
    end
  end
  assign token_in = x_end && word_q == $clog2(XWords+1)'(XWords - 1);
  assign sentence_in = token_in && s_last;

  wire wraps = load_at == AtW'(IN_FLIGHT - 1);
  wire [XAddrW-1:0] x_next = sentence_in ? (wraps ? '0 : x_place_q + XAddrW'(TOKENS * XWords)) : x_write_q + 1'b1;
  wire [OAddrW-1:0] o_next = sentence_in ? (wraps ? '0 : o_place_q + OAddrW'(OutPlace)) : o_token_q + OAddrW'(OutStride);

  always_ff @(posedge clk) if (x_end) x_ram[x_write_q] <= x_filled;

  always_ff @(posedge clk) begin
    if (x_end) begin
      x_write_q <= x_next;
      word_q <= token_in ? '0 : word_q + 1'b1;
    end
    if (token_in) begin
      x_token_q <= x_next;
      o_token_q <= o_next;
      fresh_q <= s_last;
    end
    if (sentence_in) begin
      x_place_q <= x_next;
      o_place_q <= o_next;
    end
    for (int i = 0; i < IN_FLIGHT; i++) begin  // a place by its number: an index times a width would be a multiplier
      if (token_in && load_at == AtW'(i)) o_end_q[i*OAddrW +: OAddrW] <= o_token_q + OAddrW'(HBeats - 1);
      if (start && at == AtW'(i)) x_at_q[i*XAddrW +: XAddrW] <= BACKWARD ? x_base - XAddrW'(XWords) : x_base + XAddrW'(XWords);
      if (h_end && h_place == AtW'(i)) o_at_q[i*OAddrW +: OAddrW] <= BACKWARD ? o_base - OAddrW'(OutStride) : o_base + OAddrW'(OutStride);
      if (token_in && (BACKWARD || fresh_q) && load_at == AtW'(i)) begin
        x_at_q[i*XAddrW +: XAddrW] <= x_token_q;
        o_at_q[i*OAddrW +: OAddrW] <= o_token_q;
      end
    end
    if (rst) begin
      {x_write_q, x_token_q, x_place_q} <= '0;
      {o_token_q, o_place_q} <= '0;
      word_q <= '0;
      fresh_q <= 1'b1;
    end
  end

  // The step in work
  logic [XAddrW-1:0] x_base;
  logic [OAddrW-1:0] o_base, o_end;
  always_comb begin
    {x_base, o_base, o_end} = '0;
    for (int i = 0; i < IN_FLIGHT; i++) begin
      if (at == AtW'(i)) x_base = x_at_q[i*XAddrW +: XAddrW];
      if (h_place == AtW'(i)) o_base = o_at_q[i*OAddrW +: OAddrW];
      if (give_at == AtW'(i)) o_end = o_end_q[i*OAddrW +: OAddrW];
    end
  end
  logic [HAddrW-1:0] h_base_q;  // less XWords: the step's place follows
  wire fold_first, fold_last, last_fold;
  wire [StepW-1:0] step;
  wire [AddrW-1:0] addr;

  function automatic logic [HAddrW-1:0] h_begin(input logic [AtW-1:0] place, input logic half);
    h_begin = '0;
    for (int i = 0; i < 2 * IN_FLIGHT; i++) if ({place, half} == (AtW+1)'(i)) h_begin = HAddrW'(i * HWords);
  endfunction

  function automatic logic [CAddrW-1:0] c_begin(input logic [AtW-1:0] place);
    c_begin = '0;
    for (int i = 0; i < IN_FLIGHT; i++) if (place == AtW'(i)) c_begin = CAddrW'(i * HBeats);
  endfunction

  /* verilator lint_off PINCONNECTEMPTY */
  schedule #(.STEPS(Steps), .FOLDS(Folds), .BEATS(Beats), .DEPTH(Folds * Steps)) u_schedule (
    .clk, .rst, .load(33'd0), .go(busy_q), .again(1'b0), .turn_end(1'b0), .start('0), .entry('0), .first(fold_first), .last(fold_last), .slot_end(),
    .last_fold, .end_all(step_end), .step, .place(), .addr);
  /* verilator lint_on PINCONNECTEMPTY */

  always_ff @(posedge clk) begin
    if (!busy_q || step_end) busy_q <= start;
    if (start) begin
      at_q <= at;
      x_base_q <= x_base;
      h_base_q <= h_begin(at, halves_q[at]) - HAddrW'(XWords);
      half_q <= other;
      halves_q[at] <= other;
      first_q <= first;
      last_q <= last;
    end
    if (rst) busy_q <= 1'b0;
  end

  // Operands: x, then h; before a sentence's first token h is 0
  (* no_rw_check *) logic [SIMD*OUT_W-1:0] h_ram [0:HSize-1];
  logic [SIMD*OUT_W-1:0] h_word;
  logic is_h_q, blank_q, sum_first_q, sum_last_q, sum_end_q;
  logic [SIMD*OpW-1:0] operand;
  wire [PE*SIMD*WEIGHT_W-1:0] weight;
  wire is_h = (StepW+1)'(step) >= (StepW+1)'(XWords);

  always_ff @(posedge clk) x_word <= x_ram[x_base_q + XAddrW'(step)];
  always_ff @(posedge clk) h_word <= h_ram[h_base_q + HAddrW'(step)];
  rom #(.WIDTH(PE * SIMD * WEIGHT_W), .DEPTH(Folds * Steps), .FILE(WEIGHT_FILE), .LOAD(WEIGHT_LOAD)) u_weight (.clk, .load, .en(1'b1), .addr, .q(weight));

  always_ff @(posedge clk) begin
    is_h_q <= is_h;
    blank_q <= first_q && is_h;
    sum_first_q <= fold_first;
    sum_last_q <= busy_q && fold_last;
    sum_end_q <= last_fold;
    if (rst) sum_last_q <= 1'b0;
  end
  for (genvar i = 0; i < SIMD; i++) begin : g_operand
    wire [OpW-1:0] x = X_SIGNED ? OpW'($signed(x_word[i*X_W +: X_W])) : OpW'(x_word[i*X_W +: X_W]);
    wire [OpW-1:0] h = OpW'($signed(h_word[i*OUT_W +: OUT_W]));
    assign operand[i*OpW +: OpW] = blank_q ? '0 : is_h_q ? h : x;
  end

  wire sum_valid, sum_end, beat_valid, beat_end;
  wire [PE*ACC_W-1:0] sums;
  wire [4*E*ACC_W-1:0] beat;

  mac_array #(.PE(PE), .SIMD(SIMD), .X_W(OpW), .W_W(WEIGHT_W), .OUT_W(ACC_W), .MUL_STYLE(MUL_STYLE), .W_NARROW(W_NARROW)) u_mac (
    .clk, .rst, .en(1'b1), .first(sum_first_q), .final_step(sum_last_q), .i_last(sum_end_q), .x(operand), .w(weight),
    .o_valid(sum_valid), .o_last(sum_end), .acc(sums));
  unpack #(.WORD(PE), .LANES(4 * E), .W(ACC_W)) u_beats (
    .clk, .rst, .en(1'b1), .load(sum_valid), .load_last(sum_end), .word(sums), .valid(beat_valid), .last(beat_end), .data(beat));

  // Whose a beat is: {place, half where its h goes, first, last step}, from the step to its sums, and from a beat to its h
  localparam int TagW = AtW + 3;
  logic [MacLatency*TagW-1:0] sums_tag_q;
  logic [TagW-1:0] beat_tag_q;
  logic [Tail*TagW-1:0] tag_q;   // stage s at (s-1)*TagW
  logic [Tail:1] valid_q, end_q;

  always_ff @(posedge clk) begin
    sums_tag_q <= (MacLatency*TagW)'({sums_tag_q, at_q, half_q, first_q, last_q});
    if (sum_valid) beat_tag_q <= sums_tag_q[MacLatency*TagW-1 -: TagW];
    tag_q <= (Tail*TagW)'({tag_q, beat_tag_q});
    valid_q <= Tail'({valid_q, beat_valid});
    end_q <= Tail'({end_q, beat_valid && beat_end});
    if (rst) begin
      valid_q <= '0;
      end_q <= '0;
    end
  end

  // Stages 0 .. 8: bias, and what a gate is looked up by
  localparam int CRead = 8, CWrite = 15;
  logic [BeatW-1:0] bias_at_q, read_at_q, write_at_q, out_at_q;  // the beat's among its token's, in stages 0, 8, 15 and 22
  logic [4*E*ACC_W-1:0] beat_q, acc_q;
  wire [4*E*ACC_W-1:0] bias;
  wire [4*E*GATE_W-1:0] z;

  function automatic logic [BeatW-1:0] behind(input logic [BeatW-1:0] place);
    behind = place == BeatW'(HBeats - 1) ? '0 : place + 1'b1;
  endfunction

  rom #(.WIDTH(4 * E * ACC_W), .DEPTH(HBeats), .FILE(BIAS_FILE), .LOAD(BIAS_LOAD)) u_bias (.clk, .load, .en(1'b1), .addr(bias_at_q), .q(bias));

  always_ff @(posedge clk) begin
    beat_q <= beat;
    for (int i = 0; i < 4 * E; i++) acc_q[i*ACC_W +: ACC_W] <= beat_q[i*ACC_W +: ACC_W] + bias[i*ACC_W +: ACC_W];
    if (beat_valid) bias_at_q <= behind(bias_at_q);
    if (valid_q[CRead]) read_at_q <= behind(read_at_q);
    if (valid_q[CWrite]) write_at_q <= behind(write_at_q);
    if (valid_q[Tail]) out_at_q <= behind(out_at_q);
    if (rst) {bias_at_q, read_at_q, write_at_q, out_at_q} <= '0;
  end

  /* verilator lint_off PINCONNECTEMPTY */
  requant #(.C(4 * H), .LANES(4 * E), .IN_W(ACC_W), .OUT_W(GATE_W), .MULT_W(MULT_W), .SHIFT(SHIFT), .PER_CHANNEL(1'b1), .MULT_FILE(MULT_FILE), .MULT_LOAD(MULT_LOAD)) u_requant (
    .clk, .rst, .bus(26'd0), .load, .s_valid(valid_q[2]), .s_ready(), .s_data(acc_q), .s_last(1'b0), .m_valid(), .m_ready(1'b1), .m_data(z), .m_last());
  /* verilator lint_on PINCONNECTEMPTY */

  // Stages 8 .. 22: gates, cell, h
  (* no_rw_check *) logic [E*CELL_W-1:0] c_ram [0:CSize-1];
  logic [E*CELL_W-1:0] c_word;
  wire [E*CELL_W-1:0] c_new;
  wire [E*OUT_W-1:0] h_new;
  logic c_blank_q;
  wire [AtW-1:0] read_place = tag_q[(CRead-1)*TagW+3 +: AtW];
  wire [AtW-1:0] write_place = tag_q[(CWrite-1)*TagW+3 +: AtW];

  always_ff @(posedge clk) c_word <= c_ram[c_begin(read_place) + CAddrW'(read_at_q)];
  always_ff @(posedge clk) if (valid_q[CWrite]) c_ram[c_begin(write_place) + CAddrW'(write_at_q)] <= c_new;
  always_ff @(posedge clk) c_blank_q <= tag_q[(CRead-1)*TagW+1];

  for (genvar i = 0; i < E; i++) begin : g_channel
    lstm_cell #(.GATE_W(GATE_W), .ACT_W(ACT_W), .CELL_W(CELL_W), .KEEP(KEEP), .WRITE(WRITE), .CELL_SHIFT(CELL_SHIFT), .TANH_W(TANH_W), .TANH_SHIFT(TANH_SHIFT),
                .OUT_W(OUT_W), .OUT_SHIFT(OUT_SHIFT), .INPUT_FILE(INPUT_FILE), .INPUT_LOAD(INPUT_LOAD), .FORGET_FILE(FORGET_FILE), .FORGET_LOAD(FORGET_LOAD),
                .CANDIDATE_FILE(CANDIDATE_FILE), .CANDIDATE_LOAD(CANDIDATE_LOAD), .OUTPUT_FILE(OUTPUT_FILE), .OUTPUT_LOAD(OUTPUT_LOAD),
                .TANH_FILE(TANH_FILE), .TANH_LOAD(TANH_LOAD)) u_cell (
      .clk, .load, .z(z[4*i*GATE_W +: 4*GATE_W]), .c(c_blank_q ? '0 : c_word[i*CELL_W +: CELL_W]), .c_new(c_new[i*CELL_W +: CELL_W]),
      .h(h_new[i*OUT_W +: OUT_W]));
  end

  // Stage 22: h goes to where the next step reads it, SIMD elements a word, and to where it leaves
  wire h_half;
  assign {h_place, h_half} = tag_q[Tail*TagW-1 -: AtW+1];
  assign h_final = tag_q[(Tail-1)*TagW];
  assign h_end = end_q[Tail];
  wire h_valid = valid_q[Tail];
  logic [SIMD*OUT_W-1:0] h_filled;
  logic [WordW-1:0] h_word_q;
  wire h_write;

  if (SIMD == E) begin : g_h_whole
    assign h_filled = h_new;
    assign h_write = h_valid;
  end else begin : g_h_parts
    localparam int Parts = SIMD / E;
    localparam int PartW = (Parts - 1) * E * OUT_W;
    logic [PartW-1:0] h_part_q;
    logic [$clog2(Parts)-1:0] h_beat_q;

    assign h_filled = {h_new, h_part_q};
    assign h_write = h_valid && h_beat_q == $clog2(Parts)'(Parts - 1);
    always_ff @(posedge clk) begin
      if (h_valid) begin
        h_part_q <= h_filled[SIMD*OUT_W-1 -: PartW];
        h_beat_q <= h_write ? '0 : h_beat_q + 1'b1;
      end
      if (rst) h_beat_q <= '0;
    end
  end
  always_ff @(posedge clk) if (h_write) h_ram[h_begin(h_place, h_half) + HAddrW'(h_word_q)] <= h_filled;
  always_ff @(posedge clk) begin
    if (h_write) h_word_q <= h_word_q == WordW'(HWords - 1) ? '0 : h_word_q + 1'b1;
    if (rst) h_word_q <= '0;
  end

  // What leaves
  (* no_rw_check *) logic [E*OUT_W-1:0] o_ram [0:OSize-1];
  logic [OAddrW-1:0] o_read_q, o_begin_q;  // of the sentence that leaves
  wire advance = m_ready || !m_valid;
  wire [OAddrW-1:0] o_following = give_at == AtW'(IN_FLIGHT - 1) ? '0 : o_begin_q + OAddrW'(OutPlace);
  wire o_last = o_read_q == o_end;
  assign given = advance && full && o_last;

  always_ff @(posedge clk) if (h_valid) o_ram[o_base + OAddrW'(out_at_q)] <= h_new;
  always_ff @(posedge clk) if (advance) m_data <= o_ram[o_read_q];
  always_ff @(posedge clk) begin
    if (advance) begin
      m_valid <= full;
      m_last <= o_last;
      if (full) o_read_q <= o_last ? o_following : o_read_q + 1'b1;
      if (given) o_begin_q <= o_following;
    end
    if (rst) begin
      m_valid <= 1'b0;
      {o_read_q, o_begin_q} <= '0;
    end
  end

  initial begin
    if (PE % (4 * LANES_OUT) != 0 || 4 * H % PE != 0) $fatal(1, "lstm: got PE %0d, must be a multiple of 4 LANES_OUT = %0d that divides 4 H = %0d", PE, 4 * LANES_OUT, 4 * H);
    if (X % SIMD != 0 || H % SIMD != 0 || SIMD % LANES_IN != 0 || SIMD % LANES_OUT != 0)
      $fatal(1, "lstm: got SIMD %0d, must divide X %0d and H %0d, and be a multiple of LANES_IN %0d and LANES_OUT %0d", SIMD, X, H, LANES_IN, LANES_OUT);
  end
endmodule
