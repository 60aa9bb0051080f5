// SPDX-License-Identifier: Apache-2.0
// uart_top: the generated encoder behind a serial line (protocol: docs/hil.md; in Python: sim/hil/board_model.py)
// Ports  : uart_rx and uart_tx as seen from the FPGA; led is lit while a host has a session; sdram_* are used by an encoder whose weights lie there
// Shape  : widths and depths, and the encoder with its memory, come from the generated package encoder_shape and module board_encoder (hw/uart.py)
// Reset  : ends the session, and what was loaded counts as lost; a host that begins a new one resets buffers, cycle counter and encoder. An encoder with
//          its weights in memory stays in reset until that holds a whole image
module uart_top #(
  parameter int CLOCK_HZ = 25_000_000,  // of clk
  parameter int BAUD = 1_000_000        // bits a second on the line
) (
  input  wire logic clk,
  input  wire logic rst,
  input  wire logic uart_rx,
  output logic      uart_tx,
  output logic      led,
  output logic        sdram_cke,
  output logic        sdram_cs_n,
  output logic        sdram_ras_n,
  output logic        sdram_cas_n,
  output logic        sdram_we_n,
  output logic [1:0]  sdram_ba,
  output logic [12:0] sdram_a,
  output logic [1:0]  sdram_dqm,
  output logic [15:0] sdram_dq_o,
  output logic        sdram_dq_oe,
  input  wire logic [15:0] sdram_dq_i
);
  localparam int Div = (CLOCK_HZ + BAUD / 2) / BAUD;
  localparam int Lanes = encoder_shape::IN_LANES;
  localparam int Bits = encoder_shape::IN_BITS;
  localparam int Slot = (Bits + 7) / 8 * 8;  // AXI4-Stream elements are whole bytes
  localparam int BeatW = Lanes * Bits;
  localparam int WordW = encoder_shape::OUT_W;
  localparam int AnswerDepth = 1024;  // words: one block RAM
  localparam int AnswerW = $clog2(AnswerDepth);
  localparam int Flight = 15;
  localparam bit Memory = encoder_shape::MEMORY != 0;
  localparam int InfoBytes = Memory ? 32 : 18;
  localparam int SizeBits = 25;  // of a byte address of the memory
  localparam int RestartCycles = 16;
  localparam int Error = CLOCK_HZ > Div * BAUD ? CLOCK_HZ - Div * BAUD : Div * BAUD - CLOCK_HZ;

  initial if (Error > CLOCK_HZ / 50)
    $fatal(1, "uart_top: got %0d Hz and %0d baud, must be a whole number of cycles per bit within 2 %%; change the clock or the baud rate", CLOCK_HZ, BAUD);

  // bytes and frames from the host
  logic rx_valid, beat_valid, beat_last, flag, good;
  logic [7:0] rx_data, rx_count;
  logic [BeatW-1:0] beat;
  logic [3:0] rx_flags;
  logic [15:0] rx_session;
  logic [23:0] rx_position, rx_ack;
  logic word_valid, load;
  logic [15:0] rx_word;
  // the session
  logic [15:0] session_q;
  logic [4:0] restart_q;  // cycles of reset at its beginning
  logic welcome_q, status_q, nak_q;
  logic open_q;           // it is no hello, and of that session
  logic same_q;           // the frame has the number of the session that holds; a header is there long before its frame ends
  logic clear, encoder_clear;  // registers: they go far
  logic hello, renew, mine, ours, send;
  // the encoder's streams, the buffers
  logic in_valid, in_ready, in_last, in_first, out_valid, out_ready, out_last, answered, nak, worth;
  logic [BeatW-1:0] in_data;
  logic [Lanes*Slot-1:0] axis_data;
  logic [WordW-1:0] out_data, word;
  logic [63:0] identity;
  logic [23:0] next, limit, in_next, in_limit, position;
  // the memory
  logic in_nak, load_nak, loading, whole, load_valid, load_ready, weights_ready, fault, fault_q;
  logic [23:0] load_next, load_at;
  logic [15:0] load_data;
  logic [63:0] weights_hash;
  logic [3:0] fault_code;
  logic [31:0] fault_address;
  logic [8*InfoBytes-1:0] info;
  logic [7:0] words;
  logic [AnswerW-1:0] word_addr;
  // bytes to the host
  logic tx_idle, tx_valid, tx_ready;
  logic [7:0] tx_data;

  assign hello = flag && good && rx_flags[0] && !load;
  assign renew = hello && !same_q;
  assign mine = flag && good && open_q;
  assign ours = mine && !load;
  assign nak = in_nak || load_nak;
  assign next = loading ? load_next : in_next;
  assign limit = loading ? load_next + 24'h400000 : in_limit;
  assign send = tx_idle && !clear && (welcome_q || status_q || worth);

  always_ff @(posedge clk) begin
    if (restart_q != '0) restart_q <= restart_q - 1'b1;
    if (renew) restart_q <= 5'(RestartCycles);
    same_q <= rx_session == session_q;
    open_q <= !rx_flags[0] && same_q && led;
    led <= session_q != '0;
    clear <= rst || renew || restart_q > 5'd1;
    encoder_clear <= rst || renew || restart_q > 5'd1 || !whole;
    if (send) begin
      welcome_q <= 1'b0;
      status_q <= 1'b0;
      nak_q <= 1'b0;
    end
    if (hello) begin
      session_q <= rx_session;
      welcome_q <= 1'b1;
    end
    if (flag && good && !hello) status_q <= 1'b1;
    if (in_valid && in_ready && in_last) status_q <= 1'b1;  // there is new room
    if (nak) nak_q <= 1'b1;
    fault_q <= fault;
    if (fault && !fault_q) status_q <= 1'b1;
    if (clear) begin
      status_q <= 1'b0;
      nak_q <= 1'b0;
    end
    if (rst) begin
      session_q <= '0;
      restart_q <= '0;
      welcome_q <= 1'b0;
    end
  end

  uart_rx #(.DIV(Div)) u_rx (.clk, .rst, .rx(uart_rx), .valid(rx_valid), .data(rx_data));

  link_rx #(.BEAT_W(BeatW), .LOAD(Memory)) u_link_rx (
    .clk, .rst, .s_valid(rx_valid), .s_data(rx_data), .beat_valid, .beat_last, .beat, .word_valid, .word(rx_word), .flag, .good, .load, .flags(rx_flags),
    .session(rx_session), .position(rx_position), .ack(rx_ack), .count(rx_count));

  link_in #(.BEAT_W(BeatW), .DEPTH(encoder_shape::IN_DEPTH), .FLIGHT(Flight)) u_in (
    .clk, .rst(clear), .beat_valid, .beat_last, .beat, .flag, .keep(ours), .sentence_end(rx_flags[1]), .hold(rx_flags[2]),
    .position(rx_position), .count(rx_count), .nak(in_nak), .next(in_next), .limit(in_limit),
    .m_valid(in_valid), .m_ready(in_ready), .m_data(in_data), .m_last(in_last), .m_first(in_first), .leave(answered));

  if (Memory) begin : g_load
    link_load u_load (
      .clk, .rst, .begins(renew), .loading(rx_flags[1]), .word_valid, .word(rx_word), .flag, .keep(mine && load), .image_end(rx_flags[1]),
      .position(rx_position), .count(rx_count), .nak(load_nak), .next(load_next), .active(loading), .whole, .load_valid, .load_ready, .load_at, .load_data);
  end else begin : g_chip
    assign {load_nak, loading, load_valid} = '0;
    assign whole = 1'b1;
    assign {load_next, load_at, load_data} = '0;
    wire unused = &{word_valid, rx_word, load_ready};
  end

  for (genvar i = 0; i < Lanes; i++) begin : g_lane
    if (Slot == Bits) begin : g_whole
      assign axis_data[i*Slot +: Slot] = in_data[i*Bits +: Bits];
    end else begin : g_extend
      assign axis_data[i*Slot +: Slot] =
        {{(Slot - Bits){encoder_shape::IN_SIGNED == 1 ? in_data[i*Bits + Bits - 1] : 1'b0}}, in_data[i*Bits +: Bits]};
    end
  end

  board_encoder #(.CLOCK_MHZ((CLOCK_HZ + 999_999) / 1_000_000)) u_encoder (
    .clk, .rst, .clear(encoder_clear), .s_axis_tdata(axis_data), .s_axis_tvalid(in_valid), .s_axis_tready(in_ready), .s_axis_tlast(in_last),
    .m_axis_tdata(out_data), .m_axis_tvalid(out_valid), .m_axis_tready(out_ready), .m_axis_tlast(out_last), .identity,
    .load_valid, .load_ready, .load_addr({load_at, 1'b0}), .load_data, .weights_ready, .weights_hash, .memory_error(fault),
    .memory_error_code(fault_code), .memory_error_address(fault_address), .sdram_cke, .sdram_cs_n, .sdram_ras_n, .sdram_cas_n, .sdram_we_n,
    .sdram_ba, .sdram_a, .sdram_dqm, .sdram_dq_o, .sdram_dq_oe, .sdram_dq_i);

  link_out #(.WORD_W(WordW), .DEPTH(AnswerDepth), .FLIGHT(Flight)) u_out (
    .clk, .rst(clear), .started(in_valid && in_ready && in_first), .s_valid(out_valid), .s_ready(out_ready), .s_data(out_data),
    .s_last(out_last), .answered, .ack_valid(ours), .rewind(rx_flags[3]), .ack(rx_ack), .take(send && !welcome_q && worth),
    .worth, .count(words), .position, .word_addr, .word);

  // `weights_ready` leaves before the hash that it is said of
  assign info = (8*InfoBytes)'({weights_hash, fault_address, 8'(SizeBits), fault ? fault_code : 4'd0, 2'b00, whole, weights_ready, 8'd1, 8'(WordW / 8), 16'(Div), 16'(BeatW), 32'(CLOCK_HZ), identity});
  link_tx #(.WORD_W(WordW), .ADDR_W(AnswerW), .INFO_BYTES(InfoBytes)) u_link_tx (
    .clk, .rst, .idle(tx_idle), .go(send), .welcome(welcome_q), .nak(nak_q), .fault(fault_q), .session(session_q), .position, .next, .limit,
    .count(welcome_q ? 8'(InfoBytes) : worth ? words : 8'd0),
    .info,
    .word_addr, .word, .m_valid(tx_valid), .m_ready(tx_ready), .m_data(tx_data));

  uart_tx #(.DIV(Div)) u_tx (.clk, .rst, .s_valid(tx_valid), .s_ready(tx_ready), .s_data(tx_data), .tx(uart_tx));
endmodule
