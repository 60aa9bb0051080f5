// SPDX-License-Identifier: Apache-2.0
// mac_array: acc[p] = sum over steps, sum_i x[i] * w[p][i]; PE sums side by side that share x
// Golden : the matrix products of hw/ops/linear.py, scores.py and context.py (exact modulo 2**OUT_W)
// Control: one step per cycle of `en`; `first` marks the first step of a sum, `final_step` its last, `i_last` is carried along.
//          Nothing moves without `en`. Steps outside a sum (between `final_step` and `first`) are ignored.
// Timing : the sum of a final step in cycle t is at o_* in cycle t + Latency, for one cycle; II 1.
//          Latency = 5 + Stages: operands twice (as the memory's output register and beside the multiplier, each of which has its own), products twice
//          (beside the multiplier and beside the adders, which may be far from it), Stages = ceil(log4(SIMD)) registers of the adder tree,
//          accumulators
// Layout : x element i = x[i*X_W +: X_W] for all rows, OWN: for row p, element i = x[(p*SIMD+i)*X_W +: X_W]; w row p, element i = w[(p*SIMD+i)*W_W +: W_W]; sum p = acc[p*OUT_W +: OUT_W]
//          w is signed; W_W = 1 is binary, 0 means -1 and 1 means +1
// Style  : hw/cost/multipliers.py chooses. "one": a multiplier for each product; "lut": shifted additions, no multiplier;
//          "and": w is 0 or 1, of one bit; "two", "three", "four": so many rows R share a multiplier, x * sum_r w[R*j+r] * 2**(r*PartW), where PartW
//          is the width of a product, JoinedW by XqW bits
// Reset  : no sum in flight
module mac_array #(
  parameter int PE = 1,            // sums side by side
  parameter int SIMD = 1,          // products per sum and step
  parameter int X_W = 8,           // bits of x
  parameter bit X_SIGNED = 1'b1,
  parameter int W_W = 8,           // bits of w
  parameter int OUT_W = 24,        // bits of a sum
  parameter MUL_STYLE = "one",     // one, two, three, four, lut or and; the timing is the same, and the sums but with and
  parameter bit W_NARROW = 1'b0,   // no w is -2**(W_W-1), so that a product of a signed x has a bit less; used where rows share a multiplier
  parameter bit W_HELD = 1'b0,     // w has passed the first of its two registers (decode.sv)
  parameter bit OWN = 1'b0,        // each row has an x of its own (pick.sv); not where rows share a multiplier
  localparam int INPUTS = OWN ? PE * SIMD : SIMD
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic                   en,
  input  wire logic                   first,
  input  wire logic                   final_step,
  input  wire logic                   i_last,
  input  wire logic [INPUTS*X_W-1:0]  x,
  input  wire logic [PE*SIMD*W_W-1:0] w,
  output      logic                        o_valid,
  output      logic                        o_last,
  output      logic [PE*OUT_W-1:0]         acc
);
  localparam int Stages = ($clog2(SIMD) + 1) / 2;
  localparam int Latency = 5 + Stages;
  // The tree adds four at a time. Node n has children 4n+1 .. 4n+4; the products are its leaves, padded by zeros.
  localparam int Leaves = 1 << (2 * Stages);
  localparam int Inner = (Leaves - 1) / 3;
  localparam int Nodes = Inner + Leaves;
  localparam int XqW = X_W + (X_SIGNED ? 0 : 1);  // of an operand
  localparam int FieldW = X_W + W_W;  // of a product
  /* verilator lint_off WIDTHEXPAND */  // the names of styles differ in length
  localparam bit Added = MUL_STYLE == "lut" || W_W == 1;  // products are sums
  localparam bit Gated = MUL_STYLE == "and";
  localparam int Rows = MUL_STYLE == "four" ? 4 : MUL_STYLE == "three" ? 3 : MUL_STYLE == "two" ? 2 : 1;  // that share a multiplier
  /* verilator lint_on WIDTHEXPAND */
  localparam int FullW = FieldW + $clog2(SIMD);
  localparam int NodeW = FullW < OUT_W ? FullW : OUT_W;

  // mem2reg: synthesis makes registers of these arrays, not memories; keep: else it merges what other multipliers have of the same input
  logic [INPUTS*X_W-1:0] x_read_q;
  logic [PE*SIMD*W_W-1:0] w_read;
  wire [PE*SIMD*FieldW-1:0] product_q;
  (* mem2reg *) logic signed [NodeW-1:0] node_q [0:PE*Nodes-1];
  (* mem2reg *) logic signed [OUT_W-1:0] acc_q [0:PE-1];
  // A node is worth node_q + carry_q. Each adder of the tree takes one of the carries, the last is left for the accumulator's.
  wire [PE*SIMD-1:0] product_carry_q;
  logic [PE*Nodes-1:0] carry_q;
  logic [Latency-1:0] final_q, last_q;
  logic [Latency-2:0] first_q;

  always_ff @(posedge clk) if (en) x_read_q <= x;

  if (W_HELD) begin : g_held
    assign w_read = w;
  end else begin : g_read
    logic [PE*SIMD*W_W-1:0] w_read_q;
    always_ff @(posedge clk) if (en) w_read_q <= w;
    assign w_read = w_read_q;
  end

  // a * b as shifted additions: a tree of which node i has children 2i and 2i+1, its leaves the bits of b, so that two carry chains follow each other
  // where b has four bits
  function automatic logic signed [FieldW-1:0] by_bits(input logic signed [FieldW-1:0] a, input logic signed [W_W-1:0] b);
    logic [2*W_W*FieldW-1:FieldW] part;
    for (int i = 0; i < W_W; i++) part[(W_W+i)*FieldW +: FieldW] = b[i] ? a <<< i : '0;
    for (int i = W_W - 1; i > 0; i--)
      if (i == W_W - 1) part[i*FieldW +: FieldW] = part[2*i*FieldW +: FieldW] - part[(2*i+1)*FieldW +: FieldW];  // the sign bit
      else part[i*FieldW +: FieldW] = part[2*i*FieldW +: FieldW] + part[(2*i+1)*FieldW +: FieldW];
    by_bits = part[FieldW +: FieldW];
  endfunction

  if (Rows > 1) begin : g_shared
    localparam int Groups = (PE + Rows - 1) / Rows;
    localparam int PartW = FieldW - (X_SIGNED && W_NARROW ? 1 : 0);
    localparam int JoinedW = (Rows - 1) * PartW + W_W + (W_NARROW ? 0 : 1);
    wire [Rows*Groups*SIMD*W_W-1:0] w_all = (Rows*Groups*SIMD*W_W)'(w_read);  // rows that the last group lacks are zero

    // Each part is one less where what lies below it is negative.
    function automatic logic signed [JoinedW-1:0] joined(input logic [Rows*W_W-1:0] rows);
      logic [Rows*PartW-1:0] all;
      logic below;
      below = 1'b0;
      for (int r = 0; r < Rows; r++) begin
        all[r*PartW +: PartW] = PartW'($signed(rows[r*W_W +: W_W])) - PartW'(below);
        below = all[r*PartW + PartW - 1];
      end
      joined = JoinedW'(all);
    endfunction

    for (genvar k = 0; k < Groups * SIMD; k++) begin : g_group
      localparam int First = Rows * (k / SIMD) * SIMD + k % SIMD;  // product of the group's first row, those of the next ones are SIMD further each
      wire [Rows*W_W-1:0] rows;
      logic signed [JoinedW-1:0] joined_q;
      (* keep *) logic signed [XqW-1:0] x_q;
      for (genvar r = 0; r < Rows; r++) begin : g_row
        assign rows[r*W_W +: W_W] = w_all[(First + r*SIMD)*W_W +: W_W];
      end
      always_ff @(posedge clk) begin
        if (en) begin
          joined_q <= joined(rows);
          x_q <= XqW'(x_read_q[k%SIMD*X_W +: X_W]);
        end
      end
      wire signed [Rows*PartW-1:0] made = (Rows*PartW)'(x_q) * (Rows*PartW)'(joined_q);
      wire [Rows*PartW-1:0] made_q;
      product_reg #(.W(Rows * PartW)) u_made (.clk, .en, .d(made), .q(made_q));
      // A part of the product, too, is one too small where what lies below it is negative.
      for (genvar r = 0; r < Rows; r++) begin : g_part
        if (First + r * SIMD < PE * SIMD) begin : g_there
          assign product_q[(First+r*SIMD)*FieldW +: FieldW] = FieldW'($signed(made_q[r*PartW +: PartW]));
          assign product_carry_q[First+r*SIMD] = r > 0 && made_q[r > 0 ? r*PartW-1 : 0];
        end
      end
    end
  end else begin : g_one
    for (genvar k = 0; k < PE * SIMD; k++) begin : g_product
      (* keep = !Added *) logic signed [XqW-1:0] x_q;
      logic signed [W_W-1:0] w_q;
      wire signed [FieldW-1:0] a = FieldW'(x_q);

      always_ff @(posedge clk) begin
        if (en) begin
          x_q <= XqW'(x_read_q[k%INPUTS*X_W +: X_W]);
          w_q <= w_read[k*W_W +: W_W];
        end
      end
      if (Added) begin : g_lut
        logic [FieldW-1:0] made_q;
        always_ff @(posedge clk) if (en) made_q <= Gated ? (w_q[0] ? a : '0) : W_W == 1 ? (w_q[0] ? a : -a) : by_bits(a, w_q);
        assign product_q[k*FieldW +: FieldW] = made_q;
      end else begin : g_multiplier
        product_reg #(.W(FieldW)) u_product (.clk, .en, .d(a * FieldW'(w_q)), .q(product_q[k*FieldW +: FieldW]));
      end
    end
    assign product_carry_q = '0;
  end

  // a + b + c as one carry chain
  function automatic logic signed [NodeW-1:0] sum(input logic [NodeW-1:0] a, input logic [NodeW-1:0] b, input logic c);
    sum = NodeW'(({a, 1'b1} + {b, c}) >> 1);
  endfunction

  always_ff @(posedge clk) begin
    if (en) begin
      for (int p = 0; p < PE; p++) begin
        for (int i = 0; i < Leaves; i++) begin
          node_q[p*Nodes+Inner+i] <= i < SIMD ? NodeW'($signed(product_q[(p*SIMD+i%SIMD)*FieldW +: FieldW])) : '0;
          carry_q[p*Nodes+Inner+i] <= i < SIMD && product_carry_q[p*SIMD+i%SIMD];
        end
        for (int n = 0; n < Inner; n++) begin
          node_q[p*Nodes+n] <= sum(sum(node_q[p*Nodes+4*n+1], node_q[p*Nodes+4*n+2], carry_q[p*Nodes+4*n+1]),
                                   sum(node_q[p*Nodes+4*n+3], node_q[p*Nodes+4*n+4], carry_q[p*Nodes+4*n+3]), carry_q[p*Nodes+4*n+2]);
          carry_q[p*Nodes+n] <= carry_q[p*Nodes+4*n+4];
        end
        acc_q[p] <= OUT_W'(({first_q[Latency-2] ? '0 : acc_q[p], 1'b1} + {OUT_W'(node_q[p*Nodes]), carry_q[p*Nodes]}) >> 1);
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
