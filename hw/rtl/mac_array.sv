// SPDX-License-Identifier: Apache-2.0
// mac_array: acc[p] = sum over steps, sum_i x[i] * w[p][i]; PE sums side by side that share x
// Golden : the matrix products of hw/ops/linear.py, scores.py and context.py (exact modulo 2**OUT_W)
// Control: one step per cycle of `en`; `first` marks the first step of a sum, `final_step` its last, `i_last` is carried along.
//          Nothing moves without `en`. Steps outside a sum (between `final_step` and `first`) are ignored.
// Timing : the sum of a final step in cycle t is at o_* in cycle t + Latency, for one cycle; II 1.
//          Latency = 3 + Stages: operands, products, Stages = ceil(log4(SIMD)) registers of the adder tree, accumulators
// Layout : x element i = x[i*X_W +: X_W]; w row p, element i = w[(p*SIMD+i)*W_W +: W_W]; sum p = acc[p*OUT_W +: OUT_W]
//          w is signed; W_W = 1 is binary, 0 means -1 and 1 means +1
// Reset  : no sum in flight
module mac_array #(
  parameter int PE = 1,            // sums side by side
  parameter int SIMD = 1,          // products per sum and step
  parameter int X_W = 8,           // bits of x
  parameter bit X_SIGNED = 1'b1,
  parameter int W_W = 8,           // bits of w
  parameter int OUT_W = 24         // bits of a sum
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic                   en,
  input  wire logic                   first,
  input  wire logic                   final_step,
  input  wire logic                   i_last,
  input  wire logic [SIMD*X_W-1:0]    x,
  input  wire logic [PE*SIMD*W_W-1:0] w,
  output      logic                        o_valid,
  output      logic                        o_last,
  output      logic [PE*OUT_W-1:0]         acc
);
  localparam int Stages = ($clog2(SIMD) + 1) / 2;
  localparam int Latency = 3 + Stages;
  // The tree adds four at a time. Node n has children 4n+1 .. 4n+4; the products are its leaves, padded by zeros.
  localparam int Leaves = 1 << (2 * Stages);
  localparam int Inner = (Leaves - 1) / 3;
  localparam int Nodes = Inner + Leaves;
  localparam int ProdW = X_W + W_W;
  localparam int FullW = ProdW + $clog2(SIMD);
  localparam int NodeW = FullW < OUT_W ? FullW : OUT_W;

  // mem2reg: synthesis makes registers of these arrays, not memories
  (* mem2reg *) logic signed [X_W:0] x_q [0:SIMD-1];
  (* mem2reg *) logic signed [W_W-1:0] w_q [0:PE*SIMD-1];
  (* mem2reg *) logic signed [NodeW-1:0] node_q [0:PE*Nodes-1];
  (* mem2reg *) logic signed [OUT_W-1:0] acc_q [0:PE-1];
  logic [Latency-1:0] final_q, last_q;
  logic [Latency-2:0] first_q;

  function automatic logic signed [ProdW-1:0] product(input logic signed [X_W:0] a, input logic signed [W_W-1:0] b);
    if (W_W == 1) product = b[0] ? ProdW'(a) : -ProdW'(a);
    else product = ProdW'(a) * ProdW'(b);
  endfunction

  always_ff @(posedge clk) begin
    if (en) begin
      for (int i = 0; i < SIMD; i++) x_q[i] <= {X_SIGNED && x[i*X_W+X_W-1], x[i*X_W +: X_W]};
      for (int i = 0; i < PE * SIMD; i++) w_q[i] <= w[i*W_W +: W_W];
    end
  end

  always_ff @(posedge clk) begin
    if (en) begin
      for (int p = 0; p < PE; p++) begin
        for (int i = 0; i < Leaves; i++) begin
          if (i < SIMD) node_q[p*Nodes+Inner+i] <= NodeW'(product(x_q[i], w_q[p*SIMD+i]));
          else node_q[p*Nodes+Inner+i] <= '0;
        end
        for (int n = 0; n < Inner; n++)
          node_q[p*Nodes+n] <= (node_q[p*Nodes+4*n+1] + node_q[p*Nodes+4*n+2])
                             + (node_q[p*Nodes+4*n+3] + node_q[p*Nodes+4*n+4]);
        acc_q[p] <= (first_q[Latency-2] ? '0 : acc_q[p]) + OUT_W'(node_q[p*Nodes]);
      end
    end
  end

  always_ff @(posedge clk) begin
    if (en) begin
      first_q <= (Latency-1)'({first_q, first});
      final_q <= Latency'({final_q, final_step});
      last_q <= Latency'({last_q, i_last});
    end
    if (rst) final_q <= '0;
  end

  assign o_valid = final_q[Latency-1];
  assign o_last = last_q[Latency-1];
  for (genvar p = 0; p < PE; p++) begin : g_sum
    assign acc[p*OUT_W +: OUT_W] = acc_q[p];
  end
endmodule
