// SPDX-License-Identifier: Apache-2.0
// regroup: parts of several tokens side by side -> tokens one after the other
// Golden : none, moves data only
// Stream : s_* groups of TOKENS tokens: of part 0 the BEATS beats of each token, then part 1, ...; m_* the tokens of the groups, PARTS*BEATS beats each.
//          s_ends: with a group's last beat, which of its tokens ends the sentence (none: one of a later group does); what comes behind that
//          one in its group is dropped. m_last on the last beat of a sentence
// Timing : from a group's last beat in to its first beat out 3 cycles; II 1 also from group to group; two groups are held
// Reset  : no group
module regroup #(
  parameter int TOKENS = 2,  // of a group
  parameter int PARTS = 2,   // of a token
  parameter int BEATS = 1,   // of a part of one token
  parameter int WIDTH = 8    // bits of a beat
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              s_valid,
  output      logic              s_ready,
  input  wire logic [WIDTH-1:0]  s_data,
  input  wire logic [TOKENS-1:0] s_ends,
  output      logic              m_valid,
  input  wire logic              m_ready,
  output      logic [WIDTH-1:0]  m_data,
  output      logic              m_last
);
  localparam int Token = PARTS * BEATS;
  localparam int Group = TOKENS * Token;
  localparam int AddrW = $clog2(2 * Group);
  localparam int AtW = Group > 1 ? $clog2(Group) : 1;
  localparam int PartW = Token > 1 ? $clog2(Token) : 1;
  localparam int BeatW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int TokenW = TOKENS > 1 ? $clog2(TOKENS) : 1;

  logic [WIDTH-1:0] ram [0:2*Group-1];
  logic [WIDTH-1:0] word;
  logic [1:0] full_q;
  logic [2*TOKENS-1:0] ends_q;
  logic write_bank_q, read_bank_q;

  // Beats as they come: `part_q` is where the part begins in its token, `write_q` where the beat goes
  logic [AtW-1:0] write_q;
  logic [PartW-1:0] part_q;
  logic [BeatW-1:0] beat_q;
  logic [TokenW-1:0] token_q;
  wire take = s_valid && s_ready;
  wire beats_end = beat_q == BeatW'(BEATS - 1);
  wire tokens_end = beats_end && token_q == TokenW'(TOKENS - 1);
  wire group_end = take && tokens_end && part_q == PartW'(Token - BEATS);
  wire [PartW-1:0] next_part = part_q == PartW'(Token - BEATS) ? '0 : part_q + PartW'(BEATS);

  assign s_ready = !full_q[write_bank_q];

  // Tokens as they leave
  logic [AtW-1:0] read_q;
  logic [PartW-1:0] left_q;  // beats of the token that have left
  logic [TokenW-1:0] out_q;
  logic busy_q, last_q;
  wire en = m_ready || !m_valid;
  wire full = full_q[read_bank_q];
  wire [TOKENS-1:0] ends = ends_q[read_bank_q*TOKENS +: TOKENS];
  wire token_end = left_q == PartW'(Token - 1);
  wire done = full && token_end && (ends[out_q] || out_q == TokenW'(TOKENS - 1));

  always_ff @(posedge clk) if (take) ram[(write_bank_q ? AddrW'(Group) : '0) + AddrW'(write_q)] <= s_data;
  always_ff @(posedge clk) if (en) word <= ram[(read_bank_q ? AddrW'(Group) : '0) + AddrW'(read_q)];

  always_ff @(posedge clk) begin
    if (take) begin
      beat_q <= beats_end ? '0 : beat_q + 1'b1;
      write_q <= write_q + 1'b1;
      if (beats_end) begin
        token_q <= tokens_end ? '0 : token_q + 1'b1;
        write_q <= write_q + AtW'(Token - BEATS + 1);
      end
      if (tokens_end) begin
        part_q <= next_part;
        write_q <= AtW'(next_part);
      end
    end
    if (group_end) begin
      full_q[write_bank_q] <= 1'b1;
      ends_q[write_bank_q*TOKENS +: TOKENS] <= s_ends;
      write_bank_q <= !write_bank_q;
    end
    if (en) begin
      if (full) begin
        read_q <= done ? '0 : read_q + 1'b1;
        left_q <= token_end ? '0 : left_q + 1'b1;
        if (token_end) out_q <= done ? '0 : out_q + 1'b1;
      end
      if (done) begin
        full_q[read_bank_q] <= 1'b0;
        read_bank_q <= !read_bank_q;
      end
      busy_q <= full;
      last_q <= done && ends != '0;
      m_valid <= busy_q;
      m_last <= last_q;
      m_data <= word;
    end
    if (rst) begin
      full_q <= '0;
      write_bank_q <= 1'b0;
      read_bank_q <= 1'b0;
      write_q <= '0;
      part_q <= '0;
      beat_q <= '0;
      token_q <= '0;
      read_q <= '0;
      left_q <= '0;
      out_q <= '0;
      busy_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end
endmodule
