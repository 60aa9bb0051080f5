// SPDX-License-Identifier: Apache-2.0
// axi_lite: AXI4-Lite slave in front of registers of 32 bits; every transfer is answered OKAY
// Bus    : one read and one write in flight; a read takes 2 cycles. No combinational path from any input to any output of the bus
// Read   : `word` is the register asked for (byte address / 4); `data` must be its value in the same cycle
// Write  : `write` is high for one cycle with `write_word` and `write_data`, as the answer begins; a write of less than a whole word is dropped
// Reset  : no transfer in flight
module axi_lite #(
  parameter int ADDR_W = 12  // bits of the byte address
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              s_axi_awvalid,
  output      logic              s_axi_awready,
  input  wire logic [ADDR_W-1:0] s_axi_awaddr,
  input  wire logic              s_axi_wvalid,
  output      logic              s_axi_wready,
  input  wire logic [31:0]       s_axi_wdata,
  input  wire logic [3:0]        s_axi_wstrb,
  output      logic              s_axi_bvalid,
  input  wire logic              s_axi_bready,
  output      logic [1:0]        s_axi_bresp,
  input  wire logic              s_axi_arvalid,
  output      logic              s_axi_arready,
  input  wire logic [ADDR_W-1:0] s_axi_araddr,
  output      logic              s_axi_rvalid,
  input  wire logic              s_axi_rready,
  output      logic [31:0]       s_axi_rdata,
  output      logic [1:0]        s_axi_rresp,
  output      logic [ADDR_W-3:0] word,
  input  wire logic [31:0]       data,
  output      logic              write,
  output      logic [ADDR_W-3:0] write_word,
  output      logic [31:0]       write_data
);
  localparam logic [1:0] Okay = 2'b00;

  logic reading_q;  // an address is held in `word`, its data not yet in s_axi_rdata
  /* verilator lint_off UNUSEDSIGNAL */
  logic [3:0] byte_of_word;  // registers are read and written as whole words
  /* verilator lint_on UNUSEDSIGNAL */

  assign s_axi_bresp = Okay;
  assign s_axi_rresp = Okay;
  assign byte_of_word = {s_axi_awaddr[1:0], s_axi_araddr[1:0]};

  always_ff @(posedge clk) begin
    if (s_axi_arvalid && s_axi_arready) word <= s_axi_araddr[ADDR_W-1:2];
    if (reading_q) s_axi_rdata <= data;
    if (rst) begin
      s_axi_arready <= 1'b0;
      s_axi_rvalid <= 1'b0;
      reading_q <= 1'b0;
    end else begin
      reading_q <= s_axi_arvalid && s_axi_arready;
      if (reading_q) s_axi_rvalid <= 1'b1;
      else if (s_axi_rready) s_axi_rvalid <= 1'b0;
      // ready again once the answer is gone
      if (s_axi_arvalid && s_axi_arready) s_axi_arready <= 1'b0;
      else if (!reading_q && (!s_axi_rvalid || s_axi_rready)) s_axi_arready <= 1'b1;
    end
  end

  // Address and data of a write may come in any order: a channel's ready is low from its transfer until the answer is taken.
  logic started_q;  // ready has been given once since reset: now a low one means a transfer that was made
  logic both;       // address and data are here
  assign both = started_q && (!s_axi_awready || s_axi_awvalid) && (!s_axi_wready || s_axi_wvalid);

  logic answer_q, whole_q;
  assign write = s_axi_bvalid && !answer_q && whole_q;

  always_ff @(posedge clk) begin
    answer_q <= s_axi_bvalid;
    if (s_axi_awvalid && s_axi_awready) write_word <= s_axi_awaddr[ADDR_W-1:2];
    if (s_axi_wvalid && s_axi_wready) begin
      write_data <= s_axi_wdata;
      whole_q <= s_axi_wstrb == 4'hf;
    end
    started_q <= !rst;
    if (rst) begin
      s_axi_awready <= 1'b0;
      s_axi_wready <= 1'b0;
      s_axi_bvalid <= 1'b0;
    end else if (!started_q || (s_axi_bvalid && s_axi_bready)) begin
      s_axi_awready <= 1'b1;
      s_axi_wready <= 1'b1;
      s_axi_bvalid <= 1'b0;
    end else if (!s_axi_bvalid) begin
      s_axi_awready <= s_axi_awready && !s_axi_awvalid;
      s_axi_wready <= s_axi_wready && !s_axi_wvalid;
      s_axi_bvalid <= both;
    end
  end
endmodule
