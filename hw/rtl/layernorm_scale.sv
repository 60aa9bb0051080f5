// SPDX-License-Identifier: Apache-2.0
// layernorm_scale: d = H*x - S1, u = (d*R + half) >> U_SHIFT, y = clip((u*gamma + beta + half) >> SHIFT); part of layernorm
// Stream : a beat of LANES elements moves through 12 stages when `advance` is high; sum1 and recip are its token's
// Timing : latency 12, II 1
// Layout : as layernorm; the channel counter restarts every WIDTH/LANES beats
// Reset  : rst drops what is in flight
module layernorm_scale #(
  parameter int H = 4,                 // channels of a token
  parameter int WIDTH = H,             // elements of a token
  parameter int LANES = 1,             // elements a beat
  parameter int IN_W = 10,             // bits of x, signed
  parameter int OUT_W = 8,             // bits of y, signed
  parameter int SUM1_W = 12,           // bits of S1, signed
  parameter int RECIP_W = 23,          // bits of R, unsigned
  parameter int U_SHIFT = 12,          // RECIP_BITS - FRAC_BITS, >= 1
  parameter int FRAC_BITS = 10,        // of u
  parameter int SHIFT = 10,            // >= 0
  parameter int GAMMA_W = 12,          // signed
  parameter int BETA_W = 12,           // signed
  parameter GAMMA_FILE = "",           // hex, WIDTH/LANES words
  parameter int GAMMA_LOAD = 0,        // see rom
  parameter BETA_FILE = "",            // hex, WIDTH/LANES words
  parameter int BETA_LOAD = 0,         // see rom
  parameter int TURNS = 1,
  parameter int BANKS = TURNS,          // of gamma and beta: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int SENTENCES = 2,         // see turns
  parameter int MORE = 0,              // largest `more` of ROUND_FILE
  parameter int ROUND_W = 1,           // bits of its words, see layernorm
  parameter ROUND_FILE = "",           // "": the same in each turn
  parameter int ROUND_LOAD = 0         // see rom
) (
  input  wire logic                     clk,
  input  wire logic                     rst,
  input  wire logic [25:0]              bus,
  input  wire logic [32:0]              load,
  input  wire logic                     advance,
  input  wire logic                     valid,
  input  wire logic                     last,
  input  wire logic [LANES*IN_W-1:0]    x,
  input  wire logic signed [SUM1_W-1:0] sum1,
  input  wire logic [RECIP_W-1:0]       recip,
  output      logic                     m_valid,
  output      logic [LANES*OUT_W-1:0]   m_data,
  output      logic                     m_last
);
  localparam int Beats = WIDTH / LANES;
  localparam int IndexW = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int DiffW = IN_W + $clog2(H) + 1;
  localparam int ProdW = DiffW + RECIP_W + 1;
  // |d| <= sqrt(H-1) sqrt(V) and s >= sqrt(V + EPS) - 1, so |u| < 2 sqrt(H) 2**FRAC_BITS.
  localparam int NormW = FRAC_BITS + 2 + ($clog2(H) + 1) / 2;
  localparam int ScaledW = NormW + GAMMA_W;
  localparam int WideW = (ScaledW > BETA_W) ? ScaledW : BETA_W;
  localparam int SumW = ((WideW > SHIFT + MORE + 1) ? WideW : SHIFT + MORE + 1) + 2;
  localparam logic signed [ProdW-1:0] HalfU = ProdW'((64'd1 << U_SHIFT) >> 1);
  localparam logic [OUT_W-1:0] Low = OUT_W'(1) << (OUT_W - 1);
  localparam logic [OUT_W-1:0] High = ~Low;
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int IndexBaseW = BANKS * Beats > 1 ? $clog2(BANKS * Beats) : 1;

  logic [11:0] valid_q, last_q;                       // bit i: stage i + 1
  logic [2*SUM1_W-1:0] sum1_q;                        // stages 1, 2
  logic [3*RECIP_W-1:0] recip_q;                      // stages 1 .. 3
  logic [LANES*GAMMA_W-1:0] gamma7_q, gamma8_q;       // stages 7, 8
  logic [LANES*BETA_W-1:0] beta7_q;                   // stage 7
  logic [IndexW-1:0] index_q;                         // channel / LANES of stage 6
  wire [TurnW-1:0] turn6;
  wire [IndexBaseW-1:0] base6;
  wire [5:0] more7, more11;
  wire signed [OUT_W-1:0] high11, low11;
  wire signed [SumW-1:0] half7 = SumW'((64'd1 << SHIFT << more7) >> 1);

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .STRIDE(Beats), .BANKS(BANKS), .BANK_OF(BANK_OF)) u_turn (
    .clk, .rst, .bus, .load(33'd0), .done(advance && valid_q[5] && last_q[5]), .now(turn6), .base(base6), .word());
  /* verilator lint_on PINCONNECTEMPTY */

  if (ROUND_FILE == "") begin : g_alike
    assign {low11, high11, more7, more11} = {Low, High, 12'd0};
    wire unused = &{1'b0, turn6};
  end else begin : g_by_turn
    logic [4*TurnW-1:0] turn_q;                       // stages 7 to 10
    wire [ROUND_W-1:0] round7, round11;

    rom #(.WIDTH(ROUND_W), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD)) u_half (.clk, .load, .en(advance), .addr(turn6), .q(round7));
    rom #(.WIDTH(ROUND_W), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD)) u_round (
      .clk, .load, .en(advance), .addr(turn_q[3*TurnW +: TurnW]), .q(round11));
    always_ff @(posedge clk) if (advance) turn_q <= (4*TurnW)'({turn_q, turn6});
    assign more7 = round7[5:0];
    assign {low11, high11} = round11[12 +: 2*OUT_W];
    assign more11 = round11[5:0];
    wire unused = &{1'b0, round7, round11};
  end

  rom #(.WIDTH(LANES * GAMMA_W), .DEPTH(BANKS * Beats), .FILE(GAMMA_FILE), .LOAD(GAMMA_LOAD)) u_gamma (
    .clk, .load, .en(advance), .addr(base6 + IndexBaseW'(index_q)), .q(gamma7_q));
  rom #(.WIDTH(LANES * BETA_W), .DEPTH(BANKS * Beats), .FILE(BETA_FILE), .LOAD(BETA_LOAD)) u_beta (
    .clk, .load, .en(advance), .addr(base6 + IndexBaseW'(index_q)), .q(beta7_q));

  assign m_valid = valid_q[11];
  assign m_last = last_q[11];

  always_ff @(posedge clk) begin
    if (advance) begin
      valid_q <= {valid_q[10:0], valid};
      last_q <= {last_q[10:0], last};
      sum1_q <= {sum1_q[SUM1_W-1:0], sum1};
      recip_q <= {recip_q[2*RECIP_W-1:0], recip};
      gamma8_q <= gamma7_q;
      if (valid_q[5]) index_q <= (index_q == IndexW'(Beats - 1)) ? '0 : index_q + IndexW'(1);
    end
    if (rst) begin
      valid_q <= '0;
      index_q <= '0;
    end
  end

  for (genvar i = 0; i < LANES; i++) begin : lane
    logic signed [IN_W-1:0] x1_q;
    logic signed [DiffW-1:0] hx2_q, diff3_q;
    logic signed [ProdW-1:0] product7;
    logic signed [NormW-1:0] norm8_q;
    logic signed [ScaledW-1:0] scaled10_q;
    wire [ScaledW-1:0] scaled9;
    logic signed [SumW-1:0] beta8_q, beta9_q, beta10_q, sum11_q, shifted11;

    // Stages 4 to 7
    mul #(.A_W(DiffW), .B_W(RECIP_W + 1)) u_mul (
      .clk, .en(advance), .a(diff3_q), .b({1'b0, recip_q[2*RECIP_W +: RECIP_W]}), .p(product7));

    product_reg #(.W(ScaledW)) u_scaled (
      .clk, .en(advance), .d(ScaledW'(norm8_q) * ScaledW'($signed(gamma8_q[i*GAMMA_W +: GAMMA_W]))), .q(scaled9));

    assign shifted11 = (sum11_q >>> SHIFT) >>> more11;

    always_ff @(posedge clk) begin
      if (advance) begin
        x1_q <= x[i*IN_W +: IN_W];
        hx2_q <= DiffW'(x1_q) * DiffW'(H);
        diff3_q <= hx2_q - DiffW'($signed(sum1_q[SUM1_W +: SUM1_W]));
        norm8_q <= NormW'((product7 + HalfU) >>> U_SHIFT);
        beta8_q <= SumW'($signed(beta7_q[i*BETA_W +: BETA_W])) + half7;
        scaled10_q <= scaled9;
        beta9_q <= beta8_q;
        beta10_q <= beta9_q;
        sum11_q <= SumW'(scaled10_q) + beta10_q;
        m_data[i*OUT_W +: OUT_W] <= (shifted11 > SumW'(high11)) ? high11 : (shifted11 < SumW'(low11)) ? low11 : shifted11[OUT_W-1:0];
      end
    end
  end
endmodule
