// SPDX-License-Identifier: Apache-2.0
// A stand-in for a generated encoder: two branches of a fork, added; then the sum of each pair of channels
module encoder (
  input  wire logic        clk,
  input  wire logic        rst,
  input  wire logic [31:0] s_axis_tdata,
  input  wire logic        s_axis_tvalid,
  output logic             s_axis_tready,
  input  wire logic        s_axis_tlast,
  output logic [15:0]      m_axis_tdata,
  output logic             m_axis_tvalid,
  input  wire logic        m_axis_tready,
  output logic             m_axis_tlast,
  output logic [63:0]      identity
);
  assign identity = 64'h0123456789abcdef;

  logic embeddings_sum_valid, embeddings_sum_ready, embeddings_sum_last;
  logic [19:0] embeddings_sum_data;
  logic [1:0] branch_valid, branch_ready, branch_last;
  logic [39:0] branch_data;
  logic a_valid, a_ready, a_last, b_valid, b_ready, b_last;
  logic [19:0] a_data, b_data;
  logic pair_valid, pair_ready, pair_last;
  logic [21:0] pair_data;
  logic double_valid, double_ready, double_last;
  logic [21:0] double_data;
  logic logits_valid, logits_ready, logits_last;
  logic [11:0] logits_data;

  assign embeddings_sum_valid = s_axis_tvalid;
  assign embeddings_sum_data = {s_axis_tdata[16+:10], s_axis_tdata[0+:10]};
  assign embeddings_sum_last = s_axis_tlast;
  assign s_axis_tready = embeddings_sum_ready;

  stream_fork #(.N(2), .WIDTH(20)) split (.clk, .rst, .s_valid(embeddings_sum_valid), .s_ready(embeddings_sum_ready),
    .s_data(embeddings_sum_data), .s_last(embeddings_sum_last), .m_valid(branch_valid), .m_ready(branch_ready), .m_data(branch_data),
    .m_last(branch_last));
  fifo #(.WIDTH(20), .DEPTH(3)) fifo_a (.clk, .rst, .s_valid(branch_valid[0]), .s_ready(branch_ready[0]), .s_data(branch_data[19:0]),
    .s_last(branch_last[0]), .m_valid(a_valid), .m_ready(a_ready), .m_data(a_data), .m_last(a_last));
  fifo #(.WIDTH(20), .DEPTH(8)) fifo_b (.clk, .rst, .s_valid(branch_valid[1]), .s_ready(branch_ready[1]), .s_data(branch_data[39:20]),
    .s_last(branch_last[1]), .m_valid(b_valid), .m_ready(b_ready), .m_data(b_data), .m_last(b_last));

  assign pair_valid = a_valid && b_valid;
  assign pair_last = a_last && b_last;
  assign {a_ready, b_ready} = {2{pair_valid && pair_ready}};
  for (genvar i = 0; i < 2; i++) begin : g_lane
    assign pair_data[i*11+:11] = 11'($signed(a_data[i*10+:10])) + 11'($signed(b_data[i*10+:10]));
  end

  faulty #(.WIDTH(22), .FAULT_FILE("fault.hex")) stage (.clk, .rst, .s_valid(pair_valid), .s_ready(pair_ready), .s_data(pair_data),
    .s_last(pair_last), .m_valid(double_valid), .m_ready(double_ready), .m_data(double_data), .m_last(double_last));

  assign logits_valid = double_valid;
  assign logits_last = double_last;
  assign double_ready = logits_ready;
  assign logits_data = 12'($signed(double_data[10:0])) + 12'($signed(double_data[21:11]));
  fifo #(.WIDTH(16), .DEPTH(2)) fifo_output (.clk, .rst, .s_valid(logits_valid), .s_ready(logits_ready), .s_data(16'($signed(logits_data))),
    .s_last(logits_last), .m_valid(m_axis_tvalid), .m_ready(m_axis_tready), .m_data(m_axis_tdata), .m_last(m_axis_tlast));
endmodule
