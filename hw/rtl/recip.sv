// SPDX-License-Identifier: Apache-2.0
// recip: r = floor(2**K / s) for s >= 2**S_MIN_LOG2, by division without restoring, one quotient bit a cycle
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

  logic busy_q;
  logic [LeftW-1:0] left_q;   // quotient bits to come
  logic [S_W-1:0] divisor_q;
  logic [S_W:0] trial_q;      // the remainder less the divisor; negative: that is added again with the next bit's subtraction
  wire fits = !trial_q[S_W];
  wire less = !busy_q || fits;
  // The quotient has no bits above R_W: begin with the dividend's leading 1 at the place of s's smallest leading 1. Below it are zeros only.
  wire [S_W:0] from = busy_q ? trial_q << 1 : (S_W + 1)'(1) << S_MIN_LOG2;
  wire [S_W:0] by = {1'b0, busy_q ? divisor_q : s_data};

  assign s_ready = !busy_q && (!m_valid || m_ready);

  always_ff @(posedge clk) begin
    trial_q <= from + (by ^ {(S_W + 1){less}}) + (S_W + 1)'(less);
    if (!busy_q) divisor_q <= s_data;
    if (m_ready) m_valid <= 1'b0;
    if (busy_q) begin
      left_q <= left_q - 1'b1;
      m_data <= R_W'({m_data, fits});
      if (left_q == LeftW'(1)) begin
        busy_q <= 1'b0;
        m_valid <= 1'b1;
      end
    end else begin
      left_q <= LeftW'(R_W);
      busy_q <= s_valid && s_ready;
    end
    if (rst) begin
      busy_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end
endmodule
