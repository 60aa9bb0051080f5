// SPDX-License-Identifier: Apache-2.0
// isqrt: s = floor(sqrt(v)), digit by digit, one root bit a cycle
// Stream : s_* -> m_*, one number a beat, no last; the result is held until it is taken
// Timing : latency S_W + 1, interval S_W + 1
// Reset  : rst drops what is in flight
module isqrt #(
  parameter int V_W = 32,                 // bits of v, unsigned
  localparam int S_W = (V_W + 1) / 2      // bits of s
) (
  input  wire logic           clk,
  input  wire logic           rst,
  input  wire logic           s_valid,
  output      logic           s_ready,
  input  wire logic [V_W-1:0] s_data,
  output      logic           m_valid,
  input  wire logic           m_ready,
  output      logic [S_W-1:0] m_data
);
  localparam int LeftW = $clog2(S_W + 1);

  logic busy_q;
  logic [LeftW-1:0] left_q;   // root bits to come
  logic [2*S_W-1:0] value_q;  // the next two bits highest
  logic [S_W:0] rem_q;        // at most twice the root
  logic [S_W+2:0] rem, trial;
  logic [S_W:0] rest;
  logic fits;

  assign s_ready = !busy_q && (!m_valid || m_ready);
  assign rem = {rem_q, value_q[2*S_W-1 -: 2]};
  assign trial = {1'b0, m_data, 2'b01};
  assign fits = rem >= trial;
  assign rest = (S_W+1)'(fits ? rem - trial : rem);

  always_ff @(posedge clk) begin
    if (m_ready) m_valid <= 1'b0;
    if (busy_q) begin
      left_q <= left_q - LeftW'(1);
      value_q <= value_q << 2;
      rem_q <= rest;
      m_data <= S_W'({m_data, fits});
      if (left_q == LeftW'(1)) begin
        busy_q <= 1'b0;
        m_valid <= 1'b1;
      end
    end else if (s_valid && s_ready) begin
      busy_q <= 1'b1;
      left_q <= LeftW'(S_W);
      value_q <= (2*S_W)'(s_data);
      rem_q <= '0;
      m_data <= '0;
    end
    if (rst) begin
      busy_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end
endmodule
