// SPDX-License-Identifier: Apache-2.0
// unpack: words of WORD elements -> beats of LANES elements, lowest elements first
// Golden : none, moves data only
// Stream : `load` (with `en`) takes a word, at most every WORD/LANES cycles of `en`; its beats leave in the cycles after it,
//          one per cycle of `en`. `last` is set on the final beat of a word loaded with `load_last`.
// Timing : latency 1, II WORD/LANES
// Reset  : empty
module unpack #(
  parameter int WORD = 1,   // elements per word, a multiple of LANES
  parameter int LANES = 1,  // elements per beat
  parameter int W = 8       // bits per element
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               en,
  input  wire logic               load,
  input  wire logic               load_last,
  input  wire logic [WORD*W-1:0]  word,
  output      logic                    valid,
  output      logic                    last,
  output      logic [LANES*W-1:0]      data
);
  localparam int Beats = WORD / LANES;
  localparam int LeftW = $clog2(Beats + 1);

  logic [WORD*W-1:0] word_q;
  logic [LeftW-1:0] left_q;  // beats to send
  logic last_q;

  always_ff @(posedge clk) begin
    if (en) begin
      word_q <= load ? word : word_q >> (LANES * W);
      if (load) last_q <= load_last;
      if (load) left_q <= LeftW'(Beats);
      else if (valid) left_q <= left_q - 1'b1;
      valid <= load || (valid && left_q != LeftW'(1));
    end
    if (rst) begin
      left_q <= '0;
      valid <= 1'b0;
    end
  end

  assign last = last_q && left_q == LeftW'(1);
  assign data = word_q[LANES*W-1:0];

  initial if (LANES < 1 || WORD % LANES != 0) $fatal(1, "unpack: got LANES %0d, must divide WORD %0d", LANES, WORD);
endmodule
