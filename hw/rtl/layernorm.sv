// SPDX-License-Identifier: Apache-2.0
// layernorm: S1 = sum x, S2 = sum x*x, V = H*S2 - S1*S1, s = isqrt(V + EPS), R = floor(2**RECIP_BITS / s),
//            d = H*x - S1, u = (d*R + half) >> (RECIP_BITS - FRAC_BITS), y = clip((u*gamma + beta + half) >> SHIFT); half of each shift
// Golden : hw/ops/layernorm.py (bit-exact; ties towards +inf)
// Stream : s_* -> m_*, token streams of LANES elements a beat
// Method : pass 1 stores a token and sums; root and quotient, one digit a cycle each, work on tokens of their own; pass 2
//          normalises. x has 4 banks; a bank is free again when its last read address has been issued. Only pass 2 waits for m_ready.
// Timing : a token takes max(WIDTH/LANES, RootW + 1, RecipW + 1) cycles (a little more where all three are about equal and the banks'
//          round trip of 2*WIDTH/LANES + RootW + RecipW + 17 counts); latency in hw/ops/layernorm.py: timing
// Layout : lane i = data[i*W +: W]; GAMMA_FILE, BETA_FILE word a holds those of channels a*LANES .., lane i at [i*W +: W], signed
// Turns  : TURNS > 1: GAMMA_FILE, BETA_FILE hold those of each turn one after the other, in a rolled encoder (turns.sv). ROUND_FILE word t: {eps, low,
//          high, less, more}, EPS_W, OUT_W, OUT_W, 6 and 6 bits: EPS and limits of turn t, by how much its RECIP_BITS are less and its SHIFT more
// Reset  : rst drops all tokens in flight
module layernorm #(
  parameter int H = 4,                       // channels of a token
  parameter int WIDTH = H,                   // elements of a token in the streams, LANES divides it; x, gamma and beta of those without channel: 0
  parameter int LANES = 1,                   // elements a beat
  parameter int IN_W = 10,                   // bits of x, signed
  parameter int OUT_W = 8,                   // bits of y, signed
  parameter logic [63:0] EPS = 1,            // >= 1
  parameter int RECIP_BITS = 22,
  parameter int FRAC_BITS = 10,              // of u
  parameter int SHIFT = 10,
  parameter int GAMMA_W = 12,                // bits of gamma, signed
  parameter int BETA_W = 12,                 // bits of beta, signed
  parameter GAMMA_FILE = "",                 // hex, WIDTH/LANES words
  parameter int GAMMA_LOAD = 0,              // see rom
  parameter BETA_FILE = "",                  // hex, WIDTH/LANES words
  parameter int BETA_LOAD = 0,               // see rom
  parameter logic [63:0] EPS_LEAST = EPS,    // of all turns; EPS is the largest
  parameter int TURNS = 1,                   // gamma and beta by turn
  parameter int BANKS = TURNS,               // see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int SENTENCES = 2,               // see turns
  parameter int MORE = 0,                    // largest `more` of ROUND_FILE
  parameter ROUND_FILE = "",                 // "": the same in each turn
  parameter int ROUND_LOAD = 0               // see rom
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [25:0]            bus,
  input  wire logic [32:0]            load,
  input  wire logic                   s_valid,
  output      logic                   s_ready,
  input  wire logic [LANES*IN_W-1:0]  s_data,
  input  wire logic                   s_last,
  output      logic                   m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0] m_data,
  output      logic                   m_last
);
  localparam int Beats = WIDTH / LANES;
  localparam int IndexW = (Beats > 1) ? $clog2(Beats) : 1;
  localparam int Sum1W = IN_W + $clog2(H);                  // signed
  localparam int Sum2W = 2 * IN_W - 1 + $clog2(H);          // unsigned
  // The variance of codes within a range of 2**IN_W - 1 is at most a quarter of its square.
  localparam logic [63:0] RangeH = 64'(H) * ((64'd1 << IN_W) - 64'd1);
  localparam int VarW = $clog2((RangeH * RangeH) / 64'd4 + EPS + 64'd1);
  localparam int RootW = (VarW + 1) / 2;
  localparam int RootMinLog2 = ($clog2(EPS_LEAST + 64'd1) - 1) / 2;   // of isqrt(EPS)
  localparam int EpsW = $clog2(EPS + 64'd1);
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int RecipW = RECIP_BITS - RootMinLog2 + 1;

  if (WIDTH % LANES != 0 || WIDTH < H) begin : check
    initial $fatal(1, "layernorm: LANES must divide WIDTH, which holds H");
  end

  // Tokens that each step has finished, modulo 8. Equal counts: nothing to do; the difference is how many banks are in use.
  logic [2:0] in_row_q, sum_row_q, var_row_q, root_row_q, recip_row_q, out_row_q;

  // Pass 1: store and sum
  (* no_rw_check *) logic [LANES*IN_W-1:0] x_mem [0:(4<<IndexW)-1];
  logic sentence_end [0:3];
  logic signed [Sum1W-1:0] sum1_mem [0:3];
  logic [VarW-1:0] var_mem [0:3];
  logic [IndexW-1:0] in_index_q;
  logic signed [Sum1W-1:0] sum1;
  logic [VarW-1:0] var_plus_eps;
  logic in_end_q;                              // the token's last beat
  logic take, in_end, sums_valid, var_valid;

  // What the turn says: EPS for the sums, 10 cycles behind a token's last beat; bits of R that do not count
  wire [EpsW-1:0] eps;
  wire [RecipW-1:0] counts;                    // of recip_mem's token in pass 2
  if (ROUND_FILE == "") begin : g_alike
    assign eps = EpsW'(EPS);
    assign counts = '1;
  end else begin : g_by_turn
    wire [TurnW-1:0] turn;
    logic [9*TurnW-1:0] turn_q;                // stages 1 to 9
    logic [TurnW-1:0] turn_mem [0:3];
    wire [EpsW+2*OUT_W+11:0] round, recip_round;

    /* verilator lint_off PINCONNECTEMPTY */
    turns #(.TURNS(TURNS), .SENTENCES(SENTENCES)) u_turn (.clk, .rst, .bus, .load(33'd0), .done(take && in_end && s_last), .now(turn), .base(), .word());
    /* verilator lint_on PINCONNECTEMPTY */
    rom #(.WIDTH(EpsW + 2 * OUT_W + 12), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD)) u_eps (
      .clk, .load, .en(1'b1), .addr(turn_q[8*TurnW +: TurnW]), .q(round));
    rom #(.WIDTH(EpsW + 2 * OUT_W + 12), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD), .NOW(1'b1)) u_recip_round (
      .clk, .load, .en(1'b1), .addr(turn_mem[out_row_q[1:0]]), .q(recip_round));
    always_ff @(posedge clk) begin
      turn_q <= (9*TurnW)'({turn_q, turn});
      if (take && in_end) turn_mem[in_row_q[1:0]] <= turn;
    end
    assign eps = round[2*OUT_W+12 +: EpsW];
    assign counts = {RecipW{1'b1}} << recip_round[6 +: 6];
    wire unused = &{1'b0, round, recip_round};
  end

  assign s_ready = 3'(in_row_q - out_row_q) != 3'd4;
  assign take = s_valid && s_ready;
  assign in_end = in_end_q;

  layernorm_sums #(.H(H), .LANES(LANES), .IN_W(IN_W), .SUM1_W(Sum1W), .SUM2_W(Sum2W), .VAR_W(VarW), .EPS_W(EpsW)) u_sums (
    .clk, .rst, .valid(take), .token_end(in_end), .x(s_data), .eps, .sums_valid, .sum1, .var_valid, .var_plus_eps);

  always_ff @(posedge clk) begin
    if (take) begin
      x_mem[{in_row_q[1:0], in_index_q}] <= s_data;
      in_index_q <= in_end ? '0 : in_index_q + IndexW'(1);
      in_end_q <= Beats == 1 || in_index_q == IndexW'(Beats - 2);
      if (in_end) begin
        sentence_end[in_row_q[1:0]] <= s_last;
        in_row_q <= in_row_q + 3'd1;
      end
    end
    if (sums_valid) begin
      sum1_mem[sum_row_q[1:0]] <= sum1;
      sum_row_q <= sum_row_q + 3'd1;
    end
    if (var_valid) begin
      var_mem[var_row_q[1:0]] <= var_plus_eps;
      var_row_q <= var_row_q + 3'd1;
    end
    if (rst) begin
      in_index_q <= '0;
      in_end_q <= Beats == 1;
      in_row_q <= '0;
      sum_row_q <= '0;
      var_row_q <= '0;
    end
  end

  // Root and reciprocal
  logic [RecipW-1:0] recip_mem [0:3];
  logic [RecipW-1:0] recip;
  logic [RootW-1:0] root;
  logic root_ready, root_valid, divide, recip_valid;

  isqrt #(.V_W(VarW)) u_isqrt (
    .clk, .rst, .s_valid(root_row_q != var_row_q), .s_ready(root_ready), .s_data(var_mem[root_row_q[1:0]]),
    .m_valid(root_valid), .m_ready(divide), .m_data(root));

  recip #(.K(RECIP_BITS), .S_W(RootW), .S_MIN_LOG2(RootMinLog2)) u_recip (
    .clk, .rst, .s_valid(root_valid), .s_ready(divide), .s_data(root), .m_valid(recip_valid), .m_ready(1'b1), .m_data(recip));

  always_ff @(posedge clk) begin
    if (root_row_q != var_row_q && root_ready) root_row_q <= root_row_q + 3'd1;
    if (recip_valid) begin
      recip_mem[recip_row_q[1:0]] <= recip;
      recip_row_q <= recip_row_q + 3'd1;
    end
    if (rst) begin
      root_row_q <= '0;
      recip_row_q <= '0;
    end
  end

  // Pass 2
  logic [IndexW-1:0] out_index_q;
  logic [LANES*IN_W-1:0] x_q;
  logic signed [Sum1W-1:0] sum1_q;
  logic [RecipW-1:0] recip_q;
  logic read_end_q;                            // the token's last beat
  logic valid_q, last_q, read, read_end, advance;

  assign advance = m_ready || !m_valid;
  assign read = out_row_q != recip_row_q;
  assign read_end = read_end_q;

  always_ff @(posedge clk) begin
    if (advance) begin
      x_q <= x_mem[{out_row_q[1:0], out_index_q}];
      sum1_q <= sum1_mem[out_row_q[1:0]];
      recip_q <= recip_mem[out_row_q[1:0]] & counts;
      valid_q <= read;
      last_q <= read_end && sentence_end[out_row_q[1:0]];
      if (read) begin
        out_index_q <= read_end ? '0 : out_index_q + IndexW'(1);
        read_end_q <= Beats == 1 || out_index_q == IndexW'(Beats - 2);
        if (read_end) out_row_q <= out_row_q + 3'd1;
      end
    end
    if (rst) begin
      out_index_q <= '0;
      read_end_q <= Beats == 1;
      out_row_q <= '0;
      valid_q <= 1'b0;
    end
  end

  layernorm_scale #(
    .H(H), .WIDTH(WIDTH), .LANES(LANES), .IN_W(IN_W), .OUT_W(OUT_W), .SUM1_W(Sum1W), .RECIP_W(RecipW), .U_SHIFT(RECIP_BITS - FRAC_BITS), .FRAC_BITS(FRAC_BITS),
    .SHIFT(SHIFT), .GAMMA_W(GAMMA_W), .BETA_W(BETA_W), .GAMMA_FILE(GAMMA_FILE), .GAMMA_LOAD(GAMMA_LOAD),
    .BETA_FILE(BETA_FILE), .BETA_LOAD(BETA_LOAD),
    .TURNS(TURNS), .BANKS(BANKS), .BANK_OF(BANK_OF), .SENTENCES(SENTENCES), .MORE(MORE), .ROUND_W(EpsW + 2 * OUT_W + 12), .ROUND_FILE(ROUND_FILE),
    .ROUND_LOAD(ROUND_LOAD)
  ) u_scale (
    .clk, .rst, .bus, .load, .advance, .valid(valid_q), .last(last_q), .x(x_q), .sum1(sum1_q), .recip(recip_q), .m_valid, .m_data, .m_last);
endmodule
