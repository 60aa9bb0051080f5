// SPDX-License-Identifier: Apache-2.0
// uart_tx: bytes to a serial line, 8 data bits, lowest first, no parity, 1 stop bit
// Stream : s_*; a byte takes 10 * DIV cycles
// Reset  : the line rests
module uart_tx #(
  parameter int DIV = 8  // cycles per bit
) (
  input  wire logic       clk,
  input  wire logic       rst,
  input  wire logic       s_valid,
  output logic            s_ready,
  input  wire logic [7:0] s_data,
  output logic            tx
);
  localparam int CountW = $clog2(DIV);

  logic [8:0] shift_q;  // what follows the bit on the line
  logic [3:0] left_q;   // bits to go, the one on the line included
  logic [CountW-1:0] count_q;

  assign s_ready = left_q == '0;

  always_ff @(posedge clk) begin
    if (s_ready) begin
      count_q <= CountW'(DIV - 1);
      if (s_valid) begin
        tx <= 1'b0;
        shift_q <= {1'b1, s_data};
        left_q <= 4'd10;
      end
    end else if (count_q != '0) begin
      count_q <= count_q - 1'b1;
    end else begin
      count_q <= CountW'(DIV - 1);
      {shift_q, tx} <= {1'b1, shift_q};
      left_q <= left_q - 1'b1;
    end
    if (rst) begin
      tx <= 1'b1;
      left_q <= '0;
    end
  end
endmodule
