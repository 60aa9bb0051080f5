// SPDX-License-Identifier: Apache-2.0
// bench: axi_fetch is reset again and again, its memory only at power-up
// Checks : no beat of a burst from before a reset reaches a client, none of a later one is lost, a request of 0 beats is dropped
// Memory : a word is f(its number), as the test writes it; slow, with stalls, ARs that wait, latencies that change
module bench (
  output logic done
);
  localparam int Clients = 2, Requests = 6000, Words = 2048;

  logic clk, rst, axi_rst;
  logic [Clients-1:0] req_valid, req_ready, m_valid;
  logic [Clients*32-1:0] req_addr;
  logic [Clients*16-1:0] req_beats;
  logic [63:0] m_data, rdata;
  logic m_last, error, arid, arvalid, arready, rid, rlast, rvalid, rready;
  logic [2:0] arsize, unused_code, unused_prot;
  logic [31:0] unused_addr, araddr, random;
  logic [7:0] arlen;
  logic [1:0] arburst, rresp;
  logic [3:0] unused_cache;
  int until_reset, resets, in_flight;     // in_flight: resets with bursts in flight
  int served [0:Clients-1];
  // Requests that a client waits for: first word, words; the head's words that have come
  int first [0:Clients-1][0:15], count [0:Clients-1][0:15];
  int waiting [0:Clients-1], came [0:Clients-1];
  int bursts;

  initial begin
    clk = 1'b0;
    forever #1 clk = !clk;
  end

  function automatic logic [31:0] next(input logic [31:0] x);
    logic [31:0] y;
    y = x ^ (x << 13);
    y = y ^ (y >> 17);
    next = y ^ (y << 5);
  endfunction

  function automatic logic [63:0] content(input int word);
    content = {32'(word) * 32'd2654435761, 32'(word) * 32'd40503 + 32'd1};
  endfunction

  axi_fetch #(.CLIENTS(Clients), .ADDR_W(32), .DATA_W(64), .BURST(8), .OUTSTANDING(4)) dut (
    .clk, .rst, .axi_rst, .req_valid, .req_ready, .req_addr, .req_beats, .m_valid, .m_data, .m_last, .error, .error_code(unused_code),
    .error_addr(unused_addr), .m_axi_arid(arid), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst),
    .m_axi_arcache(unused_cache), .m_axi_arprot(unused_prot), .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rid(rid),
    .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid), .m_axi_rready(rready));
  axi_memory #(.HEX("words.hex"), .ADDR_W(32), .DATA_W(64), .BYTES(8 * Words), .LATENCY(12), .STALL(20000), .BUSY(40000), .JITTER(20)) memory (
    .clk, .rst(axi_rst), .s_axi_arid(arid), .s_axi_araddr(araddr), .s_axi_arlen(arlen), .s_axi_arsize(arsize), .s_axi_arburst(arburst),
    .s_axi_arvalid(arvalid), .s_axi_arready(arready), .s_axi_rid(rid), .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rlast(rlast),
    .s_axi_rvalid(rvalid), .s_axi_rready(rready));

  initial begin
    {rst, axi_rst} = 2'b11;
    done = 1'b0;
    random = 32'd12345;
    {until_reset, resets, in_flight, bursts} = '0;
    for (int c = 0; c < Clients; c++) {served[c], waiting[c], came[c]} = '0;
  end

  always @(posedge clk) begin
    axi_rst <= 1'b0;
    random = next(random);
    for (int c = 0; c < Clients; c++) begin
      if (!rst && req_valid[c] && req_ready[c] && req_beats[c*16 +: 16] != '0) begin
        first[c][waiting[c]] = int'(req_addr[c*32 +: 32]) / 8;
        count[c][waiting[c]] = int'(req_beats[c*16 +: 16]);
        waiting[c] = waiting[c] + 1;
      end
      if (!rst && m_valid[c]) begin
        if (waiting[c] == 0) $fatal(1, "bench: client %0d got a beat, must have none after reset %0d", c, resets);
        if (m_data != content(first[c][0] + came[c]))
          $fatal(1, "bench: client %0d got %h, must be word %0d after reset %0d", c, m_data, first[c][0] + came[c], resets);
        came[c] = came[c] + 1;
        if (m_last != (came[c] == count[c][0]))
          $fatal(1, "bench: client %0d got m_last %b at beat %0d, must be at %0d", c, m_last, came[c], count[c][0]);
        if (m_last) begin
          for (int i = 0; i < 15; i++) begin
            first[c][i] = first[c][i+1];
            count[c][i] = count[c][i+1];
          end
          waiting[c] = waiting[c] - 1;
          came[c] = 0;
          served[c] = served[c] + 1;
        end
      end
      if (rst || !req_valid[c] || req_ready[c]) begin
        random = next(random);
        req_valid[c] <= random[0];
        req_addr[c*32 +: 32] <= 32'(random[18:8] % 11'd1900) * 8;
        req_beats[c*16 +: 16] <= 16'(random[25:20]) % 16'd40;
      end
      if (rst) {waiting[c], came[c]} = '0;
    end
    if (!rst && error) $fatal(1, "bench: got an error, must have none after reset %0d", resets);
    bursts = bursts + int'(arvalid && arready) - int'(rvalid && rlast);
    rst <= until_reset == 1;
    until_reset = until_reset - 1;
    if (until_reset <= 0) begin
      resets = resets + 1;
      in_flight = in_flight + int'(bursts > 1 || arvalid);
      random = next(random);
      until_reset = random[30] ? 2 + int'(random[4:0]) : 60 + int'(random[9:0]);
    end
    if (!done && served[0] + served[1] >= Requests) begin
      if (in_flight < 50 || served[0] < Requests / 3 || served[1] < Requests / 3)
        $fatal(1, "bench: got %0d resets with bursts in flight, %0d and %0d requests, must be many", in_flight, served[0], served[1]);
      done <= 1'b1;
    end
  end
endmodule
