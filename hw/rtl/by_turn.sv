// SPDX-License-Identifier: Apache-2.0
// by_turn: holds each sentence in front of the layers of a rolled encoder until the memories on the chip are loaded for its turn
// Golden : none, moves data only
// Stream : s_* -> m_*, at once while a sentence passes
// Method : of one sentence inside. The first beat of the next waits until the one before has left the layers (`left`: its last beat does), so nothing
//          looks at the memories any more; then image_loader.sv is asked for those of the turn, and says that they are loaded
// Timing : asks from the cycle behind `left` on, or in that of the first beat; opens in the cycle behind `loaded`
// Reset  : nothing inside, nothing loaded
module by_turn #(
  parameter int WIDTH = 8  // bits of a beat
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic [25:0]      bus,     // of loop.sv: {tokens 16, pass, turn 8, enter}
  input  wire logic             s_valid,
  output      logic             s_ready,
  input  wire logic [WIDTH-1:0] s_data,
  input  wire logic             s_last,
  output      logic             m_valid,
  input  wire logic             m_ready,
  output      logic [WIDTH-1:0] m_data,
  output      logic             m_last,
  input  wire logic             left,
  output      logic             ask,
  output      logic             ask_first,  // with `ask`: for turn 0, else for that behind the one before
  input  wire logic             loaded
);
  logic open_q, inside_q;

  assign ask = s_valid && !open_q && !inside_q;
  assign ask_first = bus[8:1] == '0;
  assign m_valid = s_valid && open_q;
  assign s_ready = m_ready && open_q;
  assign {m_last, m_data} = {s_last, s_data};
  wire unused = &{1'b0, bus};

  always_ff @(posedge clk) begin
    if (loaded) {open_q, inside_q} <= 2'b11;
    else begin
      if (s_valid && s_ready && s_last) open_q <= 1'b0;
      if (left) inside_q <= 1'b0;
    end
    if (rst) {open_q, inside_q} <= 2'b00;
  end
endmodule
