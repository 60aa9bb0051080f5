// SPDX-License-Identifier: Apache-2.0
// bench_fill: counts the beats that a FIFO holds; the most there ever were, over all runs of a simulation, go to NAME.fill when it ends
module bench_fill #(
  parameter NAME = "fifo"
) (
  input wire logic clk,
  input wire logic rst,
  input wire logic push,
  input wire logic pop
);
  logic [31:0] held_q, most_q;
  integer file;

  initial most_q = 32'd0;

  always @(posedge clk) begin
    held_q <= rst ? 32'd0 : held_q + 32'(push) - 32'(pop);
    if (!rst && held_q > most_q) most_q <= held_q;
  end

  final begin
    file = $fopen({NAME, ".fill"}, "w");
    $fdisplay(file, "%0d", most_q);
    $fclose(file);
  end
endmodule
