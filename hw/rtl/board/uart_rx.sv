// SPDX-License-Identifier: Apache-2.0
// uart_rx: bytes from a serial line, 8 data bits, lowest first, no parity, 1 stop bit
// Stream : `valid` for one cycle with each byte, nobody can make it wait; the next comes at least 9.5 * DIV cycles later
// Timing : samples the middle of each bit; a byte without its stop bit is dropped
// Reset  : forgets the byte that is coming
module uart_rx #(
  parameter int DIV = 8  // cycles per bit, at least 4
) (
  input  wire logic  clk,
  input  wire logic  rst,
  input  wire logic  rx,
  output logic       valid,
  output logic [7:0] data
);
  localparam int CountW = $clog2(DIV);
  localparam int StopBit = 9;  // bit 0 is the start bit

  logic [1:0] sync_q;  // against metastability
  logic line;
  logic busy_q, skip_q;  // skip: the stop bit was missing, wait for the line to rest
  logic [3:0] bit_q;
  logic [CountW-1:0] count_q;  // cycles to the next sample

  initial if (DIV < 4) $fatal(1, "uart_rx: got DIV %0d, must be at least 4; take a lower baud rate or a faster clock", DIV);

  assign line = sync_q[1];

  always_ff @(posedge clk) begin
    sync_q <= {sync_q[0], rx};
    valid <= 1'b0;
    if (!busy_q) begin
      if (line) skip_q <= 1'b0;
      busy_q <= !line && !skip_q;
      bit_q <= '0;
      count_q <= CountW'(DIV / 2 - 1);
    end else if (count_q != '0) begin
      count_q <= count_q - 1'b1;
    end else begin
      count_q <= CountW'(DIV - 1);
      bit_q <= bit_q + 1'b1;
      if (bit_q == '0) begin
        busy_q <= !line;  // a spike is no start bit
      end else if (bit_q == 4'(StopBit)) begin
        busy_q <= 1'b0;
        valid <= line;
        skip_q <= !line;
      end else begin
        data <= {line, data[7:1]};
      end
    end
    if (rst) begin
      sync_q <= '1;
      busy_q <= 1'b0;
      skip_q <= 1'b0;
      valid <= 1'b0;
    end
  end
endmodule
