// SPDX-License-Identifier: Apache-2.0
// layernorm_sums: S1 = sum x, S2 = sum x*x, V = H*S2 - S1*S1 and V + EPS of each token; part of layernorm
// Stream : a beat of LANES elements in each cycle with `valid`; token_end on a token's last one. Nothing waits.
// Timing : sums_valid 5, var_valid 11 cycles after a token's last beat, II 1
// Layout : lane i = x[i*IN_W +: IN_W], signed
// Reset  : rst drops what is in flight
module layernorm_sums #(
  parameter int H = 4,                 // elements of a token
  parameter int LANES = 1,             // elements a beat
  parameter int IN_W = 10,             // bits of x
  parameter int SUM1_W = 12,           // bits of S1, signed
  parameter int SUM2_W = 21,           // bits of S2, unsigned
  parameter int VAR_W = 23,            // bits of V + EPS, unsigned
  parameter int EPS_W = 1              // bits of EPS
) (
  input  wire logic                     clk,
  input  wire logic                     rst,
  input  wire logic                     valid,
  input  wire logic                     token_end,
  input  wire logic [LANES*IN_W-1:0]    x,
  input  wire logic [EPS_W-1:0]         eps,          // of the token whose last beat came 10 cycles ago
  output      logic                     sums_valid,
  output      logic signed [SUM1_W-1:0] sum1,
  output      logic                     var_valid,
  output      logic [VAR_W-1:0]         var_plus_eps
);
  localparam int SizeW = $clog2(H + 1) + 1;      // H as a signed number
  localparam int SquareW = 2 * IN_W;

  logic [LANES*IN_W-1:0] x1_q, x2_q, x3_q;       // stages 1 to 3
  logic [LANES*SquareW-1:0] square2_q, square3_q;  // beside the multipliers, beside the adders
  logic signed [SUM1_W-1:0] lanes1_q, lanes1_d;  // stage 4
  logic [SUM2_W-1:0] lanes2_q, lanes2_d, sum2_q;
  logic signed [SUM1_W-1:0] sum1_q;              // stage 5
  logic [3:0] valid_q;                           // bit i: stage i + 1
  logic [10:0] end_q;
  logic fresh_q;                                 // the next sum begins a token

  for (genvar i = 0; i < LANES; i++) begin : lane
    always_ff @(posedge clk) square2_q[i*SquareW +: SquareW] <= $signed(x1_q[i*IN_W +: IN_W]) * $signed(x1_q[i*IN_W +: IN_W]);
  end

  always_comb begin
    lanes1_d = '0;
    lanes2_d = '0;
    for (int i = 0; i < LANES; i++) begin
      lanes1_d = lanes1_d + SUM1_W'($signed(x3_q[i*IN_W +: IN_W]));
      lanes2_d = lanes2_d + SUM2_W'(square3_q[i*SquareW +: SquareW]);
    end
  end

  always_ff @(posedge clk) begin
    x1_q <= x;
    x2_q <= x1_q;
    x3_q <= x2_q;
    square3_q <= square2_q;
    lanes1_q <= lanes1_d;
    lanes2_q <= lanes2_d;
    valid_q <= {valid_q[2:0], valid};
    end_q <= {end_q[9:0], valid && token_end};
    if (valid_q[3]) begin
      sum1_q <= (fresh_q ? '0 : sum1_q) + lanes1_q;
      sum2_q <= (fresh_q ? '0 : sum2_q) + lanes2_q;
      fresh_q <= end_q[3];
    end
    if (rst) begin
      valid_q <= '0;
      end_q <= '0;
      fresh_q <= 1'b1;
    end
  end

  assign sums_valid = end_q[4];
  assign sum1 = sum1_q;

  // Stages 6 to 9: products; 10: V; 11: V + EPS
  // Both terms may be wider than V; their difference is not, so the low bits of each are enough.
  logic [VAR_W-1:0] square_of_sum, scaled_sum2, var_q;

  mul #(.A_W(SUM1_W), .B_W(SUM1_W), .P_W(VAR_W)) u_square (.clk, .en(1'b1), .a(sum1_q), .b(sum1_q), .p(square_of_sum));
  mul #(.A_W(SUM2_W + 1), .B_W(SizeW), .P_W(VAR_W)) u_scale (.clk, .en(1'b1), .a({1'b0, sum2_q}), .b(SizeW'(H)), .p(scaled_sum2));

  always_ff @(posedge clk) begin
    var_q <= scaled_sum2 - square_of_sum;
    var_plus_eps <= var_q + VAR_W'(eps);
  end
  assign var_valid = end_q[10];
endmodule
