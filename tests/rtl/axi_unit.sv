// SPDX-License-Identifier: Apache-2.0
// axi_unit: axi_fetch on axi_memory, reset together, its clients' requests and beats as streams, its error as a stream of one beat
// Streams: s0 .. s2 {beats, address}; m0 .. m2, which must be taken at once; e {address, code}
// Faults : at beat FAULT_BEAT of R (from 0 on): 1 RLAST inverted, 2 the beat comes twice, 3 it does not come, 4 RID is 1
module axi_unit #(
  parameter int CLIENTS = 3,
  parameter int DATA_W = 64,
  parameter int BURST = 16,
  parameter int OUTSTANDING = 4,
  parameter HEX = "",
  parameter IMAGE = "",
  parameter int BYTES = 4096,
  parameter int QUEUE = 64,
  parameter int LATENCY = 20,
  parameter int CYCLES = 1,
  parameter int BEATS = 1,
  parameter int REFRESH_EVERY = 0,
  parameter int REFRESH_FOR = 0,
  parameter int STALL = 0,
  parameter int BUSY = 0,
  parameter int JITTER = 0,
  parameter int ERROR_ADDR = -1,
  parameter int FAULT = 0,
  parameter int FAULT_BEAT = 0
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              s0_valid, s1_valid, s2_valid,
  output logic                   s0_ready, s1_ready, s2_ready,
  input  wire logic [47:0]       s0_data, s1_data, s2_data,
  input  wire logic              s0_last, s1_last, s2_last,
  output logic                   m0_valid, m1_valid, m2_valid,
  input  wire logic              m0_ready, m1_ready, m2_ready,
  output logic [DATA_W-1:0]      m0_data, m1_data, m2_data,
  output logic                   m0_last, m1_last, m2_last,
  output logic                   e_valid,
  input  wire logic              e_ready,
  output logic [34:0]            e_data,
  output logic                   e_last
);
  logic [2:0] ready, valid;
  logic [DATA_W-1:0] data, rdata, beat, again_data;
  logic last, error, told, arid, arvalid, arready, rid, rlast, rvalid, rready, beat_valid, beat_last, again, again_last, here;
  logic [2:0] code, arsize, arprot;
  logic [31:0] error_addr, araddr;
  logic [7:0] arlen;
  logic [1:0] arburst, rresp;
  logic [3:0] arcache;
  int unsigned beats;

  assign {s2_ready, s1_ready, s0_ready} = ready;
  assign {m2_valid, m1_valid, m0_valid} = valid;
  assign {m2_data, m1_data, m0_data} = {3{data}};
  assign {m2_last, m1_last, m0_last} = {3{last}};
  if (CLIENTS < 3) begin : g_fewer
    assign ready[2:CLIENTS] = '0;
    assign valid[2:CLIENTS] = '0;
  end

  axi_fetch #(.CLIENTS(CLIENTS), .ADDR_W(32), .DATA_W(DATA_W), .BURST(BURST), .OUTSTANDING(OUTSTANDING)) dut (
    .clk, .rst, .axi_rst(rst), .req_valid(CLIENTS'({s2_valid, s1_valid, s0_valid})), .req_ready(ready[CLIENTS-1:0]),
    .req_addr((32*CLIENTS)'({s2_data[31:0], s1_data[31:0], s0_data[31:0]})),
    .req_beats((16*CLIENTS)'({s2_data[47:32], s1_data[47:32], s0_data[47:32]})),
    .m_valid(valid[CLIENTS-1:0]), .m_data(data), .m_last(last), .error, .error_code(code), .error_addr,
    .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst), .m_axi_arcache(arcache),
    .m_axi_arprot(arprot), .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rid(rid ^ (here && FAULT == 4)), .m_axi_rdata(beat),
    .m_axi_rresp(rresp), .m_axi_rlast(beat_last), .m_axi_rvalid(beat_valid), .m_axi_rready(rready));

  axi_memory #(.HEX(HEX), .IMAGE(IMAGE), .ADDR_W(32), .DATA_W(DATA_W), .BYTES(BYTES), .QUEUE(QUEUE), .LATENCY(LATENCY), .CYCLES(CYCLES),
    .BEATS(BEATS), .REFRESH_EVERY(REFRESH_EVERY), .REFRESH_FOR(REFRESH_FOR), .STALL(STALL), .BUSY(BUSY), .JITTER(JITTER),
    .ERROR_ADDR(ERROR_ADDR)) memory (
    .clk, .rst, .s_axi_arid(arid), .s_axi_araddr(araddr), .s_axi_arlen(arlen), .s_axi_arsize(arsize), .s_axi_arburst(arburst),
    .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rid(rid), .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rlast(rlast),
    .s_axi_rvalid(rvalid), .s_axi_rready(rready && !again));

  assign here = beats == FAULT_BEAT;
  assign beat_valid = again || (rvalid && !(here && FAULT == 3));
  assign beat = again ? again_data : rdata;
  assign beat_last = again ? again_last : rlast ^ (here && FAULT == 1);

  always_ff @(posedge clk) begin
    if (rvalid && !again) begin
      beats <= beats + 1;
      again <= here && FAULT == 2;
      again_data <= rdata;
      again_last <= rlast;
    end else again <= 1'b0;
    if (rst) {beats, again} <= '0;
  end

  assign e_valid = error && !told;
  assign e_data = {error_addr, code};
  assign e_last = 1'b1;
  always_ff @(posedge clk) told <= !rst && (told || (e_valid && e_ready));
  always_ff @(posedge clk) if (arcache != 4'b0011 || arprot != '0)
    $fatal(1, "axi_unit: got arcache %b, arprot %b, must be 0011, 000", arcache, arprot);
endmodule
