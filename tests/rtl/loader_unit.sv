// SPDX-License-Identifier: Apache-2.0
// loader_unit: image_loader behind axi_fetch on axi_memory; weights_ready is a stream of one beat, the hash, and so is its error; what it loads is another
// Streams: s, taken at once and not looked at; m {weights_hash}; e {address, code}; l {first, 31 bits}, which must be taken at once
module loader_unit #(
  parameter int DATA_W = 64,
  parameter logic [31:0] VERSION = 1,
  parameter logic [255:0] SHAPES = '0,
  parameter logic [31:0] PARAMS = 4096,
  parameter int CHUNKS = 1,
  parameter logic [31:0] AT = 0,        // where the image lies
  parameter HEX = "",
  parameter int BYTES = 8192,
  parameter int LATENCY = 20,
  parameter int CYCLES = 1,
  parameter int BEATS = 1,
  parameter int ERROR_ADDR = -1
) (
  input  wire logic        clk,
  input  wire logic        rst,
  input  wire logic        s_valid,
  output logic             s_ready,
  input  wire logic [7:0]  s_data,
  input  wire logic        s_last,
  output logic             m_valid,
  input  wire logic        m_ready,
  output logic [63:0]      m_data,
  output logic             m_last,
  output logic             l_valid,
  input  wire logic        l_ready,
  output logic [31:0]      l_data,
  output logic             l_last,
  output logic             e_valid,
  input  wire logic        e_ready,
  output logic [35:0]      e_data,
  output logic             e_last
);
  logic req_valid, req_ready, w_valid, w_last, ready, fetch_error, error, said_q, told_q;
  logic [31:0] req_addr, fetch_address, error_address, araddr;
  logic [15:0] req_beats;
  logic [DATA_W-1:0] w_data, rdata;
  logic [63:0] hash;
  logic [2:0] fetch_code, arsize, arprot;
  logic [3:0] error_code, arcache;
  logic arid, arvalid, arready, rid, rlast, rvalid, rready;
  logic [7:0] arlen;
  logic [1:0] arburst, rresp;

  image_loader #(.DATA_W(DATA_W), .VERSION(VERSION), .SHAPES(SHAPES), .PARAMS(PARAMS), .CHUNKS(CHUNKS)) dut (
    .clk, .rst, .base(AT), .req_valid, .req_ready, .req_addr, .req_beats, .w_valid, .w_data, .w_last, .load({l_valid, l_data}), .turn_asked(1'b0), .turn_first(1'b0), .turn_loaded(), .weights_ready(ready),
    .weights_hash(hash),
    .fetch_error, .fetch_code, .fetch_address, .error, .error_code, .error_address);

  axi_fetch #(.DATA_W(DATA_W), .BURST(4)) fetch (
    .clk, .rst, .axi_rst(rst), .req_valid, .req_ready, .req_addr, .req_beats, .m_valid(w_valid), .m_data(w_data), .m_last(w_last),
    .error(fetch_error), .error_code(fetch_code), .error_addr(fetch_address),
    .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst), .m_axi_arcache(arcache),
    .m_axi_arprot(arprot), .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rid(rid), .m_axi_rdata(rdata),
    .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid), .m_axi_rready(rready));

  axi_memory #(.HEX(HEX), .DATA_W(DATA_W), .BYTES(BYTES), .LATENCY(LATENCY), .CYCLES(CYCLES), .BEATS(BEATS), .ERROR_ADDR(ERROR_ADDR)) memory (
    .clk, .rst, .s_axi_arid(arid), .s_axi_araddr(araddr), .s_axi_arlen(arlen), .s_axi_arsize(arsize), .s_axi_arburst(arburst),
    .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rid(rid), .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rlast(rlast),
    .s_axi_rvalid(rvalid), .s_axi_rready(rready));

  assign {s_ready, l_last} = 2'b11;
  assign {m_data, m_last, e_data, e_last} = {hash, 1'b1, error_address, error_code, 1'b1};
  assign m_valid = ready && !said_q;
  assign e_valid = error && !told_q;
  always_ff @(posedge clk) begin
    said_q <= !rst && (said_q || (m_valid && m_ready));
    told_q <= !rst && (told_q || (e_valid && e_ready));
  end
endmodule
