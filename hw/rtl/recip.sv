// SPDX-License-Identifier: Apache-2.0
// recip: r = floor(2**K / s) for s >= 2**S_MIN_LOG2, by restoring division, one quotient bit a cycle
// Stream : s_* -> m_*, one number a beat, no last; the result is held until it is taken
// Timing : latency R_W + 1, interval R_W + 1
// Reset  : rst drops what is in flight
module recip #(
  parameter int K = 24,                   // 2**K is divided
  parameter int S_W = 17,                 // bits of s, unsigned
  parameter int S_MIN_LOG2 = 10,          // s >= 2**S_MIN_LOG2; <= K
  localparam int R_W = K - S_MIN_LOG2 + 1
) (
  input  wire logic           clk,
  input  wire logic           rst,
  input  wire logic           s_valid,
  output      logic           s_ready,
  input  wire logic [S_W-1:0] s_data,
  output      logic           m_valid,
  input  wire logic           m_ready,
  output      logic [R_W-1:0] m_data
);
  localparam int LeftW = $clog2(R_W + 1);

  logic [LeftW-1:0] left_q;   // quotient bits to come
  logic [S_W-1:0] divisor_q;
  logic [S_W:0] rem_q;        // twice the remainder, below 2*s
  logic [S_W:0] rest;
  logic fits;

  assign s_ready = left_q == '0 && (!m_valid || m_ready);
  assign fits = rem_q >= {1'b0, divisor_q};
  assign rest = fits ? rem_q - {1'b0, divisor_q} : rem_q;

  always_ff @(posedge clk) begin
    if (m_ready) m_valid <= 1'b0;
    if (left_q != '0) begin
      left_q <= left_q - LeftW'(1);
      rem_q <= rest << 1;     // below the leading 1 the dividend has only zeros
      m_data <= R_W'({m_data, fits});
      if (left_q == LeftW'(1)) m_valid <= 1'b1;
    end else if (s_valid && s_ready) begin
      left_q <= LeftW'(R_W);
      divisor_q <= s_data;
      // The quotient has no bits above R_W: begin with the dividend's leading 1 at the place of s's smallest leading 1.
      rem_q <= (S_W + 1)'(1) << S_MIN_LOG2;
    end
    if (rst) begin
      left_q <= '0;
      m_valid <= 1'b0;
    end
  end
endmodule
