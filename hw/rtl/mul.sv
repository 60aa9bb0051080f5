// SPDX-License-Identifier: Apache-2.0
// mul: p = a * b, the low P_W bits, signed, of any widths, from partial products that fit an 18x18 multiplier
// Timing : latency 4 enabled cycles (partial products twice: beside the multipliers and beside the adders, sums over a's parts, sum over b's
//          parts), II 1
// Layout : an operand of more than 18 bits is cut into unsigned parts of 17 bits, lowest first, and a signed rest of at most 18
// Reset  : none; the caller carries `valid`
module mul #(
  parameter int A_W = 18,                 // bits of a
  parameter int B_W = 18,                 // bits of b
  parameter int P_W = A_W + B_W           // bits of p
) (
  input  wire logic                  clk,
  input  wire logic                  en,  // all stages move
  input  wire logic signed [A_W-1:0] a,
  input  wire logic signed [B_W-1:0] b,
  output      logic signed [P_W-1:0] p
);
  localparam int PartsA = (A_W <= 18) ? 1 : 1 + (A_W - 2) / 17;
  localparam int PartsB = (B_W <= 18) ? 1 : 1 + (B_W - 2) / 17;
  localparam int FullA = 17 * PartsA + 1;
  localparam int FullB = 17 * PartsB + 1;

  logic signed [FullA-1:0] a_full;
  logic signed [FullB-1:0] b_full;
  logic [PartsA*PartsB*36-1:0] part_d, part_q;  // [ib][ia]
  logic [PartsB*P_W-1:0] row_q, row_d;   // [ib], not yet shifted by 17*ib
  logic [P_W-1:0] sum_d;

  assign a_full = FullA'(a);
  assign b_full = FullB'(b);

  for (genvar ib = 0; ib < PartsB; ib++) begin : part_b
    logic signed [17:0] b_part;
    assign b_part = {(ib == PartsB - 1) && b_full[17*ib+17], b_full[17*ib +: 17]};
    for (genvar ia = 0; ia < PartsA; ia++) begin : part_a
      logic signed [17:0] a_part;
      assign a_part = {(ia == PartsA - 1) && a_full[17*ia+17], a_full[17*ia +: 17]};
      product_reg #(.W(36)) u_product (.clk, .en, .d(36'(a_part) * 36'(b_part)), .q(part_d[(ib*PartsA+ia)*36 +: 36]));
    end
  end

  always_comb begin
    row_d = '0;
    for (int ib = 0; ib < PartsB; ib++)
      for (int ia = 0; ia < PartsA; ia++)
        row_d[ib*P_W +: P_W] = row_d[ib*P_W +: P_W] + (P_W'($signed(part_q[(ib*PartsA+ia)*36 +: 36])) << (17 * ia));
    sum_d = '0;
    for (int ib = 0; ib < PartsB; ib++) sum_d = sum_d + (row_q[ib*P_W +: P_W] << (17 * ib));
  end

  always_ff @(posedge clk) begin
    if (en) begin
      part_q <= part_d;
      row_q <= row_d;
      p <= sum_d;
    end
  end
endmodule
