// SPDX-License-Identifier: Apache-2.0
// link_in: the buffer of input beats: frames are taken back or kept, whole sentences leave at full speed
// Stream : beats in, as link_rx gives them; m_* out, II 1 within a sentence, `last` ends it
// Rules  : a frame is kept if its position is the next one and all of it has room (`keep` with `flag` says that the host's
//          frame is good and of the session that holds); a sentence leaves when it is whole, none is held and fewer than FLIGHT are inside
// Method : the word behind the beat at m_* is read again in each cycle, so that nothing but registers waits for what comes from the memory
// Reset  : empties it
module link_in #(
  parameter int BEAT_W = 8,  // bits per beat
  parameter int DEPTH = 64,  // beats, at least 2
  parameter int FLIGHT = 15  // sentences between m_* and `leave`
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              beat_valid,
  input  wire logic              beat_last,
  input  wire logic [BEAT_W-1:0] beat,
  input  wire logic              flag,
  input  wire logic              keep,
  input  wire logic              sentence_end,  // with `keep`: the frame ends a sentence
  input  wire logic              hold,          // with `sentence_end`
  input  wire logic [23:0]       position,
  input  wire logic [7:0]        count,
  output logic                   nak,           // in the cycle of `keep`: dropped, and not as one that came before
  output logic [23:0]            next,          // position of the beat that is expected
  output logic [23:0]            limit,         // position of the first beat that has no room
  output logic                   m_valid,
  input  wire logic              m_ready,
  output logic [BEAT_W-1:0]      m_data,
  output logic                   m_last,
  output logic                   m_first,       // the sentence's first beat
  input  wire logic              leave          // a sentence has left the encoder
);
  localparam int AddrW = $clog2(DEPTH);
  localparam int FlightW = $clog2(FLIGHT + 1);

  // A word that is read while it is written is read again before it counts.
  (* no_rw_check *) logic [BEAT_W:0] mem [0:DEPTH-1];
  logic [BEAT_W:0] word_q;
  logic [23:0] spec_q, read_q;   // spec: the next beat of the frame that is coming
  logic [AddrW-1:0] spec_at_q, read_at_q, next_at_q;  // where these positions, and that of `next`, are in the memory
  logic [AddrW:0] whole_q;       // sentences whose last beat has not left
  logic some_q, many_q;          // one at least, two at least
  logic [FlightW-1:0] flight_q;  // sentences that began to leave and are not answered
  logic drop_q, hold_q;
  logic within_q;  // the word that is read is within a sentence, not its first beat
  logic here_q;  // the frame is the next one: a header is there long before its first beat
  logic full_q;  // no room for a beat; two cycles late to see that one has left
  logic pays_q, whole_frame_q;  // the frame has beats; all of them had room
  logic fits, kept, move, fetch, gone, ends, more;
  logic [AddrW-1:0] read_at;

  initial if (DEPTH < 2 || DEPTH > (1 << 23)) $fatal(1, "link_in: got DEPTH %0d, must be 2 to 2**23", DEPTH);

  function automatic logic [AddrW-1:0] after(input logic [AddrW-1:0] at);
    after = at == AddrW'(DEPTH - 1) ? '0 : at + 1'b1;
  endfunction

  assign fits = beat_valid && here_q && !full_q && !drop_q;
  assign kept = keep && whole_frame_q;
  assign nak = keep && pays_q && !kept && position - next < 24'h800000;  // a frame that came before is no news

  assign move = !m_valid || m_ready;
  assign more = kept && sentence_end;
  assign gone = m_valid && m_ready && m_last;
  assign ends = m_valid && m_last;
  // Within a sentence the next beat is always there; a sentence is whole long after its first word was written, so that has been read
  assign fetch = move && (within_q || ((ends ? many_q : some_q) && !hold_q && flight_q != FlightW'(FLIGHT)));
  assign read_at = fetch ? after(read_at_q) : read_at_q;

  always_ff @(posedge clk) begin
    if (fits) mem[spec_at_q] <= {beat_last, beat};
  end
  always_ff @(posedge clk) begin
    word_q <= mem[read_at];
  end

  always_ff @(posedge clk) begin
    here_q <= position == next;
    pays_q <= count != '0;
    whole_frame_q <= pays_q && here_q && !drop_q;
    limit <= read_q + 24'(DEPTH);
    full_q <= fits ? spec_q + 1'b1 == limit : spec_q == limit;
    if (beat_valid) begin
      if (fits) begin
        spec_q <= spec_q + 1'b1;
        spec_at_q <= after(spec_at_q);
      end else drop_q <= 1'b1;
    end
    if (flag) begin
      drop_q <= 1'b0;
      if (kept) {next, next_at_q} <= {spec_q, spec_at_q};
      else {spec_q, spec_at_q} <= {next, next_at_q};
      if (more) hold_q <= hold;
    end
    if (more && !gone) begin
      whole_q <= whole_q + 1'b1;
      {many_q, some_q} <= {some_q, 1'b1};
    end
    if (gone && !more) begin
      whole_q <= whole_q - 1'b1;
      {many_q, some_q} <= {many_q && whole_q != (AddrW + 1)'(2), many_q};
    end
    if (fetch && !within_q && !leave) flight_q <= flight_q + 1'b1;
    if (leave && !(fetch && !within_q)) flight_q <= flight_q - 1'b1;
    if (fetch) begin
      read_q <= read_q + 1'b1;
      read_at_q <= read_at;
      {m_last, m_data} <= word_q;
      m_first <= !within_q;
      within_q <= !word_q[BEAT_W];
    end
    if (move) m_valid <= fetch;
    if (rst) begin
      {spec_q, read_q, next, whole_q, some_q, many_q, spec_at_q, read_at_q, next_at_q} <= '0;
      flight_q <= '0;
      {drop_q, hold_q, within_q, m_valid} <= '0;
    end
  end
endmodule
