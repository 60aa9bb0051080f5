// SPDX-License-Identifier: Apache-2.0
// pick: of each GROUP inputs side by side those that KEEP weights of a row are for; the row's other weights there are zero and not in the memory
// Golden : hw/parts/pick.py
// Timing : combinational, between the memories of inputs and weights and the operand registers of mac_array
// Layout : input i = x[i*X_W +: X_W]; row p, element i of the memory's word at bit (p*SIMD+i)*(INDEX_W+W_W): {index, weight}, for input index of group i/KEEP
module pick #(
  parameter int PE = 1,     // rows
  parameter int SIMD = 2,   // weights of a row, a multiple of KEEP
  parameter int KEEP = 2,
  parameter int GROUP = 4,  // a power of two
  parameter int X_W = 8,    // bits of an input
  parameter int W_W = 4,    // bits of a weight
  localparam int INDEX_W = $clog2(GROUP)
) (
  input  wire logic [SIMD/KEEP*GROUP*X_W-1:0]    x,
  input  wire logic [PE*SIMD*(INDEX_W+W_W)-1:0] word,
  output      logic [PE*SIMD*X_W-1:0]            picked,  // for row p, element i at (p*SIMD+i)*X_W
  output      logic [PE*SIMD*W_W-1:0]            w
);
  localparam int ElementW = INDEX_W + W_W;

  for (genvar k = 0; k < PE * SIMD; k++) begin : g_element
    localparam int Begin = (k % SIMD) / KEEP * GROUP * X_W;
    wire [INDEX_W-1:0] index = word[k*ElementW+W_W +: INDEX_W];
    logic [GROUP*X_W-1:0] left;  // those that the index's upper bits leave, the lowest ones

    always_comb begin
      left = x[Begin +: GROUP*X_W];
      for (int i = INDEX_W - 1; i >= 0; i--) if (index[i]) left = left >> ((1 << i) * X_W);
    end
    assign picked[k*X_W +: X_W] = left[X_W-1:0];
    assign w[k*W_W +: W_W] = word[k*ElementW +: W_W];
  end

  initial if (SIMD % KEEP != 0 || GROUP != 1 << INDEX_W) $fatal(1, "pick: got KEEP %0d, GROUP %0d, must divide SIMD %0d, a power of two", KEEP, GROUP, SIMD);
endmodule
