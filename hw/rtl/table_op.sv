// SPDX-License-Identifier: Apache-2.0
// table_op: y = TABLE[x - xmin], any function of one code
// Golden : hw/ops/table.py (`table` alone is a Verilog keyword)
// Stream : s_* -> m_*; last passes through
// Timing : latency 1, II 1
// Layout : lane i = data[i*W +: W]; a ROM of 2**IN_W words of OUT_W bits a lane; address 0 is the smallest code, so the
//          address is the code with its sign bit inverted
// Turns  : TURNS > 1: TABLE_FILE holds the tables of each turn one after the other, in a rolled encoder (turns.sv)
// Reset  : rst drops what is in flight
module table_op #(
  parameter int LANES = 1,        // elements a beat
  parameter int IN_W = 8,         // bits of a code of x
  parameter bit IN_SIGNED = 1,
  parameter int OUT_W = 8,        // bits of a code of y
  parameter TABLE_FILE = "",      // hex, 2**IN_W words a turn
  parameter int TABLE_LOAD = 0,   // see rom
  parameter int TURNS = 1,
  parameter int BANKS = TURNS,     // of tables: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int SENTENCES = 2     // see turns
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic [25:0]            bus,
  input  wire logic [32:0]            load,
  input  wire logic                   s_valid,
  output      logic                   s_ready,
  input  wire logic [LANES*IN_W-1:0]  s_data,
  input  wire logic                   s_last,
  output      logic                   m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0] m_data,
  output      logic                   m_last
);
  localparam logic [IN_W-1:0] SignBit = IN_SIGNED ? IN_W'(1) << (IN_W - 1) : '0;

  localparam int BankW = BANKS > 1 ? $clog2(BANKS) : 0;
  wire [(TURNS > 1 ? $clog2(TURNS) : 1)-1:0] turn;
  wire [7:0] bank = BANKS == TURNS ? 8'(turn) : BANK_OF[8*turn +: 8];

  assign s_ready = m_ready || !m_valid;

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES)) u_turn (.clk, .rst, .bus, .load(33'd0), .done(s_ready && s_valid && s_last), .now(turn), .base(), .word());
  /* verilator lint_on PINCONNECTEMPTY */

  for (genvar i = 0; i < LANES; i++) begin : lane
    rom #(.WIDTH(OUT_W), .DEPTH(BANKS << IN_W), .FILE(TABLE_FILE), .LOAD(TABLE_LOAD)) u_rom (
      .clk, .load, .en(s_ready), .addr((BankW+IN_W)'({bank, s_data[i*IN_W +: IN_W] ^ SignBit})), .q(m_data[i*OUT_W +: OUT_W]));
  end

  always_ff @(posedge clk) begin
    if (s_ready) begin
      m_valid <= s_valid;
      m_last <= s_last;
    end
    if (rst) m_valid <= 1'b0;
  end
endmodule
