// SPDX-License-Identifier: Apache-2.0
// bench_source: plays the file NAME.in into a stream, with random gaps in `valid`; from the beginning after every reset
// File  : a record a beat, (WIDTH + 8) / 8 bytes, most significant first: zeros, last, data
// Stream: once valid, a beat stays until it moves; `stall` of 65536 cycles offer nothing (0: never a gap)
module bench_source #(
  parameter int WIDTH = 8,          // bits of data
  parameter NAME = "source",
  parameter logic [31:0] SALT = 32'd1   // makes the gaps of each source its own
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [15:0]       stall,
  input  wire logic [31:0]       seed,
  output logic                   valid,
  input  wire logic              ready,
  output logic [WIDTH-1:0]       data,
  output logic                   last
);
  localparam int Bytes = (WIDTH + 8) / 8;

  logic [8*Bytes-1:0] record;
  logic [31:0] random_q;
  logic ended_q;
  integer file;

  // xorshift32 (Marsaglia 2003)
  function automatic logic [31:0] next(input logic [31:0] x);
    logic [31:0] y;
    y = x ^ (x << 13);
    y = y ^ (y >> 17);
    next = y ^ (y << 5);
  endfunction

  initial file = $fopen({NAME, ".in"}, "rb");

  // Blocking: the record must be there in the same step. Only this block reads it.
  always @(posedge clk) begin
    if (rst) begin
      random_q <= ((seed * 32'd2654435761) ^ (SALT * 32'd40503)) | 32'd1;
      ended_q <= 1'b0;
      valid <= 1'b0;
      void'($rewind(file));
    end else begin
      random_q <= next(random_q);
      if (!valid || ready) begin
        valid <= 1'b0;
        if (!ended_q && random_q[23:8] >= stall) begin
          if ($fread(record, file) == Bytes) begin
            valid <= 1'b1;
            data <= record[WIDTH-1:0];
            last <= record[WIDTH];
          end else ended_q <= 1'b1;
        end
      end
    end
  end
endmodule
