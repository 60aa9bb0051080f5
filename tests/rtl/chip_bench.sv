// SPDX-License-Identifier: Apache-2.0
// bench: plays the commands of commands.hex to sdram_chip one a cycle: {oe, cke, dqm, ba, a, cs_n, ras_n, cas_n, we_n}
module bench (
  output logic done
);
  localparam int Lines = 400;

  logic clk, oe_up;
  logic [15:0] dq_up;
  logic [20:0] commands [0:Lines-1], now;
  int line;

  initial begin
    $readmemh("commands.hex", commands);
    done = 1'b0;
    line = 0;
    now = 21'h8000f;
    clk = 1'b0;
    forever #1 clk = !clk;
  end

  always_ff @(posedge clk) begin
    now <= commands[line];
    if (line == Lines - 1) done <= 1'b1;
    else line <= line + 1;
  end

  sdram_chip #(.CLOCK_MHZ(100), .ROW_W(11), .COL_W(8), .T_INIT(100), .T_MRD(5)) chip (
    .clk, .cke(now[19]), .cs_n(now[3]), .ras_n(now[2]), .cas_n(now[1]), .we_n(now[0]), .ba(now[16:15]), .a(now[14:4]), .dqm(now[18:17]),
    .dq_i(16'd1), .dq_oe_i(now[20]), .dq_o(dq_up), .dq_oe_o(oe_up));
endmodule
