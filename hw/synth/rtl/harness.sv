// SPDX-License-Identifier: Apache-2.0
// harness: the encoder behind four pins, to measure it on an FPGA with too few pins for its streams. Not a design to use.
// Input  : bits are shifted in at `d`, first {valid, ready, last} then the data; nothing is constant, so nothing is optimised away
// Output : `q` is the parity of all outputs, registered
// Timing : every port of the encoder starts or ends at a register here, so that the routed frequency is the encoder's own
module harness #(
  parameter int IN_W = 8,   // bits of s_axis_tdata
  parameter int OUT_W = 16  // bits of m_axis_tdata
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic d,
  output logic      q
);
  logic [IN_W+2:0] shift_q;
  logic [OUT_W+2:0] out_q;
  logic [OUT_W-1:0] data;
  logic rst_q, ready, valid, last;
  logic [63:0] identity;

  encoder u_encoder (.clk, .rst(rst_q), .s_axis_tdata(shift_q[IN_W+2:3]), .s_axis_tvalid(shift_q[0]), .s_axis_tready(ready), .s_axis_tlast(shift_q[2]),
    .m_axis_tdata(data), .m_axis_tvalid(valid), .m_axis_tready(shift_q[1]), .m_axis_tlast(last), .identity(identity));

  always_ff @(posedge clk) begin
    rst_q <= rst;
    shift_q <= {shift_q[IN_W+1:0], d};
    out_q <= {data, valid, last, ready};
    q <= ^out_q;
  end

  wire unused = ^identity;  // constant
endmodule
