// SPDX-License-Identifier: Apache-2.0
// link_rx: takes the host's frames apart (docs/hil.md): escapes, header, beats, CRC-32
// Stream : bytes in, at least 10 cycles apart. Beats leave as they come (`beat_valid` for one cycle, nobody can make it wait),
//          before it is known whether the frame is good: the reader takes them back unless `good` comes with `flag`. So do the
//          words of 16 bits of a LOAD frame, at word_*, where LOAD is 1
// Timing : one bit a cycle: header, beats and CRC are shifted through
// Layout : the header's fields hold from its last byte to the next frame's first; a beat is BEAT_W bits of the payload, lowest first
// Reset  : waits for a frame
module link_rx #(
  parameter int BEAT_W = 8,  // bits per beat
  parameter bit LOAD = 1'b0  // whether there are LOAD frames
) (
  input  wire logic          clk,
  input  wire logic          rst,
  input  wire logic          s_valid,
  input  wire logic [7:0]    s_data,
  output logic               beat_valid,
  output logic               beat_last,  // the last of a sentence
  output logic [BEAT_W-1:0]  beat,
  output logic               word_valid,
  output logic [15:0]        word,
  output logic               flag,       // a frame has ended
  output logic               good,       // with `flag`: it is whole and a host's
  output logic               load,       // a LOAD frame
  output logic [3:0]         flags,      // HELLO, END, HOLD, REWIND from bit 0 on
  output logic [15:0]        session,
  output logic [23:0]        position,
  output logic [23:0]        ack,
  output logic [7:0]         count
);
  localparam logic [7:0] Flag = 8'h7E, Escape = 8'h7D, Flip = 8'h20;
  localparam int HeaderW = 80;
  localparam logic [31:0] Residue = 32'hDEBB20E3;  // of a body and its CRC
  localparam int NumberW = LOAD && BEAT_W < 16 ? 4 : BEAT_W > 1 ? $clog2(BEAT_W) : 1;
  localparam logic [NumberW-1:0] LastBit = NumberW'(BEAT_W - 1);

  logic [7:0] byte_q;
  logic [3:0] bits_q;  // of byte_q still to be shifted through
  logic escaped_q;
  logic [31:0] crc_q;
  logic [HeaderW-1:0] header_q;
  logic [6:0] header_bits_q;  // that have come
  logic [7:0] beats_q;        // to come
  logic [NumberW-1:0] number_q;  // bits of the present beat that have come
  logic [2:0] tail_q;         // bytes behind the payload, at most 7
  logic in_header, unit_end;

  assign in_header = header_bits_q != 7'(HeaderW);
  assign {count, ack, position, session} = header_q[HeaderW-1:8];
  assign flags = header_q[3:0];
  assign load = LOAD && header_q[7:4] == 4'h3;
  assign unit_end = number_q == (load ? NumberW'(15) : LastBit);

  always_ff @(posedge clk) begin
    flag <= 1'b0;
    beat_valid <= 1'b0;
    word_valid <= 1'b0;
    if (bits_q != '0) begin
      bits_q <= bits_q - 1'b1;
      byte_q <= byte_q >> 1;
      crc_q <= {1'b0, crc_q[31:1]} ^ (crc_q[0] ^ byte_q[0] ? 32'hEDB88320 : 32'h0);
      if (in_header) begin
        header_q <= {byte_q[0], header_q[HeaderW-1:1]};
        header_bits_q <= header_bits_q + 1'b1;
        beats_q <= {byte_q[0], header_q[HeaderW-1:HeaderW-7]};  // the count, once all bits have come
      end else if (beats_q != '0) begin
        beat <= BEAT_W'({byte_q[0], beat} >> 1);
        word <= {byte_q[0], word[15:1]};
        number_q <= unit_end ? '0 : number_q + 1'b1;
        if (unit_end) begin
          beats_q <= beats_q - 1'b1;
          beat_valid <= !load;
          word_valid <= load;
          beat_last <= flags[1] && beats_q == 8'd1;
        end
      end
    end else if (s_valid && s_data == Flag) begin
      flag <= 1'b1;
      good <= crc_q == Residue && tail_q == 3'd4 && !escaped_q && (header_q[7:4] == 4'h1 || load);
    end else if (s_valid && s_data == Escape && !escaped_q) begin
      escaped_q <= 1'b1;
    end else if (s_valid) begin
      byte_q <= escaped_q ? s_data ^ Flip : s_data;
      bits_q <= 4'd8;
      escaped_q <= 1'b0;
      if (!in_header && beats_q == '0 && tail_q != '1) tail_q <= tail_q + 1'b1;
    end
    if (rst || flag) begin
      bits_q <= '0;
      escaped_q <= 1'b0;
      crc_q <= '1;
      header_bits_q <= '0;
      beats_q <= '0;
      number_q <= '0;
      tail_q <= '0;
    end
    if (rst) begin
      flag <= 1'b0;
      beat_valid <= 1'b0;
      word_valid <= 1'b0;
    end
  end
endmodule
