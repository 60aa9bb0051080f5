// SPDX-License-Identifier: Apache-2.0
// rom: read-only memory from a hex file; q holds the word at `addr` of the last cycle with `en`
// Golden : none. Written so that synthesis infers block RAM: a registered read in a plain always_ff, no reset.
module rom #(
  parameter int WIDTH = 8,   // bits per word
  parameter int DEPTH = 2,   // words
  parameter FILE = "",       // $readmemh file; "" leaves the contents undefined (for lint)
  localparam int ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
  input  wire logic              clk,
  input  wire logic              en,
  input  wire logic [ADDR_W-1:0] addr,
  output      logic [WIDTH-1:0]       q
);
  /* verilator lint_off UNDRIVEN */  // without a file
  logic [WIDTH-1:0] mem [0:DEPTH-1];
  /* verilator lint_on UNDRIVEN */

  if (FILE != "") begin : g_file
    initial $readmemh(FILE, mem);
  end
  always_ff @(posedge clk) if (en) q <= mem[addr];
endmodule
