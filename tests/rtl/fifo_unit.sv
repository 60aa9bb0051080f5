// SPDX-License-Identifier: Apache-2.0
// fifo_unit: a fifo beside the plainest one there is; stops the simulation unless they agree in every cycle
module fifo_unit #(
  parameter int WIDTH = 8,
  parameter int DEPTH = 2,
  parameter RAM_STYLE = "auto"
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
  fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH), .RAM_STYLE(RAM_STYLE)) dut (.clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid, .m_ready, .m_data, .m_last);

  logic [WIDTH:0] mem [0:DEPTH-1];
  int write_q, read_q, count_q;
  logic started_q;  // out of reset, where a fifo is not yet ready

  always_ff @(posedge clk) begin
    if (s_valid && s_ready) begin
      mem[write_q] <= {s_last, s_data};
      write_q <= (write_q + 1) % DEPTH;
    end
    if (m_valid && m_ready) read_q <= (read_q + 1) % DEPTH;
    count_q <= count_q + 32'(s_valid && s_ready) - 32'(m_valid && m_ready);
    started_q <= !rst;
    if (rst) begin
      write_q <= 0;
      read_q <= 0;
      count_q <= 0;
    end else if (started_q) begin
      if (m_valid != (count_q > 0)) $fatal(1, "fifo_unit: m_valid is %0d with %0d beats held", m_valid, count_q);
      if (m_valid && {m_last, m_data} != mem[read_q]) $fatal(1, "fifo_unit: wrong beat at m with %0d beats held", count_q);
    end
  end
endmodule
