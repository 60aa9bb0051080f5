// SPDX-License-Identifier: Apache-2.0
// window: the tokens i*STRIDE + Off[k] of a sentence side by side, for each i with i*STRIDE < T, and which of them exist
// Golden : none of its own; token_window, window_max and window_mean
// Stream : s_* tokens of BEATS beats -> m_* tokens of BEATS beats, KERNEL times as wide; of a sentence of T tokens ceil(T / STRIDE)
// Timing : II 1. With Off[k] = (k - (KERNEL-1)/2) * DILATION + (STRIDE-1)/2 and Behind the larger of Off[KERNEL-1] and STRIDE-1, each token is read once, if
//          its window leaves or not, and a beat leaves 3 cycles behind the same beat of the token Behind tokens later; at a sentence's end a beat a cycle is
//          read, which leaves 3 cycles behind the last beat or later, while the next sentence comes in. A beat enters while fewer than (Behind + 2)*BEATS
//          beats have been taken and not yet read themselves
// Memory : one for each k, of the tokens from the one that is read up to the newest, and one beside
// Layout : element i of a token at s_* is elements i*KERNEL .. at m_*, so blocks and filled places stay what they are; 0 where there[k] is low
// Reset  : rst drops what is inside
module window #(
  parameter int KERNEL = 3,       // tokens side by side, at least 2
  parameter int DILATION = 1,     // from one to the next
  parameter int STRIDE = 1,       // from one window to the next
  parameter int LANES = 1,        // elements a beat at s_*
  parameter int BEATS = 4,        // of a token
  parameter int W = 8,            // bits of a code
  parameter int MAX_TOKENS = 64   // of a sentence, at most
) (
  input  wire logic                      clk,
  input  wire logic                      rst,
  input  wire logic                      s_valid,
  output      logic                      s_ready,
  input  wire logic [LANES*W-1:0]        s_data,
  input  wire logic                      s_last,
  output      logic                      m_valid,
  input  wire logic                      m_ready,
  output      logic [LANES*KERNEL*W-1:0] m_data,
  output      logic [KERNEL-1:0]         there,
  output      logic                      m_last
);
  localparam int First = (STRIDE - 1) / 2 - (KERNEL - 1) / 2 * DILATION;  // Off[0], in tokens
  localparam int Last = First + (KERNEL - 1) * DILATION;
  localparam int Behind = Last > STRIDE - 1 ? Last : STRIDE - 1;
  localparam int Room = (Behind + 2) * BEATS;           // beats that are not yet read themselves
  localparam int AheadW = $clog2(Room + 1);
  localparam int BeatW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int CountW = $clog2(MAX_TOKENS + 1);
  localparam int PhaseW = STRIDE > 1 ? $clog2(STRIDE) : 1;
  localparam int QueueW = $clog2(Behind + 3);           // sentences whose end has come and is not yet read

  logic [CountW-1:0] lengths [0:(1<<QueueW)-1];         // of those sentences, tokens
  logic [QueueW-1:0] head_q, tail_q;
  logic [QueueW:0] held_q;
  logic [AheadW-1:0] ahead_q;                           // beats that are not yet read themselves
  logic [BeatW-1:0] in_beat_q, beat_q;
  logic [CountW-1:0] count_q, at_q;                     // tokens of the sentence that comes; the token that is read
  logic [PhaseW-1:0] phase_q;                           // of it, among STRIDE: the window of the first one leaves
  logic take, read, known, token_in, token_out, sentence_in, sentence_out, leaves, ends;
  logic [CountW-1:0] length;

  wire en = m_ready || !m_valid;

  assign s_ready = ahead_q != AheadW'(Room);
  assign take = s_valid && s_ready;
  assign token_in = take && in_beat_q == BeatW'(BEATS - 1);
  assign sentence_in = take && s_last;

  // A token may be read when all of its window are there, and it is known if another window follows: the same beat of the last of them, or the sentence's end.
  assign known = held_q != '0;
  assign length = lengths[head_q];
  assign read = en && (known || ahead_q > AheadW'(Behind * BEATS));
  assign token_out = read && beat_q == BeatW'(BEATS - 1);
  assign sentence_out = token_out && known && at_q + 1'b1 == length;
  assign leaves = phase_q == '0;
  assign ends = token_out && known && (CountW + 1)'(at_q) + (CountW + 1)'(STRIDE) >= (CountW + 1)'(length);

  always_ff @(posedge clk) if (sentence_in) lengths[tail_q] <= count_q + 1'b1;

  always_ff @(posedge clk) begin
    if (take) in_beat_q <= token_in ? '0 : in_beat_q + 1'b1;
    if (token_in) count_q <= s_last ? '0 : count_q + 1'b1;
    if (read) beat_q <= token_out ? '0 : beat_q + 1'b1;
    if (token_out) at_q <= sentence_out ? '0 : at_q + 1'b1;
    if (token_out) phase_q <= sentence_out || phase_q == PhaseW'(STRIDE - 1) ? '0 : phase_q + 1'b1;
    if (sentence_in) tail_q <= tail_q + 1'b1;
    if (sentence_out) head_q <= head_q + 1'b1;
    ahead_q <= ahead_q + AheadW'(take) - AheadW'(read);
    held_q <= held_q + (QueueW + 1)'(sentence_in) - (QueueW + 1)'(sentence_out);
    if (rst) begin
      in_beat_q <= '0;
      count_q <= '0;
      beat_q <= '0;
      at_q <= '0;
      phase_q <= '0;
      tail_q <= '0;
      head_q <= '0;
      ahead_q <= '0;
      held_q <= '0;
    end
  end

  logic valid_q, last_q;
  always_ff @(posedge clk) begin
    if (en) begin
      valid_q <= read && leaves;
      last_q <= ends;
      m_valid <= valid_q;
      m_last <= last_q;
    end
    if (rst) begin
      valid_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end

  for (genvar k = 0; k < KERNEL; k++) begin : g_tap
    localparam int Off = First + k * DILATION;              // tokens from the one that is read
    localparam int Depth = (Behind - Off + 2) * BEATS;
    localparam int AddrW = $clog2(Depth);
    localparam int Start = (Off * BEATS + Depth) % Depth;

    logic [LANES*W-1:0] ram [0:Depth-1];
    logic [LANES*W-1:0] word_q;
    logic [AddrW-1:0] write_q, read_q;
    logic exists, exists_q;

    if (Off < 0) begin : g_before
      assign exists = at_q >= CountW'(-Off);
    end else if (Off > 0) begin : g_behind
      assign exists = !known || (CountW + 1)'(at_q) + (CountW + 1)'(Off) < (CountW + 1)'(length);
    end else begin : g_middle
      assign exists = 1'b1;
    end

    always_ff @(posedge clk) if (take) ram[write_q] <= s_data;
    always_ff @(posedge clk) if (en) word_q <= ram[read_q];

    always_ff @(posedge clk) begin
      if (take) write_q <= write_q == AddrW'(Depth - 1) ? '0 : write_q + 1'b1;
      if (read) read_q <= read_q == AddrW'(Depth - 1) ? '0 : read_q + 1'b1;
      if (en) begin
        exists_q <= exists;
        there[k] <= exists_q;
        for (int i = 0; i < LANES; i++) m_data[(i*KERNEL+k)*W +: W] <= exists_q ? word_q[i*W +: W] : '0;
      end
      if (rst) begin
        write_q <= '0;
        read_q <= AddrW'(Start);
      end
    end
  end

  initial begin
    if (KERNEL < 2 || DILATION < 1 || STRIDE < 1 || BEATS < 1)
      $fatal(1, "window: got KERNEL %0d, DILATION %0d, STRIDE %0d, BEATS %0d, must be at least 2, 1, 1, 1", KERNEL, DILATION, STRIDE, BEATS);
  end
endmodule
