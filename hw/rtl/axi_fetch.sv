// SPDX-License-Identifier: Apache-2.0
// axi_fetch: reads an external memory for CLIENTS clients through one AXI4 read port (docs/architecture.md, External memory)
// Golden : none, moves data only; its cycles are hw/parts/axi_fetch.py's
// Stream : client c asks at req_*[c]; two requests wait behind the one that is cut into bursts. Its beats come at m_valid[c], m_data, m_last in
//          order of its requests. m_* has no ready: a client asks for what it has room for
// Bursts : a request is cut at each multiple of BURST beats in the address space, so at 4 KiB, too. Clients take turns burst by burst. One
//          ID, so beats come in order of the bursts; `routes` holds a word for each burst in flight: its client, beats, address
// Timing : a request taken in cycle a is offered from a + 2 on, a client's next burst from the cycle on behind the last one's grant. Whose turn
//          is next is decided in the cycle of a grant, or in the first later one in which a burst is offered, and granted in the one behind
//          it or later; a burst granted in cycle g has its AR in g + 1; a beat that R takes in cycle r is at m_* in r + 1. All outputs are registers
// Errors : `error` holds from the first error until rst, with error_code and error_addr, its burst's address. 1, 2, 3: RRESP; 4: RLAST before
//          the last beat; 5: none with it; 6: a beat when none is due (address 0); 7: RID is not 0. Beats are counted by ARLEN alone
// Reset  : rst drops all requests; beats of bursts that are in flight are dropped when they come, and new bursts wait for the last of them.
//          axi_rst, only together with rst, says that the memory forgets them: nothing is in flight
module axi_fetch #(
  parameter int CLIENTS = 1,
  parameter int ADDR_W = 32,       // bits of a byte address, more than BURST beats take
  parameter int DATA_W = 64,       // bits of a beat: 64, 128, 256 or 512
  parameter int BURST = 16,        // beats of a burst, a power of two >= 2; BURST * DATA_W / 8 <= 4096
  parameter int OUTSTANDING = 4    // bursts in flight, at least 2
) (
  input  wire logic                      clk,
  input  wire logic                      rst,
  input  wire logic                      axi_rst,
  input  wire logic [CLIENTS-1:0]        req_valid,
  output logic [CLIENTS-1:0]             req_ready,
  input  wire logic [CLIENTS*ADDR_W-1:0] req_addr,   // of a byte, a multiple of DATA_W / 8
  input  wire logic [CLIENTS*16-1:0]     req_beats,
  output logic [CLIENTS-1:0]             m_valid,
  output logic [DATA_W-1:0]              m_data,
  output logic                           m_last,     // of a request
  output logic                           error,
  output logic [2:0]                     error_code,
  output logic [ADDR_W-1:0]              error_addr,
  output logic                           m_axi_arid,
  output logic [ADDR_W-1:0]              m_axi_araddr,
  output logic [7:0]                     m_axi_arlen,
  output logic [2:0]                     m_axi_arsize,
  output logic [1:0]                     m_axi_arburst,
  output logic [3:0]                     m_axi_arcache,
  output logic [2:0]                     m_axi_arprot,
  output logic                           m_axi_arvalid,
  input  wire logic                      m_axi_arready,
  input  wire logic                      m_axi_rid,
  input  wire logic [DATA_W-1:0]         m_axi_rdata,
  input  wire logic [1:0]                m_axi_rresp,
  input  wire logic                      m_axi_rlast,
  input  wire logic                      m_axi_rvalid,
  output logic                           m_axi_rready
);
  localparam int ByteW = $clog2(DATA_W / 8);
  localparam int AtW = ADDR_W - ByteW;     // bits of a beat's address
  localparam int SizeW = $clog2(BURST);    // bits of a burst's beats, less one

  logic [CLIENTS-1:0] offers, others, less, pick, ends, route_client;
  logic [CLIENTS-1:0] turn_q, later_q;  // turn_q: whose burst is next; later_q: the clients behind the last one whose turn it was
  logic [CLIENTS*AtW-1:0] ats;       // each client's next burst
  logic [CLIENTS*SizeW-1:0] sizes;   // its beats, less one
  logic [AtW-1:0] at, route_at;
  logic [SizeW-1:0] size, route_size, beat_q;
  logic route_end, issue, room, due, final_beat, drain_q;
  logic [2:0] code;

  for (genvar c = 0; c < CLIENTS; c++) begin : g_client
    logic waits, load, grant, offer_q, end_q, new_end, after_end, unused_last;  // end: the burst is its request's last
    logic [AtW-1:0] new_at, at_q;
    logic [15:0] new_beats, new_rest, after_rest, rest_q;  // beats of the request from the offered burst on, less one
    logic [SizeW-1:0] new_fill, size_q;                    // new_fill: beats up to the end of the aligned burst, less one
    wire unused_low = |req_addr[c*ADDR_W +: ByteW];

    fifo #(.WIDTH(AtW + 16), .DEPTH(2)) requests (
      .clk, .rst, .s_valid(req_valid[c]), .s_ready(req_ready[c]),
      .s_data({req_addr[c*ADDR_W+ByteW +: AtW], req_beats[c*16 +: 16]}), .s_last(1'b0),
      .m_valid(waits), .m_ready(load), .m_data({new_at, new_beats}), .m_last(unused_last));

    assign grant = issue && turn_q[c];
    assign load = grant ? end_q : !offer_q;
    assign new_rest = new_beats - 1'b1;
    assign new_fill = ~new_at[SizeW-1:0];
    assign new_end = new_rest <= 16'(new_fill);
    assign after_rest = rest_q - 16'(size_q) - 1'b1;       // what is left behind a burst begins with a whole one
    assign after_end = after_rest <= 16'(BURST - 1);
    assign offers[c] = offer_q;
    assign ends[c] = end_q;
    assign ats[c*AtW +: AtW] = at_q;
    assign sizes[c*SizeW +: SizeW] = size_q;

    always_ff @(posedge clk) begin
      if (load) begin
        offer_q <= waits && new_beats != '0;
        at_q <= new_at;
        rest_q <= new_rest;
        end_q <= new_end;
        size_q <= new_end ? new_rest[SizeW-1:0] : new_fill;
      end else if (grant) begin
        at_q <= {at_q[AtW-1:SizeW] + 1'b1, SizeW'(0)};
        rest_q <= after_rest;
        end_q <= after_end;
        size_q <= after_end ? after_rest[SizeW-1:0] : '1;
      end
      if (rst) offer_q <= 1'b0;
    end
  end

  // Of those that offer a burst, whose turn it is not: the first behind the last one, else the first of all
  assign others = |(offers & ~turn_q & later_q) ? offers & ~turn_q & later_q : offers & ~turn_q;
  assign less = others - 1'b1;  // another one up to the first, the same behind it
  assign pick = others & ~less;
  assign issue = turn_q != '0 && room && (!m_axi_arvalid || m_axi_arready) && !drain_q;

  always_comb begin
    at = '0;
    size = '0;
    for (int c = 0; c < CLIENTS; c++) begin
      if (turn_q[c]) begin
        at = at | ats[c*AtW +: AtW];
        size = size | sizes[c*SizeW +: SizeW];
      end
    end
  end

  fifo #(.WIDTH(CLIENTS + AtW + SizeW), .DEPTH(OUTSTANDING)) routes (
    .clk, .rst(axi_rst), .s_valid(issue), .s_ready(room), .s_data({turn_q, at, size}), .s_last(|(turn_q & ends)),
    .m_valid(due), .m_ready(m_axi_rvalid && final_beat), .m_data({route_client, route_at, route_size}), .m_last(route_end));

  assign m_axi_arid = 1'b0;
  assign m_axi_arsize = 3'(ByteW);
  assign m_axi_arburst = 2'b01;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot = 3'b000;
  assign m_axi_rready = 1'b1;
  assign final_beat = beat_q == route_size;

  always_ff @(posedge clk) begin
    if (issue) begin
      m_axi_araddr <= {at, ByteW'(0)};
      m_axi_arlen <= 8'(size);
    end
    if (issue || turn_q == '0) begin
      turn_q <= pick;
      if (others != '0) later_q <= ~(others ^ less);
    end
    if (!m_axi_arvalid || m_axi_arready) m_axi_arvalid <= issue;
    if (m_axi_rvalid && due) beat_q <= final_beat ? '0 : beat_q + 1'b1;
    drain_q <= drain_q && due;
    m_valid <= {CLIENTS{m_axi_rvalid && due && !drain_q}} & route_client;
    m_data <= m_axi_rdata;
    m_last <= final_beat && route_end;
    if (rst) begin
      turn_q <= '0;
      later_q <= '1;
      drain_q <= 1'b1;
      m_valid <= '0;
    end
    if (axi_rst) begin
      m_axi_arvalid <= 1'b0;
      beat_q <= '0;
      drain_q <= 1'b0;
    end
  end

  always_comb begin
    if (!due) code = 3'd6;
    else if (m_axi_rid) code = 3'd7;
    else if (m_axi_rlast != final_beat) code = m_axi_rlast ? 3'd4 : 3'd5;
    else code = {1'b0, m_axi_rresp};
  end

  always_ff @(posedge clk) begin
    if (!error) begin
      error <= m_axi_rvalid && !drain_q && code != '0;
      error_code <= code;
      error_addr <= due ? {route_at, ByteW'(0)} : '0;
    end
    if (rst) error <= 1'b0;
  end

  initial begin
    if (BURST < 2 || BURST > 256 || (BURST & (BURST - 1)) != 0 || BURST * DATA_W > 8 * 4096)
      $fatal(1, "axi_fetch: got BURST %0d of DATA_W %0d, must be a power of two, 2 .. 256, of at most 4096 bytes", BURST, DATA_W);
    if (DATA_W < 64 || DATA_W > 512 || (DATA_W & (DATA_W - 1)) != 0) $fatal(1, "axi_fetch: got DATA_W %0d, must be 64, 128, 256 or 512", DATA_W);
    if (OUTSTANDING < 2) $fatal(1, "axi_fetch: got OUTSTANDING %0d, must be at least 2", OUTSTANDING);
  end
endmodule
