// SPDX-License-Identifier: Apache-2.0
// sentence_framer: several sentences in one packet, so that one transfer of a DMA carries them and the next follows without a gap
// Stream : s_* a packet: per sentence a header beat (bits 31:0: its beats, at least 1), then its beats; s_last ends the packet, with a sentence
//          m_* the answers of a packet's sentences, one behind the other; m_last ends the packet
//          e_* to the encoder and f_* from it: `last` ends each sentence. Data pass by outside: e_data = s_data, m_data = f_data
// Timing : no latency; a header takes one cycle. Combinational from e_ready to s_ready and from m_ready to f_ready, as with a wire
// Flight : at most FLIGHT sentences between e and f; more wait at s
// Reset  : the next beat is a header
module sentence_framer #(
  parameter int FLIGHT = 64   // at least 2
) (
  input  wire logic        clk,
  input  wire logic        rst,
  input  wire logic        s_valid,
  output      logic        s_ready,
  input  wire logic [31:0] s_count,   // bits 31:0 of s_data
  input  wire logic        s_last,
  output      logic        e_valid,
  input  wire logic        e_ready,
  output      logic        e_last,
  input  wire logic        f_valid,
  output      logic        f_ready,
  input  wire logic        f_last,
  output      logic        m_valid,
  input  wire logic        m_ready,
  output      logic        m_last
);
  logic [31:0] left_q;   // beats of the sentence still to come; 0: a header is next
  logic header, room, known, ends_packet, unused;

  assign header = left_q == '0;
  assign e_last = left_q == 32'd1;
  assign e_valid = s_valid && !header && (!e_last || room);
  assign s_ready = header || (e_ready && (!e_last || room));

  always_ff @(posedge clk) begin
    if (rst) left_q <= '0;
    else if (s_valid && s_ready) left_q <= header ? s_count : left_q - 1'b1;
  end

  // One bit per sentence in the encoder: whether its answer ends the packet.
  fifo #(.WIDTH(1), .DEPTH(FLIGHT)) ends (.clk, .rst, .s_valid(s_valid && !header && e_last && e_ready), .s_ready(room), .s_data(s_last), .s_last(1'b0),
    .m_valid(known), .m_ready(f_valid && f_last && m_ready), .m_data(ends_packet), .m_last(unused));

  assign m_valid = f_valid && (!f_last || known);
  assign f_ready = m_ready && (!f_last || known);
  assign m_last = f_last && ends_packet;
endmodule
