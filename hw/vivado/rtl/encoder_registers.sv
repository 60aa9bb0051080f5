// SPDX-License-Identifier: Apache-2.0
// encoder_registers: the AXI4-Lite register file beside an encoder, 32 bits each; (w) can be written, others are read-only
// Map    : byte address -> register (the same map: boards/pynq_driver/registers.py)
//          0x00 magic "BLM1" (0x424c4d31)          0x04 version of this map, 2
//          0x08 identity[31:0]                     0x0c identity[63:32]
//          0x10 sentences done                     0x14 cycles of the latest: first beat in to last beat out
//          0x18 cycles waited for input            0x1c cycles waited for the output to be taken
//          0x20 bytes of a beat: input [15:0], output [31:16]
//          0x24 (w) weights' image in memory, a multiple of 4096; to be changed only while the encoder is held
//          0x28 (w) bit 0: 1 lets the encoder work, 0 holds it in reset. 0 after reset; without memory always 1
//          0x2c bit 0 image accepted, bit 1 memory error, 7:4 its code      0x30 address of the error
//          0x34 graph of the image [31:0]          0x38 [63:32]
//          0x3c bits of a beat of the memory; 0: the weights are on the chip, and so are 0x24, 0x2c .. 0x38
//          0x200 + 8 e  log entry e = 0 .. 63: cycle of the first beat in; 0x204 + 8 e  cycle of the last beat out; every other address reads 0
// Counts : see sentence_counters. The streams, those at the encoder itself, are only watched
// Reset  : as its parts; encoder_rst, 1 cycle behind rst and the register, also resets the counters
module encoder_registers #(
  parameter int IN_BYTES = 4,    // of a beat at s_axis, padding included
  parameter int OUT_BYTES = 4,   // of a beat at m_axis
  parameter int MEMORY_BITS = 0, // of a beat of the weights' memory; 0: none
  localparam int ADDR_W = 12    // 4 KiB, the smallest range that a processing system maps
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [63:0]       identity,
  input  wire logic              in_valid,
  input  wire logic              in_ready,
  input  wire logic              in_last,
  input  wire logic              out_valid,
  input  wire logic              out_ready,
  input  wire logic              out_last,
  output      logic              encoder_rst,
  output      logic [31:0]       weights_base,
  input  wire logic              weights_ready,
  input  wire logic [63:0]       weights_hash,
  input  wire logic              memory_error,
  input  wire logic [3:0]        memory_error_code,
  input  wire logic [31:0]       memory_error_address,
  input  wire logic              s_axi_awvalid,
  output      logic              s_axi_awready,
  input  wire logic [ADDR_W-1:0] s_axi_awaddr,
  input  wire logic              s_axi_wvalid,
  output      logic              s_axi_wready,
  input  wire logic [31:0]       s_axi_wdata,
  input  wire logic [3:0]        s_axi_wstrb,
  output      logic              s_axi_bvalid,
  input  wire logic              s_axi_bready,
  output      logic [1:0]        s_axi_bresp,
  input  wire logic              s_axi_arvalid,
  output      logic              s_axi_arready,
  input  wire logic [ADDR_W-1:0] s_axi_araddr,
  output      logic              s_axi_rvalid,
  input  wire logic              s_axi_rready,
  output      logic [31:0]       s_axi_rdata,
  output      logic [1:0]        s_axi_rresp
);
  localparam logic [31:0] Magic = 32'h424c4d31;
  localparam logic [31:0] Version = 32'd2;

  logic [ADDR_W-3:0] word, write_word;
  logic write, run;
  logic [31:0] data, write_data, done, latest, waited_in, waited_out, start, stop;

  axi_lite #(.ADDR_W(ADDR_W)) bus (.clk, .rst, .s_axi_awvalid, .s_axi_awready, .s_axi_awaddr, .s_axi_wvalid, .s_axi_wready,
    .s_axi_wdata, .s_axi_wstrb, .s_axi_bvalid, .s_axi_bready,
    .s_axi_bresp, .s_axi_arvalid, .s_axi_arready, .s_axi_araddr, .s_axi_rvalid, .s_axi_rready, .s_axi_rdata, .s_axi_rresp, .word, .data,
    .write, .write_word, .write_data);

  sentence_counters #(.LOG(64)) counters (.clk, .rst(encoder_rst), .in_valid, .in_ready, .in_last, .out_valid, .out_ready, .out_last, .done, .latest, .waited_in,
    .waited_out, .entry(word[6:1]), .start, .stop);

  if (MEMORY_BITS > 0) begin : g_memory
    logic [19:0] base_q;
    logic run_q;
    assign weights_base = {base_q, 12'b0};
    assign run = run_q;
    initial encoder_rst = 1'b1;
    always_ff @(posedge clk) begin
      encoder_rst <= rst || !run_q;
      if (rst) begin
        base_q <= '0;
        run_q <= 1'b0;
      end else if (write && write_word == (ADDR_W-2)'(9)) base_q <= write_data[31:12];
      else if (write && write_word == (ADDR_W-2)'(10)) run_q <= write_data[0];
    end
    /* verilator lint_off UNUSEDSIGNAL */
    logic [10:0] unused;  // an image begins at a multiple of 4096
    /* verilator lint_on UNUSEDSIGNAL */
    assign unused = write_data[11:1];
  end else begin : g_none
    assign weights_base = '0;
    assign run = 1'b1;
    assign encoder_rst = rst;
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    /* verilator lint_on UNUSEDSIGNAL */
    assign unused = &{1'b0, write, write_word, write_data};
  end

  always_comb begin
    data = '0;
    if (word[ADDR_W-3:7] == 3'd1) begin
      data = word[0] ? stop : start;
    end else if (word[ADDR_W-3:5] == 5'd0) begin
      case (word[4:0])
        5'd0: data = Magic;
        5'd1: data = Version;
        5'd2: data = identity[31:0];
        5'd3: data = identity[63:32];
        5'd4: data = done;
        5'd5: data = latest;
        5'd6: data = waited_in;
        5'd7: data = waited_out;
        5'd8: data = {16'(OUT_BYTES), 16'(IN_BYTES)};
        5'd9: data = weights_base;
        5'd10: data = {31'b0, run};
        5'd11: data = {24'b0, memory_error ? memory_error_code : 4'd0, 2'b0, memory_error, weights_ready};
        5'd12: data = memory_error_address;
        5'd13: data = weights_hash[31:0];
        5'd14: data = weights_hash[63:32];
        5'd15: data = 32'(MEMORY_BITS);
        default: data = '0;
      endcase
    end
  end
endmodule
