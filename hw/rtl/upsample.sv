// SPDX-License-Identifier: Apache-2.0
// upsample: y[i] = clip((a[i]*MULT_A + b[i / STRIDE]*MULT_B + half) >>> SHIFT), OUT_W bits signed, half = 2**SHIFT / 2: a residual sum whose second
//           addend has a token for each STRIDE of the first one's
// Golden : hw/ops/upsample.py (bit-exact; ties towards +inf)
// Stream : a_* tokens of BEATS beats, b_* of each STRIDE of them (the sentence's last may be fewer) one of BEATS beats -> m_*, as many as a_*; a beat of b_* is
//          taken with that of the first of them; last is that of a_* (b_* has it where it has it)
// Timing : latency 2, II 1 (that of add)
// Layout : lane i = data[i*W +: W]
// Memory : a token of b_*
// Reset  : rst drops what is in flight
module upsample #(
  parameter int STRIDE = 2,     // tokens of a for one of b, at least 2
  parameter int LANES = 1,      // elements a beat
  parameter int BEATS = 4,      // of a token
  parameter int A_W = 8,        // bits of a code of a
  parameter int B_W = 8,        // bits of a code of b
  parameter bit A_SIGNED = 1,
  parameter bit B_SIGNED = 1,
  parameter int OUT_W = 10,     // bits of a code of y
  parameter int MULT_A = 1,     // >= 1
  parameter int MULT_B = 1,     // >= 1
  parameter int SHIFT = 0       // >= 0
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic                   a_valid,
  output      logic                   a_ready,
  input  wire logic [LANES*A_W-1:0]   a_data,
  input  wire logic                   a_last,
  input  wire logic                   b_valid,
  output      logic                   b_ready,
  input  wire logic [LANES*B_W-1:0]   b_data,
  input  wire logic                   b_last,
  output      logic                   m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0] m_data,
  output      logic                   m_last
);
  localparam int PhaseW = $clog2(STRIDE);
  localparam int BeatW = BEATS > 1 ? $clog2(BEATS) : 1;

  logic [PhaseW-1:0] phase_q;      // among STRIDE tokens of a
  logic [BeatW-1:0] beat_q;
  logic [LANES*B_W-1:0] word_q;    // of the token of b that is held: the beat that comes
  wire first = phase_q == '0;
  wire ready;
  wire move = a_valid && a_ready;
  wire token_end = beat_q == BeatW'(BEATS - 1);

  assign b_ready = ready && first;

  add #(.LANES(LANES), .A_W(A_W), .B_W(B_W), .A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .OUT_W(OUT_W), .MULT_A(MULT_A), .MULT_B(MULT_B), .SHIFT(SHIFT)) u_add (
    .clk, .rst, .bus('0), .load('0), .a_valid, .a_ready, .a_data, .a_last,
    .b_valid(b_valid || !first), .b_ready(ready), .b_data(first ? b_data : word_q), .b_last, .m_valid, .m_ready, .m_data, .m_last);

  always_ff @(posedge clk) begin
    if (move) begin
      beat_q <= token_end ? '0 : beat_q + 1'b1;
      if (token_end) phase_q <= a_last || phase_q == PhaseW'(STRIDE - 1) ? '0 : phase_q + 1'b1;
    end
    if (rst) begin
      beat_q <= '0;
      phase_q <= '0;
    end
  end

  if (BEATS == 1) begin : g_word
    always_ff @(posedge clk) if (move && first) word_q <= b_data;
  end else begin : g_words
    logic [LANES*B_W-1:0] ram [0:BEATS-1];
    always_ff @(posedge clk) if (move && first) ram[beat_q] <= b_data;
    always_ff @(posedge clk) if (move) word_q <= ram[token_end ? '0 : beat_q + 1'b1];
  end

  initial begin
    if (STRIDE < 2 || BEATS < 1) $fatal(1, "upsample: got STRIDE %0d, BEATS %0d, must be at least 2, 1", STRIDE, BEATS);
  end
endmodule
