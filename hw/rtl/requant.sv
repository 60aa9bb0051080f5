// SPDX-License-Identifier: Apache-2.0
// requant: y = clip((acc*m + half(SHIFT)) >>> SHIFT), half(n) = 2**n >> 1; ties towards +inf
// Golden : hw/ops/requant.py (bit-exact)
// Stream : s_* -> m_*; last passes through. PER_CHANNEL: beats come in tokens of C/LANES, the first after reset is channel 0
// Product: one 18 x 18 multiplier a lane where IN_W <= 18 + LowAdds = 22, else two
// Timing : II 1; latency 6, or 2 when the multiplier is the constant 1 (then there is no product)
// Memory : MULT_FILE word a holds LANES multipliers of MULT_W bits, unsigned, of channels a*LANES ..; TURNS > 1: of each turn one after the
//          other, in a rolled encoder (turns.sv). ROUND_FILE word t: {low, high, more}, OUT_W, OUT_W and 6 bits: the limits of turn t, and by how
//          much its shift exceeds SHIFT
// Layout : lane i = data[i*W +: W]; acc signed
// Reset  : empty, channel 0
module requant #(
  parameter int C = 4,                  // channels of a token
  parameter int LANES = 1,              // elements per beat, divides C
  parameter int IN_W = 20,              // bits per accumulator
  parameter int OUT_W = 8,              // bits per output
  parameter bit OUT_SIGNED = 1'b1,
  parameter int MULT_W = 16,            // bits per multiplier
  parameter int SHIFT = 8,
  parameter bit PER_CHANNEL = 1'b0,     // 1: multipliers from MULT_FILE; 0: the constant MULT
  parameter int MULT = 1,
  parameter MULT_FILE = "",
  parameter int MULT_LOAD = 0,  // see rom
  parameter int TURNS = 1,              // multipliers by turn
  parameter int SENTENCES = 2,          // see turns
  parameter int BANKS = TURNS,          // of multipliers: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int ROWS = 0,               // see turns
  parameter int QUERIES = 1,            // see turns
  parameter int FOLD = 0,               // of a folded stream (blocks.sv): elements of a token that come one after the other
  parameter int MORE = 0,               // largest `more` of ROUND_FILE
  parameter ROUND_FILE = "",            // "": the shift is SHIFT, the limits are OUT_W's
  parameter int ROUND_LOAD = 0          // see rom
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [25:0]            bus,
  input  wire logic [32:0]            load,
  input  wire logic                   s_valid,
  output      logic                        s_ready,
  input  wire logic [LANES*IN_W-1:0]  s_data,
  input  wire logic                   s_last,
  output      logic                        m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0]      m_data,
  output      logic                        m_last
);
  localparam int LowAdds = 4;
  localparam bit ShiftOnly = !PER_CHANNEL && MULT == 1;
  localparam int Latency = ShiftOnly ? 2 : 6;
  localparam int ProdW = ShiftOnly ? IN_W : IN_W + MULT_W;
  localparam int SumW = (ProdW > SHIFT + MORE ? ProdW : SHIFT + MORE) + 1;
  localparam int TopW = (SumW - SHIFT > OUT_W ? SumW - SHIFT : OUT_W) + 1;  // holds the shifted sum and the limits
  localparam logic signed [TopW-1:0] High = (TopW'(1) << (OUT_SIGNED ? OUT_W - 1 : OUT_W)) - TopW'(1);
  localparam logic signed [TopW-1:0] Low = OUT_SIGNED ? -High - TopW'(1) : '0;

  wire en = m_ready || !m_valid;
  assign s_ready = en;

  // The sentence's turn, and how it is rounded when a beat is in stages Latency - 2 (sum) and Latency - 1 (limits)
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int Words = PER_CHANNEL ? C / LANES : 1;
  localparam int AddrW = BANKS * Words > 1 ? $clog2(BANKS * Words) : 1;
  wire [TurnW-1:0] turn;
  wire [AddrW-1:0] base;
  logic [5:0] more, more_q;
  logic [OUT_W-1:0] most_q, least_q;
  wire signed [SumW-1:0] half = (SumW'(1) << SHIFT << more) >> 1;

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .ROWS(ROWS), .QUERIES(QUERIES), .STRIDE(Words), .BANKS(BANKS), .BANK_OF(BANK_OF)) u_turn (
    .clk, .rst, .bus, .load(33'd0), .done(en && s_valid && s_last), .now(turn), .base, .word());
  /* verilator lint_on PINCONNECTEMPTY */

  if (ROUND_FILE == "") begin : g_alike
    assign more = '0;
    assign more_q = '0;
    assign {least_q, most_q} = {OUT_W'(Low), OUT_W'(High)};
    wire unused = &{1'b0, turn, base, load};
  end else begin : g_by_turn
    wire [TurnW-1:0] at;  // of the beat in the stage before the sum's
    wire [2*OUT_W+5:0] round;
    logic [OUT_W-1:0] high, low;

    if (ShiftOnly) begin : g_now
      assign at = turn;
      rom #(.WIDTH(2 * OUT_W + 6), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD), .NOW(1'b1)) u_round (.clk, .load, .en(1'b1), .addr(at), .q(round));
    end else begin : g_later
      logic [3*TurnW-1:0] turn_q;
      always_ff @(posedge clk) if (en) turn_q <= (3*TurnW)'({turn_q, turn});
      assign at = turn_q[2*TurnW +: TurnW];
      rom #(.WIDTH(2 * OUT_W + 6), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD)) u_round (.clk, .load, .en, .addr(at), .q(round));
    end
    assign {low, high, more} = round;
    wire unused = &{1'b0, base};
    always_ff @(posedge clk) if (en) {least_q, most_q, more_q} <= {low, high, more};
  end

  logic [Latency-1:0] valid_q, last_q;
  (* mem2reg *) logic signed [SumW-1:0] prod [0:LANES-1];  // products before rounding

  always_ff @(posedge clk) begin
    if (en) begin
      valid_q <= Latency'({valid_q, s_valid});
      last_q <= Latency'({last_q, s_last});
    end
    if (rst) valid_q <= '0;
  end
  assign m_valid = valid_q[Latency-1];
  assign m_last = last_q[Latency-1];

  if (ShiftOnly) begin : g_shift
    for (genvar i = 0; i < LANES; i++) begin : g_lane
      assign prod[i] = SumW'($signed(s_data[i*IN_W +: IN_W]));
    end
  end else begin : g_multiply
    // Wide accumulators are multiplied in two parts, so that each fits an 18 x 18 multiplier: few bits beyond 18 by additions.
    localparam int Beyond = IN_W - 18;
    localparam bit Adds = Beyond <= LowAdds;
    localparam int LowW = Adds ? Beyond : 17;
    localparam int HighW = IN_W - LowW;
    logic [LANES*IN_W-1:0] read_q, x_q;
    logic [LANES*MULT_W-1:0] read_m, m_q;

    if (PER_CHANNEL) begin : g_rom
      // Folded: a part's words again for each of its tokens, then the next part's
      localparam int Part = FOLD > 0 ? FOLD / LANES : Words;
      logic [AddrW-1:0] addr_q, part_q;
      wire part_end = addr_q == part_q + AddrW'(Part - 1);
      wire [AddrW-1:0] next_part = part_q == AddrW'(Words - Part) ? '0 : part_q + AddrW'(Part);

      always_ff @(posedge clk) begin
        if (en && s_valid) begin
          addr_q <= !part_end ? addr_q + 1'b1 : s_last && FOLD > 0 ? next_part : part_q;
          if (s_last && FOLD > 0) part_q <= next_part;
        end
        if (rst) begin
          addr_q <= '0;
          part_q <= '0;
        end
      end
      rom #(.WIDTH(LANES * MULT_W), .DEPTH(BANKS * Words), .FILE(MULT_FILE), .LOAD(MULT_LOAD)) u_mult (.clk, .load, .en, .addr(base + addr_q), .q(read_m));
    end else begin : g_constant
      assign read_m = {LANES{MULT_W'(MULT)}};
    end

    always_ff @(posedge clk) begin
      if (en) begin
        read_q <= s_data;
        x_q <= read_q;
        m_q <= read_m;
      end
    end
    for (genvar i = 0; i < LANES; i++) begin : g_lane
      wire signed [MULT_W:0] m = {1'b0, m_q[i*MULT_W +: MULT_W]};
      if (IN_W > 18) begin : g_parts
        wire signed [HighW-1:0] x_high = x_q[i*IN_W+LowW +: HighW];
        wire [LowW-1:0] x_low = x_q[i*IN_W +: LowW];
        logic signed [HighW+MULT_W-1:0] high_q;
        wire [HighW+MULT_W-1:0] made_high;
        logic [LowW+MULT_W-1:0] made_low, low_q, low_d;
        if (Adds) begin : g_adds
          always_comb begin
            low_d = '0;
            for (int k = 0; k < LowW; k++) if (x_low[k]) low_d = low_d + ((LowW+MULT_W)'(m_q[i*MULT_W +: MULT_W]) << k);
          end
          always_ff @(posedge clk) if (en) made_low <= low_d;
        end else begin : g_second
          wire signed [LowW:0] x_unsigned = {1'b0, x_low};
          assign low_d = (LowW+MULT_W)'((LowW+MULT_W+1)'(x_unsigned) * (LowW+MULT_W+1)'(m));
          product_reg #(.W(LowW + MULT_W)) u_low (.clk, .en, .d(low_d), .q(made_low));
        end
        product_reg #(.W(HighW + MULT_W)) u_high (.clk, .en, .d((HighW+MULT_W)'(x_high) * (HighW+MULT_W)'(m)), .q(made_high));
        always_ff @(posedge clk) begin
          if (en) begin
            high_q <= made_high;
            low_q <= made_low;
          end
        end
        assign prod[i] = (SumW'(high_q) <<< LowW) + SumW'({1'b0, low_q});
      end else begin : g_one
        wire signed [IN_W-1:0] x = x_q[i*IN_W +: IN_W];
        logic signed [IN_W+MULT_W-1:0] prod_q;
        wire [IN_W+MULT_W-1:0] made;
        product_reg #(.W(IN_W + MULT_W)) u_product (.clk, .en, .d((IN_W+MULT_W)'(x) * (IN_W+MULT_W)'(m)), .q(made));
        always_ff @(posedge clk) if (en) prod_q <= made;
        assign prod[i] = SumW'(prod_q);
      end
    end
  end

  for (genvar i = 0; i < LANES; i++) begin : g_round
    logic signed [SumW-1:0] sum_q;
    wire signed [TopW-1:0] top = TopW'((sum_q >>> SHIFT) >>> more_q);
    wire signed [TopW-1:0] high = OUT_SIGNED ? TopW'($signed(most_q)) : TopW'(most_q);
    wire signed [TopW-1:0] low = OUT_SIGNED ? TopW'($signed(least_q)) : TopW'(least_q);
    always_ff @(posedge clk) begin
      if (en) begin
        sum_q <= prod[i] + half;
        m_data[i*OUT_W +: OUT_W] <= OUT_W'(top > high ? high : top < low ? low : top);
      end
    end
  end

  initial if (C % LANES != 0) $fatal(1, "requant: got LANES %0d, must divide C %0d", LANES, C);
endmodule
