// SPDX-License-Identifier: Apache-2.0
// add: y = clip((a*MULT_A + b*MULT_B + half) >>> SHIFT), OUT_W bits signed, half = 2**SHIFT / 2
// Golden : hw/ops/add.py (bit-exact; ties towards +inf)
// Stream : a_* and b_* -> m_*; a beat of each is taken in the same cycle; last is that of a_* (b_* has it on the same beat)
// Timing : latency 2, with ROUND_FILE 3 (products, sum, rounding, which may shift by any number of places), II 1
// Turns  : ROUND_FILE word t, in a rolled encoder (turns.sv): {low, high, more, b, a}, OUT_W, OUT_W, 6, FACTOR_W and FACTOR_W bits: the limits of
//          turn t, by how much its shift exceeds SHIFT, its multipliers
// Layout : lane i = data[i*W +: W]; multipliers that are powers of two are wires
// Reset  : rst drops what is in flight
module add #(
  parameter int LANES = 1,      // elements a beat
  parameter int A_W = 8,        // bits of a code of a
  parameter int B_W = 8,        // bits of a code of b
  parameter bit A_SIGNED = 1,
  parameter bit B_SIGNED = 1,
  parameter int OUT_W = 10,     // bits of a code of y
  parameter int MULT_A = 1,     // >= 1
  parameter int MULT_B = 1,     // >= 1
  parameter int SHIFT = 0,      // >= 0
  parameter int TURNS = 1,
  parameter int SENTENCES = 2,  // see turns
  parameter int MORE = 0,       // largest `more` of ROUND_FILE
  parameter int FACTOR_W = 1,   // of its multipliers; MULT_A and MULT_B are the largest of them
  parameter ROUND_FILE = "",    // "": the same in each turn
  parameter int ROUND_LOAD = 0  // see rom
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [25:0]            bus,
  input  wire logic [32:0]            load,
  input  wire logic                   a_valid,
  output      logic                   a_ready,
  input  wire logic [LANES*A_W-1:0]   a_data,
  input  wire logic                   a_last,
  input  wire logic                   b_valid,
  output      logic                   b_ready,
  input  wire logic [LANES*B_W-1:0]   b_data,
  input  wire logic                   b_last,
  output      logic                   m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0] m_data,
  output      logic                   m_last
);
  localparam int ProdAW = A_W + 1 + $clog2(MULT_A + 1);
  localparam int ProdBW = B_W + 1 + $clog2(MULT_B + 1);
  localparam int WideW = (ProdAW > ProdBW) ? ProdAW : ProdBW;
  localparam int RoundW = (WideW > SHIFT + MORE + 1) ? WideW : SHIFT + MORE + 1;
  // One bit for the addition, one for the rounding term, which may be wider than both products; the limits must fit too.
  localparam int SumW = ((RoundW > OUT_W) ? RoundW : OUT_W) + 2;
  localparam logic [OUT_W-1:0] Low = OUT_W'(1) << (OUT_W - 1);
  localparam logic [OUT_W-1:0] High = ~Low;

  logic [LANES*ProdAW-1:0] a_prod_q;
  logic [LANES*ProdBW-1:0] b_prod_q;
  logic [LANES*SumW-1:0] total, total_d;  // what is rounded, and the same as it is made
  logic valid_q, last_q, advance, made_valid, made_last;

  assign advance = m_ready || !m_valid;
  assign a_ready = advance && b_valid;
  assign b_ready = advance && a_valid;

  // What the turn says: multipliers at the inputs, half a stage later, the rest with the sum
  wire [5:0] more;
  wire signed [OUT_W-1:0] high, low;
  wire [ProdAW-1:0] mult_a;
  wire [ProdBW-1:0] mult_b;
  wire signed [SumW-1:0] half;

  if (ROUND_FILE == "") begin : g_alike
    assign {low, high, more} = {Low, High, 6'd0};
    assign half = SumW'((64'd1 << SHIFT) >> 1);
    assign mult_a = ProdAW'(MULT_A);
    assign mult_b = ProdBW'(MULT_B);
    assign {made_valid, made_last, total} = {valid_q, last_q, total_d};
    wire unused_bus = &{1'b0, bus, load};
  end else begin : g_by_turn
    wire [2*OUT_W+2*FACTOR_W+5:0] round;
    logic [2*OUT_W+5:0] round_q, summed_round_q;
    logic [SumW-1:0] half_q;
    logic [LANES*SumW-1:0] total_q;
    logic summed_q, summed_last_q;

    /* verilator lint_off PINCONNECTEMPTY */
    turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .WIDTH(2 * OUT_W + 2 * FACTOR_W + 6), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD)) u_turn (
      .clk, .rst, .bus, .load, .done(a_valid && a_ready && a_last), .now(), .base(), .word(round));
    /* verilator lint_on PINCONNECTEMPTY */
    always_ff @(posedge clk) begin
      if (advance) begin
        round_q <= round[2*FACTOR_W +: 2*OUT_W+6];
        half_q <= SumW'((64'd1 << SHIFT << round[2*FACTOR_W +: 6]) >> 1);
        summed_round_q <= round_q;
        total_q <= total_d;
        summed_q <= valid_q;
        summed_last_q <= last_q;
      end
      if (rst) summed_q <= 1'b0;
    end
    assign {low, high, more} = summed_round_q;
    assign {made_valid, made_last, total} = {summed_q, summed_last_q, total_q};
    assign half = half_q;
    assign mult_a = ProdAW'(round[0 +: FACTOR_W]);
    assign mult_b = ProdBW'(round[FACTOR_W +: FACTOR_W]);
  end

  for (genvar i = 0; i < LANES; i++) begin : lane
    logic [A_W-1:0] a;
    logic [B_W-1:0] b;
    logic signed [A_W:0] a_wide;
    logic signed [B_W:0] b_wide;
    logic signed [SumW-1:0] sum;

    assign a = a_data[i*A_W +: A_W];
    assign b = b_data[i*B_W +: B_W];
    assign a_wide = {A_SIGNED && a[A_W-1], a};
    assign b_wide = {B_SIGNED && b[B_W-1], b};
    assign total_d[i*SumW +: SumW] = SumW'($signed(a_prod_q[i*ProdAW +: ProdAW])) + SumW'($signed(b_prod_q[i*ProdBW +: ProdBW])) + half;
    assign sum = ($signed(total[i*SumW +: SumW]) >>> SHIFT) >>> more;

    always_ff @(posedge clk) begin
      if (advance) begin
        a_prod_q[i*ProdAW +: ProdAW] <= ProdAW'(a_wide) * mult_a;
        b_prod_q[i*ProdBW +: ProdBW] <= ProdBW'(b_wide) * mult_b;
        m_data[i*OUT_W +: OUT_W] <= (sum > SumW'(high)) ? high : (sum < SumW'(low)) ? low : sum[OUT_W-1:0];
      end
    end
  end

  always_ff @(posedge clk) begin
    if (advance) begin
      valid_q <= a_valid && b_valid;
      last_q <= a_last;
      m_valid <= made_valid;
      m_last <= made_last;
    end
    if (rst) begin
      valid_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end

  // b_last is known from a_last; the port is there because every stream has it.
  wire unused = b_last;
endmodule
