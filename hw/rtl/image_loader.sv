// SPDX-License-Identifier: Apache-2.0
// image_loader: after rst, reads the header of the weights' image (hw/image.py), refuses one that this hardware cannot work with, loads all memories
//               that the image has parameters for, then lets the encoder begin; those of a turn each time that it is asked for them (by_turn.sv)
// Golden : hw/image.py. Header: of the first 96 bytes magic, version, bytes of a beat and the digest of the shapes must be those of the parameters
// Fetch  : a client of axi_fetch: Beats beats at `base`, then CHUNKS times Chunk beats from base + PARAMS on, each when the one before is used up
// Turns  : behind the CHUNKS chunks for all turns lie TURN_CHUNKS for each turn. Asked with `turn_first` it loads those of turn 0, else the next ones
// Load   : {valid, first, 31 bits}: the 32-bit words of the parameters, lowest address first, one a cycle; rom.sv takes them
// Gives  : weights_ready behind the last of them, until rst; weights_hash, valid with it: the first 8 bytes of the graph's SHA-256, the first byte
//          in the highest place, as `identity` has them
// Errors : those of axi_fetch pass through; a header that is another one's is code 8, with its address. After an error weights_ready does not come
// Timing : cycle 0 is the first without rst; L, p: docs/architecture.md, where nothing is in the way. The header is there in cycle 7 + L +
//          ceil((Beats - 1) p); a chunk that is asked for in cycle c has its beat i at 5 + L + c + ceil(i p), and is sent from the cycle behind on,
//          DATA_W / 32 cycles a beat; the next is asked for in the cycle behind its last word; weights_ready comes 6 cycles behind that of the last chunk
//          A turn that is asked for in cycle c: its first chunk in c + 1; turn_loaded 6 cycles behind that of the last chunk
// Reset  : rst, in any state: all is read anew
module image_loader #(
  parameter int DATA_W = 64,              // bits of a beat: 64, 128, 256 or 512
  parameter int ADDR_W = 32,
  parameter logic [31:0] VERSION = 1,
  parameter logic [255:0] SHAPES = '0,    // SHA-256, its first byte in the lowest place
  parameter logic [31:0] PARAMS = 4096,   // where the parameters begin in the image
  parameter int CHUNKS = 1,               // of them, for all turns
  parameter int TURN_CHUNKS = 0           // of each turn; 0: none is by turn
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
  output      logic [32:0]       load,
  input  wire logic              turn_asked,
  input  wire logic              turn_first,
  output      logic              turn_loaded,
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
  localparam int Chunk = 16;                          // beats
  localparam int Words = DATA_W / 32;                 // of a beat
  localparam int WordW = $clog2(Words);
  localparam int ChunkW = $clog2((CHUNKS > TURN_CHUNKS ? CHUNKS : TURN_CHUNKS) + 1);
  localparam int Behind = 5;                          // cycles from the last word until all memories give what was loaded
  localparam logic [63:0] Magic = 64'h576D6F6F6C746962;  // "bitloomW"
  localparam logic [Beats*DATA_W-1:0] Want = (Beats*DATA_W)'({SHAPES, 384'd0, 32'(DATA_W / 8), VERSION, Magic});
  localparam logic [Beats*DATA_W-1:0] Mask = (Beats*DATA_W)'({{256{1'b1}}, 384'd0, {128{1'b1}}});

  // Header
  logic asked_q, known_q, wrong_q, bad_q;  // known: the header is good; wrong: a beat so far; bad: all of it
  logic [BeatW-1:0] beat_q;
  wire wrong = wrong_q || ((w_data ^ Want[beat_q*DATA_W +: DATA_W]) & Mask[beat_q*DATA_W +: DATA_W]) != '0;

  // Parameters
  logic [ChunkW-1:0] chunk_q;  // that are loaded
  logic [ADDR_W-1:0] offset_q;
  logic [WordW-1:0] word_q;
  logic [Behind-1:0] done_q;
  logic turn_q;  // chunks of a turn are loaded
  logic beat_valid, beat_last, unused_ready;
  logic [DATA_W-1:0] beat;
  wire beat_end = word_q == WordW'(Words - 1);
  wire chunk_end = beat_valid && beat_end && beat_last;
  wire load_end = chunk_end && chunk_q == (turn_q ? ChunkW'(TURN_CHUNKS - 1) : ChunkW'(CHUNKS - 1));
  wire turn_begin = TURN_CHUNKS > 0 && turn_asked && weights_ready && !turn_q && !turn_loaded;

  assign req_valid = !asked_q;
  assign req_addr = base + offset_q;
  assign req_beats = known_q ? 16'(Chunk) : 16'(Beats);

  fifo #(.WIDTH(DATA_W), .DEPTH(Chunk)) u_chunk (
    .clk, .rst, .s_valid(w_valid && known_q), .s_ready(unused_ready), .s_data(w_data), .s_last(w_last),
    .m_valid(beat_valid), .m_ready(beat_end), .m_data(beat), .m_last(beat_last));

  always_ff @(posedge clk) begin
    if (!asked_q && req_ready) asked_q <= 1'b1;
    if (w_valid && !known_q) begin
      beat_q <= beat_q + 1'b1;
      wrong_q <= wrong;
      if (beat_q == BeatW'(HashAt / DATA_W))
        for (int i = 0; i < 8; i++) weights_hash[8*(7-i) +: 8] <= w_data[HashAt % DATA_W + 8*i +: 8];
      if (w_last) begin
        bad_q <= wrong;
        known_q <= !wrong && !fetch_error;
        asked_q <= wrong || fetch_error;
        offset_q <= ADDR_W'(PARAMS);
      end
    end
    if (beat_valid) word_q <= word_q + 1'b1;
    load <= {beat_valid, beat[32*word_q +: 32]};
    if (chunk_end) begin
      chunk_q <= load_end ? '0 : chunk_q + 1'b1;
      offset_q <= offset_q + ADDR_W'(Chunk * DATA_W / 8);
      asked_q <= load_end || fetch_error;
    end
    done_q <= {done_q[Behind-2:0], load_end && !fetch_error};
    if (done_q[Behind-1]) weights_ready <= 1'b1;
    turn_loaded <= done_q[Behind-1] && turn_q;
    if (done_q[Behind-1]) turn_q <= 1'b0;
    if (turn_begin) begin
      turn_q <= 1'b1;
      asked_q <= 1'b0;
      if (turn_first) offset_q <= ADDR_W'(PARAMS) + ADDR_W'(CHUNKS * Chunk * DATA_W / 8);
    end
    if (rst) begin
      asked_q <= 1'b0;
      known_q <= 1'b0;
      beat_q <= '0;
      wrong_q <= 1'b0;
      bad_q <= 1'b0;
      chunk_q <= '0;
      offset_q <= '0;
      word_q <= '0;
      load[32] <= 1'b0;
      done_q <= '0;
      turn_q <= 1'b0;
      turn_loaded <= 1'b0;
      weights_ready <= 1'b0;
    end
  end

  assign error = fetch_error || bad_q;
  assign error_code = fetch_error ? {1'b0, fetch_code} : 4'd8;
  assign error_address = fetch_error ? fetch_address : base;
endmodule
