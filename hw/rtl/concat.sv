// SPDX-License-Identifier: Apache-2.0
// concat: each token (or vector) of b_* behind that of a_*, y[i] = a[i], b[i]
// Golden : hw/ops/concat.py
// Stream : a_* tokens of A_BEATS beats, b_* of B_BEATS beats -> m_* tokens of both; last is that of b_* (a_* has it on the same token)
// Timing : latency 1, II 1; a beat of one input is taken at a time
// Layout : data passes as it is
// Reset  : rst drops what is in flight
module concat #(
  parameter int A_BEATS = 4,     // of a token of a_*
  parameter int B_BEATS = 4,     // of a token of b_*
  parameter int WIDTH = 8        // bits of a beat
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             a_valid,
  output      logic             a_ready,
  input  wire logic [WIDTH-1:0] a_data,
  input  wire logic             a_last,
  input  wire logic             b_valid,
  output      logic             b_ready,
  input  wire logic [WIDTH-1:0] b_data,
  input  wire logic             b_last,
  output      logic             m_valid,
  input  wire logic             m_ready,
  output      logic [WIDTH-1:0] m_data,
  output      logic             m_last
);
  localparam int Most = A_BEATS > B_BEATS ? A_BEATS : B_BEATS;
  localparam int BeatW = Most > 1 ? $clog2(Most) : 1;

  logic second_q;                // the beats of b_*
  logic [BeatW-1:0] beat_q;
  wire en = m_ready || !m_valid;
  wire take = en && (second_q ? b_valid : a_valid);
  wire part_end = beat_q == (second_q ? BeatW'(B_BEATS - 1) : BeatW'(A_BEATS - 1));

  assign a_ready = en && !second_q;
  assign b_ready = en && second_q;

  always_ff @(posedge clk) begin
    if (en) begin
      m_valid <= second_q ? b_valid : a_valid;
      m_data <= second_q ? b_data : a_data;
      m_last <= second_q && b_last;
    end
    if (take) begin
      beat_q <= part_end ? '0 : beat_q + 1'b1;
      if (part_end) second_q <= !second_q;
    end
    if (rst) begin
      m_valid <= 1'b0;
      beat_q <= '0;
      second_q <= 1'b0;
    end
  end

  // a_last is known from b_last; the port is there because every stream has it.
  wire unused = a_last;
endmodule
