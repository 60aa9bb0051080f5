// SPDX-License-Identifier: Apache-2.0
// bench_memory: external memory behind an encoder's port, with the image of its weights; what the encoder tells of its errors ends the simulation
// Memory : axi_memory NAME, whose settings are plusargs
// Error  : the first one is written to NAME.fault as "<cycle> <what>" and raises `fault`
module bench_memory #(
  parameter NAME = "weights",
  parameter IMAGE = "weights.bin",
  parameter int DATA_W = 128,
  parameter int BYTES = 4096
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [30:0]       cycle,
  input  wire logic              error,
  input  wire logic [3:0]        error_code,
  input  wire logic [31:0]       error_address,
  output      logic              fault,
  input  wire logic              s_axi_arid,
  input  wire logic [31:0]       s_axi_araddr,
  input  wire logic [7:0]        s_axi_arlen,
  input  wire logic [2:0]        s_axi_arsize,
  input  wire logic [1:0]        s_axi_arburst,
  input  wire logic              s_axi_arvalid,
  output      logic              s_axi_arready,
  output      logic              s_axi_rid,
  output      logic [DATA_W-1:0] s_axi_rdata,
  output      logic [1:0]        s_axi_rresp,
  output      logic              s_axi_rlast,
  output      logic              s_axi_rvalid,
  input  wire logic              s_axi_rready
);
  integer report;

  axi_memory #(.NAME(NAME), .IMAGE(IMAGE), .DATA_W(DATA_W), .BYTES(BYTES)) u_memory (
    .clk, .rst, .s_axi_arid, .s_axi_araddr, .s_axi_arlen, .s_axi_arsize, .s_axi_arburst, .s_axi_arvalid, .s_axi_arready,
    .s_axi_rid, .s_axi_rdata, .s_axi_rresp, .s_axi_rlast, .s_axi_rvalid, .s_axi_rready);

  initial fault = 1'b0;
  always @(posedge clk) begin
    if (!rst && error && !fault) begin
      report = $fopen({NAME, ".fault"}, "w");
      $fdisplay(report, "%0d external memory: error %0d in the burst at byte %0d (1 to 3: its response, 4 to 7: its order, 8: no image for this hardware; docs/architecture.md)", cycle, error_code, error_address);
      $fclose(report);
      fault <= 1'b1;
    end
  end
endmodule
