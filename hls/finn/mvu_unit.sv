// SPDX-License-Identifier: Apache-2.0
// mvu_unit: FINN's matrix-vector unit (mvu_vvu_axi of finn-rtllib, not part of this repository) on this project's streams
// Formula: y[c] = sum_k w[c][k] x[k], c < MH, k < MW; ACC_W bits signed, no bias
// Golden : hw/ops/linear.py with a bias of 0
// Stream : s_* (SIMD inputs a beat, MW/SIMD beats a vector) -> m_* (PE outputs a beat, MH/PE beats a vector); m_last on a vector's last beat
// Weights: ROM word a = fold*(MW/SIMD)+step holds PE x SIMD weights, row pe at bit (pe*SIMD+simd)*WEIGHT_W, as in hw/rtl/linear.sv; read in a circle
module mvu_unit #(
  parameter int MW = 4,             // inputs
  parameter int MH = 4,             // outputs
  parameter int PE = 1,             // outputs at a time, divides MH
  parameter int SIMD = 1,           // inputs a cycle, divides MW
  parameter int ACT_W = 8,          // bits per input
  parameter int ACT_SIGNED = 1,     // 0/1
  parameter int WEIGHT_W = 4,       // bits per weight, signed
  parameter int ACC_W = 24,         // bits per output
  parameter int NARROW = 1,         // 1: no weight is -2**(WEIGHT_W-1)
  parameter int VERSION = 3,        // DSP block: 1 DSP48E1, 2 DSP48E2, 3 DSP58
  parameter WEIGHT_FILE = ""
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic s_valid,
  output logic s_ready,
  input  wire logic [SIMD*ACT_W-1:0] s_data,
  input  wire logic s_last,
  output logic m_valid,
  input  wire logic m_ready,
  output logic [PE*ACC_W-1:0] m_data,
  output logic m_last
);
  localparam int DEPTH = (MW / SIMD) * (MH / PE);
  localparam int BEATS = MH / PE;
  localparam int WORD = PE * SIMD * WEIGHT_W;

  logic [WORD-1:0] rom [0:DEPTH-1];
  initial if (WEIGHT_FILE != "") $readmemh(WEIGHT_FILE, rom);

  // The weight stream: a word whenever FINN's unit takes one, from the start again after the last.
  int word_q;
  logic weights_ready;
  always_ff @(posedge clk) begin
    if (rst) word_q <= 0;
    else if (weights_ready) word_q <= (word_q == DEPTH - 1) ? 0 : word_q + 1;
  end

  int beat_q;
  always_ff @(posedge clk) begin
    if (rst) beat_q <= 0;
    else if (m_valid && m_ready) beat_q <= m_last ? 0 : beat_q + 1;
  end
  assign m_last = beat_q == BEATS - 1;

  // FINN pads its streams to whole bytes.
  logic [(PE*ACC_W+7)/8*8-1:0] padded;
  assign m_data = padded[PE*ACC_W-1:0];

  mvu_vvu_axi #(
    .IS_MVU(1), .VERSION(VERSION), .MW(MW), .MH(MH), .PE(PE), .SIMD(SIMD), .SEGMENTLEN(1),
    .ACTIVATION_WIDTH(ACT_W), .WEIGHT_WIDTH(WEIGHT_W), .ACCU_WIDTH(ACC_W), .NARROW_WEIGHTS(NARROW != 0), .SIGNED_ACTIVATIONS(ACT_SIGNED != 0),
    .PUMPED_COMPUTE(0), .FORCE_BEHAVIORAL(1)
  ) unit (
    .ap_clk(clk), .ap_clk2x(1'b0), .ap_rst_n(!rst),
    .s_axis_weights_tdata(((WORD + 7) / 8 * 8)'(rom[word_q])), .s_axis_weights_tvalid(1'b1), .s_axis_weights_tready(weights_ready),
    .s_axis_input_tdata(((SIMD*ACT_W + 7) / 8 * 8)'(s_data)), .s_axis_input_tvalid(s_valid), .s_axis_input_tready(s_ready),
    .m_axis_output_tdata(padded), .m_axis_output_tvalid(m_valid), .m_axis_output_tready(m_ready)
  );

  wire logic unused = &{1'b0, s_last};
endmodule
