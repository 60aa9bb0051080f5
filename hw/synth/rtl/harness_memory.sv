// SPDX-License-Identifier: Apache-2.0
// harness_memory: as harness (see there), of an encoder with its weights in external memory. Not a design to use.
// Input  : behind a beat's bits, what the memory says (arready, rid, rdata, rresp, rlast, rvalid) and where the image lies
// Output : the parity of all outputs, registered: the read port's and what the encoder tells of its weights, too
module harness_memory #(
  parameter int IN_W = 8,         // bits of s_axis_tdata
  parameter int OUT_W = 16,       // bits of m_axis_tdata
  parameter int MEMORY_BITS = 64  // of a beat of the weights' memory
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic d,
  output logic      q
);
  localparam int SaidW = MEMORY_BITS + 26;
  localparam int AskedW = 157;

  logic [SaidW+IN_W+2:0] shift_q;
  logic [AskedW+OUT_W+2:0] out_q;
  logic [SaidW-1:0] said;
  logic [AskedW-1:0] asked;
  logic [OUT_W-1:0] data;
  logic rst_q, ready, valid, last;
  logic [63:0] identity;

  assign said = shift_q[SaidW+IN_W+2:IN_W+3];

  encoder u_encoder (.clk, .rst(rst_q), .s_axis_tdata(shift_q[IN_W+2:3]), .s_axis_tvalid(shift_q[0]), .s_axis_tready(ready), .s_axis_tlast(shift_q[2]),
    .m_axis_tdata(data), .m_axis_tvalid(valid), .m_axis_tready(shift_q[1]), .m_axis_tlast(last), .identity(identity),
    .axi_rst(rst_q), .weights_base({said[25:6], 12'b0}), .weights_ready(asked[0]), .weights_hash(asked[64:1]), .memory_error(asked[65]),
    .memory_error_code(asked[69:66]), .memory_error_address(asked[101:70]), .m_axi_arid(asked[102]), .m_axi_araddr(asked[134:103]),
    .m_axi_arlen(asked[142:135]), .m_axi_arsize(asked[145:143]), .m_axi_arburst(asked[147:146]), .m_axi_arcache(asked[151:148]),
    .m_axi_arprot(asked[154:152]), .m_axi_arvalid(asked[155]), .m_axi_rready(asked[156]), .m_axi_arready(said[0]), .m_axi_rid(said[1]),
    .m_axi_rresp(said[3:2]), .m_axi_rlast(said[4]), .m_axi_rvalid(said[5]), .m_axi_rdata(said[26 +: MEMORY_BITS]));

  always_ff @(posedge clk) begin
    rst_q <= rst;
    shift_q <= {shift_q[SaidW+IN_W+1:0], d};
    out_q <= {asked, data, valid, last, ready};
    q <= ^out_q;
  end

  wire unused = ^identity;  // constant
endmodule
