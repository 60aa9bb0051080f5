// SPDX-License-Identifier: Apache-2.0
// bench_sink: `ready` of a stream's reader; not ready in `stall` of 65536 cycles (0: always ready)
module bench_sink #(
  parameter logic [31:0] SALT = 32'd1   // makes the gaps of each sink its own
) (
  input  wire logic        clk,
  input  wire logic        rst,
  input  wire logic [15:0] stall,
  input  wire logic [31:0] seed,
  output logic             ready
);
  logic [31:0] random_q;

  // xorshift32 (Marsaglia 2003)
  function automatic logic [31:0] next(input logic [31:0] x);
    logic [31:0] y;
    y = x ^ (x << 13);
    y = y ^ (y >> 17);
    next = y ^ (y << 5);
  endfunction

  // The same gaps after every reset
  wire [31:0] random = rst ? ((seed * 32'd2654435761) ^ (SALT * 32'd40503)) | 32'd1 : random_q;

  always_ff @(posedge clk) begin
    random_q <= next(random);
    ready <= random[23:8] >= stall || stall == 16'd0;
  end
endmodule
