// SPDX-License-Identifier: Apache-2.0
// decode: w = codebook[index]: the weights that the indices of a memory's word stand for
// Golden : hw/ops/linear.py (bit-exact)
// Reader : `index` is the word that a memory gave, `turn` was whose codebook when its address was; the weights follow a cycle of `en` later
// Timing : latency 1, II 1: it is the register behind the memory, in the place of mac_array's own (W_HELD)
// Memory : codebook word t, of turn t, holds 2**INDEX_W weights of W bits, entry i at bit i*W
// Layout : index i at bit i*INDEX_W, weight i at bit i*W
// Reset  : none
module decode #(
  parameter int COUNT = 4,           // weights of a word
  parameter int INDEX_W = 2,         // bits of an index
  parameter int W = 8,               // bits of a weight
  parameter int TURNS = 1,           // codebooks by turn
  parameter CODEBOOK_FILE = "",
  parameter int CODEBOOK_LOAD = 0,   // see rom
  localparam int TURN_W = TURNS > 1 ? $clog2(TURNS) : 1
) (
  input  wire logic                     clk,
  input  wire logic [32:0]              load,
  input  wire logic                     en,
  input  wire logic [TURN_W-1:0]        turn,
  input  wire logic [COUNT*INDEX_W-1:0] index,
  output      logic [COUNT*W-1:0]       w
);
  localparam int Entries = 1 << INDEX_W;
  logic [COUNT*INDEX_W-1:0] index_q;
  logic [Entries*W-1:0] book, book_q;

  rom #(.WIDTH(Entries * W), .DEPTH(TURNS), .FILE(CODEBOOK_FILE), .LOAD(CODEBOOK_LOAD)) u_codebook (.clk, .load, .en, .addr(turn), .q(book));

  always_ff @(posedge clk) begin
    if (en) begin
      index_q <= index;
      book_q <= book;
    end
  end

  for (genvar i = 0; i < COUNT; i++) begin : g_weight
    assign w[i*W +: W] = book_q[index_q[i*INDEX_W +: INDEX_W]*W +: W];
  end
endmodule
