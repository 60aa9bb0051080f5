// SPDX-License-Identifier: Apache-2.0
// fifo: first in, first out, DEPTH beats
// Stream : s_* -> m_*; latency 1 (a beat taken in cycle t is offered in cycle t+1), II 1 at any DEPTH >= 2
// Timing : s_ready and m_valid are registers: no combinational path from m_ready to s_ready or from s_valid to m_valid
// Layout : {last, data} is one word; m_data is read from the memory by address (LUT RAM)
// Reset  : empties it
module fifo #(
  parameter int WIDTH = 8,   // bits of data
  parameter int DEPTH = 2    // beats, any integer >= 2
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             s_valid,
  output logic                  s_ready,
  input  wire logic [WIDTH-1:0] s_data,
  input  wire logic             s_last,
  output logic                  m_valid,
  input  wire logic             m_ready,
  output logic [WIDTH-1:0]      m_data,
  output logic                  m_last
);
  localparam int AddrW = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam int CountW = $clog2(DEPTH + 1);
  localparam logic [AddrW-1:0] LastAddr = AddrW'(DEPTH - 1);

  logic [WIDTH:0] mem [0:DEPTH-1];
  logic [AddrW-1:0] write_q, read_q;
  logic [CountW-1:0] count_q, count_d;
  logic push, pop;

  initial if (DEPTH < 2) $fatal(1, "fifo: DEPTH must be at least 2");

  assign push = s_valid && s_ready;
  assign pop = m_valid && m_ready;
  assign {m_last, m_data} = mem[read_q];

  always_comb begin
    count_d = count_q;
    if (push && !pop) count_d = count_q + 1'b1;
    if (pop && !push) count_d = count_q - 1'b1;
  end

  always_ff @(posedge clk) begin
    if (push) mem[write_q] <= {s_last, s_data};
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      write_q <= '0;
      read_q <= '0;
      count_q <= '0;
      s_ready <= 1'b0;
      m_valid <= 1'b0;
    end else begin
      if (push) write_q <= write_q == LastAddr ? '0 : write_q + 1'b1;
      if (pop) read_q <= read_q == LastAddr ? '0 : read_q + 1'b1;
      count_q <= count_d;
      s_ready <= count_d != CountW'(DEPTH);
      m_valid <= count_d != '0;
    end
  end
endmodule
