// SPDX-License-Identifier: Apache-2.0
// softmax: SIDE rows side by side, each through a softmax_row of its own; equally long rows take equally many cycles, so that all of them are in step
// Golden : hw/ops/softmax.py (bit-exact; x signed, p unsigned)
// Stream : s_* -> m_*, row streams: element j of SIDE rows a beat, last at the end of the rows; rows of 1 .. MAX_TOKENS elements
// Timing : that of a softmax_row
// Layout : row i = data[i*W +: W]
// Reset  : no row in flight
module softmax #(
  parameter int SIDE = 1,          // rows side by side
  parameter int MAX_TOKENS = 64,   // longest row
  parameter int IN_W = 8,          // bits of x, signed
  parameter int OUT_W = 8,         // bits of p, unsigned
  parameter int EXP_W = 11,        // bits of an exponential
  parameter EXP_FILE = "",         // hex, 2**IN_W words
  parameter int EXP_LOAD = 0,      // see rom
  parameter int RECIP_BITS = 24,
  parameter int SHIFT = 16,        // >= 1
  parameter int EXP_LEAST = EXP_W - 1,  // log2 of the least E[0] of all turns
  parameter int TURNS = 1,         // tables by turn
  parameter int BANKS = TURNS,     // of tables: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int SENTENCES = 2,     // see turns
  parameter int ROWS = 1,          // see turns
  parameter int QUERIES = 1,       // see turns
  parameter int MORE = 0,          // see softmax_row
  parameter ROUND_FILE = "",
  parameter int ROUND_LOAD = 0  // see rom
) (
  input  wire logic                  clk,
  input  wire logic                  rst,
  input  wire logic [25:0]           bus,
  input  wire logic [32:0]           load,
  input  wire logic                  s_valid,
  output      logic                  s_ready,
  input  wire logic [SIDE*IN_W-1:0]  s_data,
  input  wire logic                  s_last,
  output      logic                  m_valid,
  input  wire logic                  m_ready,
  output      logic [SIDE*OUT_W-1:0] m_data,
  output      logic                  m_last
);
  wire [SIDE-1:0] ready, valid, last;  // all alike

  for (genvar i = 0; i < SIDE; i++) begin : g_row
    softmax_row #(.MAX_TOKENS(MAX_TOKENS), .IN_W(IN_W), .OUT_W(OUT_W), .EXP_W(EXP_W), .EXP_FILE(EXP_FILE), .EXP_LOAD(EXP_LOAD),
      .RECIP_BITS(RECIP_BITS), .SHIFT(SHIFT), .EXP_LEAST(EXP_LEAST), .TURNS(TURNS), .BANKS(BANKS), .BANK_OF(BANK_OF), .SENTENCES(SENTENCES), .ROWS(ROWS), .QUERIES(QUERIES), .MORE(MORE),
      .ROUND_FILE(ROUND_FILE), .ROUND_LOAD(ROUND_LOAD)) u_row (
      .clk, .rst, .bus, .load, .s_valid, .s_ready(ready[i]), .s_data(s_data[i*IN_W +: IN_W]), .s_last,
      .m_valid(valid[i]), .m_ready, .m_data(m_data[i*OUT_W +: OUT_W]), .m_last(last[i]));
  end
  assign s_ready = &ready;
  assign m_valid = &valid;
  assign m_last = &last;
endmodule
