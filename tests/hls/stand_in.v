// SPDX-License-Identifier: Apache-2.0
// Stands in for the Verilog of Vitis HLS: the ports of a free-running top with two AXI4-Streams, in the tool's style, around an encoder of
// this project's RTL (module encoder_core), so that there is something to compare. Widths are filled in by tests/hls/test_rtl.py.
// fault.dat: {kind, output beat}; kind 0 none, 1 bit 2 of the data flips, 2 no TLAST, 3 the beat never comes
`timescale 1 ns / 1 ps

(* CORE_GENERATION_INFO="encoder_encoder,hls_ip_2024_2,{HLS_INPUT_TYPE=cxx,HLS_INPUT_ARCH=dataflow,HLS_SYN_LAT=-1}" *)

module encoder (
        s_axis_TDATA,
        s_axis_TKEEP,
        s_axis_TSTRB,
        s_axis_TLAST,
        m_axis_TDATA,
        m_axis_TKEEP,
        m_axis_TSTRB,
        m_axis_TLAST,
        ap_clk,
        ap_rst_n,
        s_axis_TVALID,
        s_axis_TREADY,
        m_axis_TVALID,
        m_axis_TREADY
);

input  [IN_MSB:0] s_axis_TDATA;
input  [IN_KEEP_MSB:0] s_axis_TKEEP;
input  [IN_KEEP_MSB:0] s_axis_TSTRB;
input  [0:0] s_axis_TLAST;
output  [OUT_MSB:0] m_axis_TDATA;
output  [OUT_KEEP_MSB:0] m_axis_TKEEP;
output  [OUT_KEEP_MSB:0] m_axis_TSTRB;
output  [0:0] m_axis_TLAST;
input   ap_clk;
input   ap_rst_n;
input   s_axis_TVALID;
output   s_axis_TREADY;
output   m_axis_TVALID;
input   m_axis_TREADY;

 reg    ap_rst_n_inv;
reg   [31:0] bit;    // beats that left; a word of SystemVerilog, not of Verilog
wire   [OUT_MSB:0] core_data;
wire    core_valid;
wire    core_last;
wire    hit;
reg   [15:0] fault [0:1];

// power-on initialization
initial begin
#0 bit = 32'd0;
$readmemh("./fault.dat", fault);
end

encoder_core core_U0(
    .clk(ap_clk),
    .rst(ap_rst_n_inv),
    .s_axis_tdata(s_axis_TDATA),
    .s_axis_tvalid(s_axis_TVALID & (&s_axis_TKEEP) & (&s_axis_TSTRB)),
    .s_axis_tready(s_axis_TREADY),
    .s_axis_tlast(s_axis_TLAST[0]),
    .m_axis_tdata(core_data),
    .m_axis_tvalid(core_valid),
    .m_axis_tready(m_axis_TREADY & ~(hit & fault[0] == 16'd3)),
    .m_axis_tlast(core_last),
    .identity()
);

always @ (*) begin
    ap_rst_n_inv = ~ap_rst_n;
end

always @ (posedge ap_clk) begin
    if (ap_rst_n_inv == 1'b1) begin
        bit <= 32'd0;
    end else if (m_axis_TVALID & m_axis_TREADY) begin
        bit <= bit + 32'd1;
    end
end

assign hit = bit == {16'd0, fault[1]};
assign m_axis_TDATA = core_data ^ {{(OUT_MSB - 2){1'b0}}, hit & fault[0] == 16'd1, 2'b00};
assign m_axis_TVALID = core_valid & ~(hit & fault[0] == 16'd3);
assign m_axis_TLAST = core_last & ~(hit & fault[0] == 16'd2);
assign m_axis_TKEEP = {(OUT_KEEP_MSB + 1){1'b1}};
assign m_axis_TSTRB = {(OUT_KEEP_MSB + 1){1'b1}};

endmodule //encoder
