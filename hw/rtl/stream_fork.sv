// SPDX-License-Identifier: Apache-2.0
// stream_fork: one stream to N branches; every branch gets every beat
// Stream : s_* -> m_*; latency 0, II 1. A branch takes its beat as soon as it is ready, whatever the others do; the input
//          beat moves in the cycle in which the last branch takes it. A done bit a branch keeps a beat from being taken twice.
// Timing : s_ready depends on all m_ready; no m_valid depends on any m_ready, so no path leads from branch to branch
// Layout : branch i is m_valid[i], m_ready[i], m_last[i], m_data[i*WIDTH +: WIDTH]
// Reset  : forgets which branches have taken the present beat
module stream_fork #(
  parameter int N = 2,       // branches
  parameter int WIDTH = 8    // bits of data
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               s_valid,
  output logic                    s_ready,
  input  wire logic [WIDTH-1:0]   s_data,
  input  wire logic               s_last,
  output logic [N-1:0]            m_valid,
  input  wire logic [N-1:0]       m_ready,
  output logic [N*WIDTH-1:0]      m_data,
  output logic [N-1:0]            m_last
);
  logic [N-1:0] done_q;

  assign m_valid = {N{s_valid}} & ~done_q;
  assign m_data = {N{s_data}};
  assign m_last = {N{s_last}};
  assign s_ready = &(m_ready | done_q);

  always_ff @(posedge clk) begin
    if (rst || s_ready) done_q <= '0;
    else done_q <= done_q | (m_valid & m_ready);
  end
endmodule
