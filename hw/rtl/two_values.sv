// SPDX-License-Identifier: Apache-2.0
// two_values: sum = low * total + step * ones: a product with weights that take two values, low and low + step
// Golden : hw/ops/linear.py (exact modulo 2**OUT_W)
// Stream : a beat of i_* has the sums of the inputs at which LANES channels' weights are the larger value (`ones`), and the sum of all inputs (`total`).
//          `side` goes with the beat, so that a memory can be read for its sum
// Timing : nothing moves without `en`. o_valid, o_last and o_side come 5 cycles after i_*, `sum` one later; II 1
// Memory : codebook word a: {step, low} of a channel, of W bits each, step unsigned, low signed. EACH = 0: word t of turn t, for all channels;
//          EACH = 1: LANES of them, read at `at`
// Layout : lane i of ones at bit i*SUM_W, of sum at bit i*OUT_W
// Reset  : no beat
module two_values #(
  parameter int LANES = 1,           // channels of a beat
  parameter int SUM_W = 16,          // bits of ones and total, signed
  parameter int W = 8,               // bits of a value
  parameter int OUT_W = 24,          // bits of a sum
  parameter int SIDE_W = 1,
  parameter bit EACH = 1'b0,         // each channel has values of its own
  parameter int WORDS = 2,           // of the codebooks of all turns where each channel has its own
  parameter int TURNS = 1,
  parameter CODEBOOK_FILE = "",
  parameter int CODEBOOK_LOAD = 0,   // see rom
  localparam int AT_W = WORDS > 1 ? $clog2(WORDS) : 1,
  localparam int TURN_W = TURNS > 1 ? $clog2(TURNS) : 1
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [32:0]            load,
  input  wire logic                   en,
  input  wire logic [AT_W-1:0]        at,
  input  wire logic [TURN_W-1:0]      turn,
  input  wire logic                   i_valid,
  input  wire logic                   i_last,
  input  wire logic [SIDE_W-1:0]      i_side,
  input  wire logic [LANES*SUM_W-1:0] ones,
  input  wire logic [SUM_W-1:0]       total,
  output      logic                   o_valid,
  output      logic                   o_last,
  output      logic [SIDE_W-1:0]      o_side,
  output      logic [LANES*OUT_W-1:0] sum
);
  localparam int Latency = 5;  // codebook read, operands, and all but the last of mul's
  localparam int Pairs = EACH ? LANES : 1;

  wire [2*Pairs*W-1:0] read;
  logic [2*Pairs*W-1:0] values;
  logic [LANES*SUM_W-1:0] ones_q, ones_x;
  logic [SUM_W-1:0] total_q, total_x;
  logic [Latency-1:0] valid_q, last_q;
  logic [Latency*SIDE_W-1:0] side_q;

  if (EACH) begin : g_each
    wire unused = &{1'b0, turn};
    rom #(.WIDTH(2 * LANES * W), .DEPTH(WORDS), .FILE(CODEBOOK_FILE), .LOAD(CODEBOOK_LOAD)) u_codebook (.clk, .load, .en, .addr(at), .q(read));
  end else begin : g_all
    wire unused = &{1'b0, at};
    rom #(.WIDTH(2 * W), .DEPTH(TURNS), .FILE(CODEBOOK_FILE), .LOAD(CODEBOOK_LOAD)) u_codebook (.clk, .load, .en, .addr(turn), .q(read));
  end

  always_ff @(posedge clk) begin
    if (en) begin
      ones_q <= ones;
      total_q <= total;
      ones_x <= ones_q;
      total_x <= total_q;
      values <= read;
      valid_q <= Latency'({valid_q, i_valid});
      last_q <= Latency'({last_q, i_last});
      side_q <= (Latency*SIDE_W)'({side_q, i_side});
    end
    if (rst) valid_q <= '0;
  end

  // The smaller value's part, of all channels or of each
  wire [Pairs*OUT_W-1:0] base;
  for (genvar i = 0; i < Pairs; i++) begin : g_base
    mul #(.A_W(SUM_W), .B_W(W), .P_W(OUT_W)) u_low (.clk, .en, .a(total_x), .b(values[2*i*W +: W]), .p(base[i*OUT_W +: OUT_W]));
  end
  for (genvar i = 0; i < LANES; i++) begin : g_lane
    localparam int Own = EACH ? i : 0;
    wire [OUT_W-1:0] more;
    mul #(.A_W(SUM_W), .B_W(W + 1), .P_W(OUT_W)) u_step (
      .clk, .en, .a(ones_x[i*SUM_W +: SUM_W]), .b({1'b0, values[(2*Own+1)*W +: W]}), .p(more));
    assign sum[i*OUT_W +: OUT_W] = base[Own*OUT_W +: OUT_W] + more;
  end

  assign o_valid = valid_q[Latency-1];
  assign o_last = last_q[Latency-1];
  assign o_side = side_q[(Latency-1)*SIDE_W +: SIDE_W];
endmodule
