// SPDX-License-Identifier: Apache-2.0
// encoder_registers: the AXI4-Lite register file beside an encoder, all read-only, 32 bits each
// Map    : byte address -> register (the same map: boards/pynq_driver/registers.py)
//          0x00 magic "BLM1" (0x424c4d31)          0x04 version of this map, 1
//          0x08 identity[31:0]                     0x0c identity[63:32]
//          0x10 sentences done                     0x14 cycles of the latest: first beat in to last beat out
//          0x18 cycles waited for input            0x1c cycles waited for the output to be taken
//          0x20 bytes of a beat: input [15:0], output [31:16]
//          0x200 + 8 e  log entry e = 0 .. 63: cycle of the first beat in; 0x204 + 8 e  cycle of the last beat out; every other address reads 0
// Counts : see sentence_counters. The streams, those at the encoder itself, are only watched
// Reset  : as its parts
module encoder_registers #(
  parameter int IN_BYTES = 4,    // of a beat at s_axis, padding included
  parameter int OUT_BYTES = 4,   // of a beat at m_axis
  localparam int ADDR_W = 12    // 4 KiB, the smallest range that a processing system maps
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [63:0]       identity,
  input  wire logic              in_valid,
  input  wire logic              in_ready,
  input  wire logic              in_last,
  input  wire logic              out_valid,
  input  wire logic              out_ready,
  input  wire logic              out_last,
  input  wire logic              s_axi_awvalid,
  output      logic              s_axi_awready,
  input  wire logic              s_axi_wvalid,
  output      logic              s_axi_wready,
  output      logic              s_axi_bvalid,
  input  wire logic              s_axi_bready,
  output      logic [1:0]        s_axi_bresp,
  input  wire logic              s_axi_arvalid,
  output      logic              s_axi_arready,
  input  wire logic [ADDR_W-1:0] s_axi_araddr,
  output      logic              s_axi_rvalid,
  input  wire logic              s_axi_rready,
  output      logic [31:0]       s_axi_rdata,
  output      logic [1:0]        s_axi_rresp
);
  localparam logic [31:0] Magic = 32'h424c4d31;
  localparam logic [31:0] Version = 32'd1;

  logic [ADDR_W-3:0] word;
  logic [31:0] data, done, latest, waited_in, waited_out, start, stop;

  axi_lite_read #(.ADDR_W(ADDR_W)) bus (.clk, .rst, .s_axi_awvalid, .s_axi_awready, .s_axi_wvalid, .s_axi_wready, .s_axi_bvalid, .s_axi_bready,
    .s_axi_bresp, .s_axi_arvalid, .s_axi_arready, .s_axi_araddr, .s_axi_rvalid, .s_axi_rready, .s_axi_rdata, .s_axi_rresp, .word, .data);

  sentence_counters #(.LOG(64)) counters (.clk, .rst, .in_valid, .in_ready, .in_last, .out_valid, .out_ready, .out_last, .done, .latest, .waited_in,
    .waited_out, .entry(word[6:1]), .start, .stop);

  always_comb begin
    data = '0;
    if (word[ADDR_W-3:7] == 3'd1) begin
      data = word[0] ? stop : start;
    end else if (word[ADDR_W-3:5] == 5'd0) begin
      case (word[4:0])
        5'd0: data = Magic;
        5'd1: data = Version;
        5'd2: data = identity[31:0];
        5'd3: data = identity[63:32];
        5'd4: data = done;
        5'd5: data = latest;
        5'd6: data = waited_in;
        5'd7: data = waited_out;
        5'd8: data = {16'(OUT_BYTES), 16'(IN_BYTES)};
        default: data = '0;
      endcase
    end
  end
endmodule
