// SPDX-License-Identifier: Apache-2.0
// link_out: the buffer of answer words: a sentence's output beats, then its two readings of the cycle counter
// Stream : s_* in; `started` marks the cycle in which a sentence's first input beat was accepted, sentences in order
// Rules  : words stay until the host has acknowledged them; `worth` says that a frame pays: a sentence's end, or BATCH words
// Layout : start and end cycle, 32 bits each, as 64 / WORD_W words, lowest first
// Timing : s_ready is low for 64 / WORD_W + 1 cycles behind a sentence, and while there is no room. What s_* and the frames are told
//          are registers, a cycle old: room and words can only have become more, as nothing is offered in the cycle behind a rewind
//          `word` is that at word_addr two cycles before
// Reset  : empties it, the counter starts at 0
module link_out #(
  parameter int WORD_W = 16,   // bits per word: a beat of the encoder's output; divides 64
  parameter int DEPTH = 1024,  // words, a power of two
  parameter int BATCH = 64,    // most words of a frame
  parameter int FLIGHT = 15,   // sentences inside the encoder
  localparam int ADDR_W = $clog2(DEPTH)
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              started,
  input  wire logic              s_valid,
  output logic                   s_ready,
  input  wire logic [WORD_W-1:0] s_data,
  input  wire logic              s_last,
  output logic                   answered,   // a sentence left the encoder in the cycle before
  input  wire logic              ack_valid,
  input  wire logic              rewind,     // with ack_valid: send again from there
  input  wire logic [23:0]       ack,
  input  wire logic              take,       // a frame takes `count` words from `position` on
  output logic                   worth,
  output logic [7:0]             count,
  output logic [23:0]            position,
  input  wire logic [ADDR_W-1:0] word_addr,
  output logic [WORD_W-1:0]      word
);
  localparam int StampWords = 64 / WORD_W;
  localparam int StampW = $clog2(StampWords + 1);

  (* no_rw_check *) logic [WORD_W-1:0] mem [0:DEPTH-1];  // a word is sent long after it was written
  logic [WORD_W-1:0] read_q;
  logic [31:0] now_q, before_q, start;  // before_q: now_q of the cycle before
  logic [63:0] stamps_q;
  logic [StampW-1:0] stamps_left_q;
  logic [23:0] written_q, acked_q, ends_q;  // ends: behind the last sentence's words
  logic [23:0] pending, past;
  logic room_q, write, batch, unused_ready, unused_valid, unused_last;
  logic [WORD_W-1:0] write_data;

  initial if (64 % WORD_W != 0) $fatal(1, "link_out: got WORD_W %0d, must divide 64", WORD_W);

  assign s_ready = room_q && stamps_left_q == '0 && !answered;
  assign write = (s_valid && s_ready) || (room_q && stamps_left_q != '0);
  assign write_data = stamps_left_q != '0 ? stamps_q[WORD_W-1:0] : s_data;
  assign pending = written_q - position;
  assign past = ends_q - position;  // negative where the words sent go beyond
  assign batch = pending >= 24'(BATCH);

  fifo #(.WIDTH(32), .DEPTH(FLIGHT + 1)) starts (
    .clk, .rst, .s_valid(started), .s_ready(unused_ready), .s_data(now_q), .s_last(1'b0),
    .m_valid(unused_valid), .m_ready(answered), .m_data(start), .m_last(unused_last));

  always_ff @(posedge clk) begin
    if (write) mem[written_q[ADDR_W-1:0]] <= write_data;
  end
  always_ff @(posedge clk) begin
    read_q <= mem[word_addr];
    word <= read_q;
  end

  always_ff @(posedge clk) begin
    now_q <= now_q + 1'b1;
    before_q <= now_q;
    room_q <= written_q - acked_q < 24'(DEPTH - 1);  // also if a word comes in this cycle
    worth <= (batch || (past != '0 && !past[23])) && !(ack_valid && rewind);
    count <= batch ? 8'(BATCH) : pending[7:0];
    answered <= s_valid && s_ready && s_last;
    if (write) written_q <= written_q + 1'b1;
    if (answered) begin
      stamps_q <= {before_q, start};
      stamps_left_q <= StampW'(StampWords);
    end else if (write && stamps_left_q != '0) begin
      stamps_q <= stamps_q >> WORD_W;
      stamps_left_q <= stamps_left_q - 1'b1;
      if (stamps_left_q == StampW'(1)) ends_q <= written_q + 1'b1;
    end
    if (take) position <= position + 24'(count);
    if (ack_valid) begin
      acked_q <= ack;
      if (rewind) position <= ack;
    end
    if (rst) begin
      now_q <= '0;
      {written_q, acked_q, ends_q, position} <= '0;
      stamps_left_q <= '0;
      {room_q, worth, answered} <= '0;
    end
  end
endmodule
