// SPDX-License-Identifier: Apache-2.0
// link_tx: puts the board's frames together (docs/hil.md): header, answer words or the info, CRC-32, escapes
// Stream : `go` (while `idle`) takes the header; then bytes leave at m_*. Words are read at `word_addr`; `word` must follow it
//          within 8 cycles.
// Timing : 11 cycles per byte and what m_* waits: more than one bit's time of a UART, less than a byte's from DIV = 4 on
// Reset  : drops the frame
module link_tx #(
  parameter int WORD_W = 16,     // bits per answer word, a multiple of 8
  parameter int ADDR_W = 10,     // bits of word_addr
  parameter int INFO_BYTES = 18  // payload of a WELCOME
) (
  input  wire logic                    clk,
  input  wire logic                    rst,
  output logic                         idle,
  input  wire logic                    go,
  input  wire logic                    welcome,   // the payload is `info`, not words
  input  wire logic                    nak,
  input  wire logic                    fault,     // the memory has an error
  input  wire logic [15:0]             session,
  input  wire logic [23:0]             position,  // of the first word
  input  wire logic [23:0]             next,
  input  wire logic [23:0]             limit,
  input  wire logic [7:0]              count,     // words; with `welcome`, INFO_BYTES
  input  wire logic [8*INFO_BYTES-1:0] info,      // lowest byte first; not held
  output logic [ADDR_W-1:0]            word_addr,
  input  wire logic [WORD_W-1:0]       word,
  output logic                         m_valid,
  input  wire logic                    m_ready,
  output logic [7:0]                   m_data
);
  localparam logic [7:0] Flag = 8'h7E, Escape = 8'h7D, Flip = 8'h20;
  localparam int HeaderBytes = 13;
  localparam int WordBytes = WORD_W / 8;
  localparam int ByteW = WordBytes > 1 ? $clog2(WordBytes) : 1;

  typedef enum logic [2:0] {IDLE, OPEN, FETCH, SHIFT, SEND, CLOSE} state_t;
  typedef enum logic [1:0] {HEADER, INFO, WORDS, SUM} section_t;
  state_t state_q;
  section_t section_q;
  logic [8*HeaderBytes-1:0] header_q;
  logic welcome_q;
  logic [7:0] count_q;      // of the frame's words
  logic [15:0] left_q;      // bytes of the section, the present one included
  logic [4:0] index_q;      // of the next byte of the info
  logic [ByteW-1:0] part_q; // of the next byte of the word
  logic [7:0] info_q, word_q;  // these bytes: a byte is long on its way, so they are there when it is their turn
  logic last_q;             // left_q == 1
  logic [7:0] byte_q;
  logic [2:0] bit_q;
  logic escaped_q, special_q;
  logic [31:0] crc_q;

  function automatic logic special(input logic [7:0] code);
    special = code == Flag || code == Escape;
  endfunction

  assign idle = state_q == IDLE;
  assign m_valid = state_q == OPEN || state_q == SEND || state_q == CLOSE;
  assign m_data = state_q != SEND ? Flag : escaped_q ? byte_q ^ Flip : special_q ? Escape : byte_q;

  always_ff @(posedge clk) begin
    info_q <= info[8*index_q +: 8];
    word_q <= word[8*part_q +: 8];
    last_q <= left_q == 16'd1;
    case (state_q)
      IDLE: begin
        header_q <= {count, limit, next, position, session, 4'h2, 1'b0, fault, nak, welcome};
        welcome_q <= welcome;
        count_q <= count;
        word_addr <= position[ADDR_W-1:0];
        section_q <= HEADER;
        left_q <= 16'(HeaderBytes);
        index_q <= '0;
        part_q <= '0;
        escaped_q <= 1'b0;
        crc_q <= '1;
        if (go) state_q <= OPEN;
      end
      OPEN: if (m_ready) state_q <= FETCH;
      FETCH: begin
        bit_q <= '0;
        case (section_q)
          HEADER: byte_q <= header_q[7:0];
          INFO: byte_q <= info_q;
          WORDS: byte_q <= word_q;
          default: byte_q <= ~crc_q[7:0];
        endcase
        if (section_q == INFO) index_q <= index_q + 1'b1;
        if (section_q == WORDS) begin  // the next byte is fetched 10 cycles later: `word` follows by then
          part_q <= part_q == ByteW'(WordBytes - 1) ? '0 : part_q + 1'b1;
          if (part_q == ByteW'(WordBytes - 1)) word_addr <= word_addr + 1'b1;
        end
        special_q <= special(~crc_q[7:0]);
        state_q <= section_q == SUM ? SEND : SHIFT;
      end
      SHIFT: begin
        byte_q <= {byte_q[0], byte_q[7:1]};  // once around
        special_q <= special({byte_q[0], byte_q[7:1]});
        crc_q <= {1'b0, crc_q[31:1]} ^ (crc_q[0] ^ byte_q[0] ? 32'hEDB88320 : 32'h0);
        bit_q <= bit_q + 1'b1;
        if (bit_q == '1) state_q <= SEND;
      end
      SEND: if (m_ready) begin
        escaped_q <= special_q && !escaped_q;
        if (!special_q || escaped_q) begin
          left_q <= left_q - 1'b1;
          header_q <= header_q >> 8;
          if (section_q == SUM) crc_q <= crc_q >> 8;
          state_q <= FETCH;
          if (last_q) begin
            case (section_q)
              HEADER: begin
                section_q <= welcome_q ? INFO : count_q != '0 ? WORDS : SUM;
                left_q <= welcome_q ? 16'(INFO_BYTES) : count_q != '0 ? 16'(count_q) * 16'(WordBytes) : 16'd4;
              end
              SUM: state_q <= CLOSE;
              default: begin
                section_q <= SUM;
                left_q <= 16'd4;
              end
            endcase
          end
        end
      end
      default: if (m_ready) state_q <= IDLE;
    endcase
    if (rst) state_q <= IDLE;
  end
endmodule
