// SPDX-License-Identifier: Apache-2.0
// rom: read-only memory from a hex file, or loaded after reset; q holds the word at `addr` of the last cycle with `en`, of that cycle itself with NOW
// Golden : none. Written so that synthesis infers block RAM: a registered read in a plain always_ff, no reset.
// Loading: LOAD > 0: FILE is not read; image_loader.sv sends the words on `load`, {valid, first, 31 bits}, to all memories. An item with `first` is the
//          LOAD of those to which the next ones belong: their words from address 0 on, each in as many items as it needs, the lowest bits first
// Reset  : none; each loading begins with `first`
module rom #(
  parameter int WIDTH = 8,   // bits per word
  parameter int DEPTH = 2,   // words
  parameter FILE = "",       // $readmemh file; "" leaves the contents undefined (for lint)
  parameter int LOAD = 0,    // its number in the image, from 1 on; 0: it is not loaded
  parameter bit NOW = 1'b0,  // reads like a table, in the same cycle
  localparam int ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
  input  wire logic              clk,
  input  wire logic [32:0]       load,
  input  wire logic              en,
  input  wire logic [ADDR_W-1:0] addr,
  output      logic [WIDTH-1:0]       q
);
  /* verilator lint_off UNDRIVEN */  // without a file
  logic [WIDTH-1:0] mem [0:DEPTH-1];
  /* verilator lint_on UNDRIVEN */

  if (LOAD != 0) begin : g_loaded
    localparam int ItemW = 31;
    localparam int Items = (WIDTH + ItemW - 1) / ItemW;  // of a word
    localparam int CountW = Items > 1 ? $clog2(Items) : 1;
    logic mine_q;
    logic [CountW-1:0] item_q;
    logic [ADDR_W-1:0] at_q;
    logic [Items*ItemW-1:0] word, word_q;
    wire valid = load[32];
    wire first = load[31];
    wire whole = item_q == CountW'(Items - 1);

    assign word = (Items*ItemW)'({load[30:0], word_q} >> ItemW);
    wire unused = &{1'b0, word, word_q[0]};
    always_ff @(posedge clk) begin
      if (valid) begin
        if (first) mine_q <= load[30:0] == ItemW'(LOAD);
        item_q <= first || whole ? '0 : item_q + 1'b1;
        at_q <= first ? '0 : at_q + ADDR_W'(whole);
        word_q <= word;
      end
    end
    always_ff @(posedge clk) if (valid && !first && mine_q && whole) mem[at_q] <= word[WIDTH-1:0];
  end else begin : g_fixed
    wire unused = &{1'b0, load};
    if (FILE != "") begin : g_file
      initial $readmemh(FILE, mem);
    end
  end

  if (NOW) begin : g_now
    wire unused_read = &{1'b0, en, clk};
    assign q = mem[addr];
  end else begin : g_read
    always_ff @(posedge clk) if (en) q <= mem[addr];
  end
endmodule
