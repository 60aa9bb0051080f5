// SPDX-License-Identifier: Apache-2.0
// image_loader: reads the header of the weights' image (hw/image.py) after rst, and lets the encoder begin if it is one that this hardware can work with
// Golden : hw/image.py, the header's first 96 bytes: magic, version, bytes of a beat and the digest of the shapes must be those of the parameters
// Fetch  : a client of axi_fetch, one request of Beats beats at `base`
// Gives  : weights_ready from the cycle behind the last of them on, until rst; weights_hash, valid with it: the first 8 bytes of the graph's SHA-256,
//          the first byte in the highest place, as `identity` has them
// Errors : those of axi_fetch pass through; a header that is another one's is code 8, with its address. After an error in the header weights_ready
//          does not come
// Timing : without anything in the way weights_ready is 1 in cycle 7 + L + ceil((Beats - 1) p) after rst, the first without it being cycle 0 (L, p:
//          docs/architecture.md; axi_fetch takes the request in cycle 1)
// Reset  : rst, in any state: the header is read anew
module image_loader #(
  parameter int DATA_W = 64,              // bits of a beat: 64, 128, 256 or 512
  parameter int ADDR_W = 32,
  parameter logic [31:0] VERSION = 1,
  parameter logic [255:0] SHAPES = '0     // SHA-256, its first byte in the lowest place
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [ADDR_W-1:0] base,
  output      logic              req_valid,
  input  wire logic              req_ready,
  output      logic [ADDR_W-1:0] req_addr,
  output      logic [15:0]       req_beats,
  input  wire logic              w_valid,
  input  wire logic [DATA_W-1:0] w_data,
  input  wire logic              w_last,
  output      logic              weights_ready,
  output      logic [63:0]       weights_hash,
  input  wire logic              fetch_error,
  input  wire logic [2:0]        fetch_code,
  input  wire logic [ADDR_W-1:0] fetch_address,
  output      logic              error,
  output      logic [3:0]        error_code,
  output      logic [ADDR_W-1:0] error_address
);
  localparam int Bits = 768;                          // of the header, that are looked at
  localparam int Beats = (Bits + DATA_W - 1) / DATA_W;
  localparam int BeatW = $clog2(Beats);
  localparam int HashAt = 256;                        // SHA-256 of the graph
  localparam logic [63:0] Magic = 64'h576D6F6F6C746962;  // "bitloomW"
  localparam logic [Beats*DATA_W-1:0] Want = (Beats*DATA_W)'({SHAPES, 384'd0, 32'(DATA_W / 8), VERSION, Magic});
  localparam logic [Beats*DATA_W-1:0] Mask = (Beats*DATA_W)'({{256{1'b1}}, 384'd0, {128{1'b1}}});

  logic asked_q, wrong_q, bad_q;  // wrong: a beat so far; bad: the whole header
  logic [BeatW-1:0] beat_q;
  wire wrong = wrong_q || ((w_data ^ Want[beat_q*DATA_W +: DATA_W]) & Mask[beat_q*DATA_W +: DATA_W]) != '0;

  assign req_valid = !asked_q;
  assign req_addr = base;
  assign req_beats = 16'(Beats);

  always_ff @(posedge clk) begin
    if (req_ready) asked_q <= 1'b1;
    if (w_valid) begin
      beat_q <= beat_q + 1'b1;
      wrong_q <= wrong;
      if (beat_q == BeatW'(HashAt / DATA_W))
        for (int i = 0; i < 8; i++) weights_hash[8*(7-i) +: 8] <= w_data[HashAt % DATA_W + 8*i +: 8];
      if (w_last) begin
        weights_ready <= !wrong && !fetch_error;
        bad_q <= wrong;
      end
    end
    if (rst) begin
      asked_q <= 1'b0;
      beat_q <= '0;
      wrong_q <= 1'b0;
      bad_q <= 1'b0;
      weights_ready <= 1'b0;
    end
  end

  assign error = fetch_error || bad_q;
  assign error_code = fetch_error ? {1'b0, fetch_code} : 4'd8;
  assign error_address = fetch_error ? fetch_address : base;
endmodule
