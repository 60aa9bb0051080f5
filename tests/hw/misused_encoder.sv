// SPDX-License-Identifier: Apache-2.0
// misused_encoder: an encoder that was given what its input's rule forbids, then reset for one cycle, then wired through
// File  : misuse.hex, BEATS words {heals, valid, last, data}, played in a circle for CYCLES cycles; their answers are dropped
//         heals of the first word: the reset comes; else the encoder goes on as the misuse has left it
// Ports : the encoder's; nothing is taken or given until the misuse is over
module misused_encoder #(
  parameter int WIDTH = 8,    // bits of s_axis_tdata
  parameter int OUT_W = 16,   // bits of m_axis_tdata
  parameter int BEATS = 1,    // words of the file
  parameter int CYCLES = 100  // of misuse
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             s_axis_tvalid,
  output logic                  s_axis_tready,
  input  wire logic [WIDTH-1:0] s_axis_tdata,
  input  wire logic             s_axis_tlast,
  output logic                  m_axis_tvalid,
  input  wire logic             m_axis_tready,
  output logic [OUT_W-1:0]      m_axis_tdata,
  output logic                  m_axis_tlast,
  output logic [63:0]           identity
);
  logic [WIDTH+2:0] words [0:BEATS-1];
  logic [31:0] count_q, at_q;
  logic ready, valid;
  initial $readmemh("misuse.hex", words);

  wire misused = count_q < 32'(CYCLES);
  wire [WIDTH+1:0] word = words[at_q][WIDTH+1:0];  // valid, last, data
  wire heal = count_q == 32'(CYCLES) && words[0][WIDTH+2];
  wire through = count_q > 32'(CYCLES);

  always_ff @(posedge clk) begin
    if (rst) begin
      count_q <= 32'd0;
      at_q <= 32'd0;
    end else begin
      if (!through) count_q <= count_q + 32'd1;
      if (misused && word[WIDTH+1] && ready) at_q <= at_q == 32'(BEATS - 1) ? 32'd0 : at_q + 32'd1;
    end
  end

  assign s_axis_tready = through && ready;
  assign m_axis_tvalid = through && valid;

  encoder dut (.clk, .rst(rst || heal), .identity, .s_axis_tvalid(misused ? word[WIDTH+1] : through && s_axis_tvalid), .s_axis_tready(ready),
    .s_axis_tdata(misused ? word[WIDTH-1:0] : s_axis_tdata), .s_axis_tlast(misused ? word[WIDTH] : s_axis_tlast),
    .m_axis_tvalid(valid), .m_axis_tready(misused || (through && m_axis_tready)), .m_axis_tdata, .m_axis_tlast);
endmodule
