// SPDX-License-Identifier: Apache-2.0
// sdram_unit: sdram and its chip; what is to be done in one stream, the beats that were read in another
// Streams: s {beats or the word, address, read, wait}: with `wait` only after all that was asked for before has come. m: beats, taken at once
// FETCH  : 0: a read is one AXI burst, R is not ready in some cycles where SLOW is set; 1: reads go through axi_fetch
module sdram_unit #(
  parameter int FETCH = 0,
  parameter int SLOW = 0,
  parameter int INVERT = 1,              // the chip's clock is clk inverted
  parameter int CLOCK_MHZ = 50,
  parameter int ROW_W = 11,
  parameter int COL_W = 8,
  parameter int CL = 2,
  parameter int CAPTURE = 2,
  parameter int OUTSTANDING = 4,
  localparam int ADDR_W = ROW_W + COL_W + 3
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              s_valid,
  output logic                   s_ready,
  input  wire logic [39:0]       s_data,
  input  wire logic              s_last,
  output logic                   m_valid,
  input  wire logic              m_ready,
  output logic [63:0]            m_data,
  output logic                   m_last
);
  logic [ADDR_W-1:0] araddr, addr;
  logic [15:0] beats, dq_down, dq_up;
  logic [7:0] arlen;
  logic [63:0] rdata;
  logic [1:0] ba, dqm, rresp;
  logic [ROW_W-1:0] a;
  logic [31:0] random, waiting;          // waiting: beats that are to come
  logic hold, is_read, arvalid, arready, rid, rlast, rvalid, rready, load_ready, read_ready, cke, cs_n, ras_n, cas_n, we_n, oe_down, oe_up;

  assign {beats, addr, is_read, hold} = (18 + ADDR_W)'(s_data);
  wire go = s_valid && !(hold && waiting != '0);
  assign s_ready = go && (is_read ? read_ready : load_ready);

  always_ff @(posedge clk) begin
    waiting <= waiting + (s_valid && s_ready && is_read ? 32'(beats) : '0) - 32'(m_valid);
    random <= random * 32'd1664525 + 32'd1013904223;
    if (rst) begin
      waiting <= '0;
      random <= 32'd1;
    end
  end

  if (FETCH != 0) begin : g_fetch
    logic error;
    logic [2:0] code, arsize, arprot;
    logic [ADDR_W-1:0] error_addr;
    logic [1:0] arburst;
    logic [3:0] arcache;
    logic arid;

    axi_fetch #(.CLIENTS(1), .ADDR_W(ADDR_W), .DATA_W(64), .BURST(16), .OUTSTANDING(OUTSTANDING)) fetch (
      .clk, .rst, .axi_rst(rst), .req_valid(go && is_read), .req_ready(read_ready), .req_addr(addr), .req_beats(beats),
      .m_valid, .m_data, .m_last, .error, .error_code(code), .error_addr,
      .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst), .m_axi_arcache(arcache),
      .m_axi_arprot(arprot), .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rid(rid), .m_axi_rdata(rdata), .m_axi_rresp(rresp),
      .m_axi_rlast(rlast), .m_axi_rvalid(rvalid), .m_axi_rready(rready));
    always_ff @(posedge clk) if (!rst && error) $fatal(1, "sdram_unit: got error %0d of the burst at %h, must have none", code, error_addr);
  end else begin : g_alone
    assign araddr = addr;
    assign arlen = 8'(beats - 1'b1);
    assign arvalid = go && is_read;
    assign read_ready = arready;
    assign rready = SLOW == 0 || random[31:30] == 2'b00;
    assign m_valid = rvalid && rready;
    assign m_data = rdata;
    assign m_last = rlast;
  end

  sdram #(.CLOCK_MHZ(CLOCK_MHZ), .ROW_W(ROW_W), .COL_W(COL_W), .CL(CL), .CAPTURE(CAPTURE), .T_INIT(5000), .REFRESH_NS(7812 << ROW_W)) dut (
    .clk, .rst, .load_valid(go && !is_read), .load_ready, .load_first(s_last), .load_addr(addr), .load_data(beats), .s_axi_araddr(araddr),
    .s_axi_arlen(arlen), .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rid(rid), .s_axi_rdata(rdata), .s_axi_rresp(rresp),
    .s_axi_rlast(rlast), .s_axi_rvalid(rvalid), .s_axi_rready(rready), .sdram_cke(cke), .sdram_cs_n(cs_n), .sdram_ras_n(ras_n),
    .sdram_cas_n(cas_n), .sdram_we_n(we_n), .sdram_ba(ba), .sdram_a(a), .sdram_dqm(dqm), .sdram_dq_o(dq_down), .sdram_dq_oe(oe_down),
    .sdram_dq_i(dq_up));

  wire chip_clk = INVERT != 0 ? !clk : clk;
  sdram_chip #(.CLOCK_MHZ(CLOCK_MHZ), .ROW_W(ROW_W), .COL_W(COL_W), .T_INIT(5000), .T_REFRESH(64 * 7812), .ROWS(64)) chip (
    .clk(chip_clk), .cke, .cs_n, .ras_n, .cas_n, .we_n, .ba, .a, .dqm, .dq_i(dq_down), .dq_oe_i(oe_down), .dq_o(dq_up), .dq_oe_o(oe_up));
endmodule
