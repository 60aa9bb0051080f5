// SPDX-License-Identifier: Apache-2.0
// loop: sends each sentence TURNS times through the hardware layers of a rolled encoder; up to SENTENCES of them are inside, in any turns
// Stream : new sentences s_* and those that come back -> m_*, to the first hardware layer; b_*, from the last one -> back, or x_* after the last turn
// Method : sentences keep their order. What comes back waits in a FIFO that holds SENTENCES of the longest, so the layers can always give out
//          what they hold: nothing waits in a circle. Where one has left, the next new one takes its place in the order; it waits for nothing: if
//          none is there in the cycle in which its place comes up, the place is kept for the first moment between two sentences in which one is.
// Bus    : {tokens, pass, turn, enter}, for the `turns` of every place: a sentence enters, in `turn`; a sentence of `tokens` has passed
// Timing : s and b to m: 1 and 2 cycles, II 1, also from sentence to sentence; b to x: at once
// Reset  : no sentence
module loop #(
  parameter int TURNS = 2,
  parameter int SENTENCES = 2,      // that may be inside at once
  parameter int MAX_TOKENS = 64,
  parameter int BEATS = 4,          // of a token
  parameter int WIDTH = 8,          // bits of a beat
  parameter RAM_STYLE = "auto"      // of the FIFO of what comes back (fifo_deep)
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             s_valid,
  output      logic             s_ready,
  input  wire logic [WIDTH-1:0] s_data,
  input  wire logic             s_last,
  output      logic             m_valid,
  input  wire logic             m_ready,
  output      logic [WIDTH-1:0] m_data,
  output      logic             m_last,
  input  wire logic             b_valid,
  output      logic             b_ready,
  input  wire logic [WIDTH-1:0] b_data,
  input  wire logic             b_last,
  output      logic             x_valid,
  input  wire logic             x_ready,
  output      logic [WIDTH-1:0] x_data,
  output      logic             x_last,
  output      logic [25:0]      bus         // {tokens 16, pass, turn 8, enter}
);
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int TokenW = $clog2(MAX_TOKENS + 1);
  localparam int CountW = $clog2(SENTENCES + 1);
  localparam int IndexW = SENTENCES > 1 ? $clog2(SENTENCES) : 1;
  localparam int BeatW = BEATS > 1 ? $clog2(BEATS) : 1;

  // The end of a turn
  wire [TurnW-1:0] turn;
  wire final_turn = turn == TurnW'(TURNS - 1);
  wire taken = b_valid && b_ready;
  wire done = taken && b_last;
  logic begun_q;                    // a beat of the sentence at b has been taken
  wire back_ready, back_valid, back_last;
  wire [WIDTH-1:0] back_data;
  logic back_take;

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES)) u_turn (.clk, .rst, .bus, .load(33'd0), .done, .now(turn), .base(), .word());
  /* verilator lint_on PINCONNECTEMPTY */
  fifo #(.WIDTH(WIDTH), .DEPTH(SENTENCES * MAX_TOKENS * BEATS), .RAM_STYLE(RAM_STYLE)) u_back (
    .clk, .rst, .s_valid(b_valid && !final_turn), .s_ready(back_ready), .s_data(b_data), .s_last(b_last),
    .m_valid(back_valid), .m_ready(back_take), .m_data(back_data), .m_last(back_last));
  assign b_ready = final_turn ? x_ready : back_ready;
  assign x_valid = b_valid && final_turn;
  assign x_data = b_data;
  assign x_last = b_last;

  // The order of what comes next: 0 a place for a new sentence, else the turn of one that comes back
  (* mem2reg *) logic [TurnW-1:0] order_q [0:SENTENCES-1];
  logic [CountW-1:0] orders_q, free_q;
  wire put = final_turn ? done : taken && !begun_q;
  logic get, vacant, admit, again;  // get: the oldest order is taken; vacant: it is a place, and kept

  // Between two sentences one is chosen; its beats follow
  logic busy_q, new_q;
  logic [TurnW-1:0] turn_q;
  wire advance = m_ready || !m_valid;
  wire place = orders_q != '0 && order_q[0] == '0;
  wire take_new = busy_q ? new_q : admit;
  wire take_back = busy_q ? !new_q : again;
  wire moves = advance && (take_new ? s_valid : take_back && back_valid);
  wire ends = moves && (take_new ? s_last : back_last);

  assign admit = !busy_q && s_valid && (free_q != '0 || place);
  assign again = !busy_q && !admit && orders_q != '0 && !place && back_valid;
  assign vacant = !busy_q && !s_valid && place;
  assign get = vacant || (moves && !busy_q && (take_back || free_q == '0));
  assign s_ready = advance && take_new;
  assign back_take = advance && take_back;

  always_ff @(posedge clk) begin
    if (get) for (int i = 1; i < SENTENCES; i++) order_q[i-1] <= order_q[i];
    if (put) order_q[IndexW'(orders_q - CountW'(get))] <= final_turn ? '0 : turn + 1'b1;
    if (put != get) orders_q <= get ? orders_q - 1'b1 : orders_q + 1'b1;
    if (vacant) free_q <= free_q + 1'b1;
    else if (moves && !busy_q && take_new && free_q != '0) free_q <= free_q - 1'b1;
    if (taken) begun_q <= !b_last;
    if (moves) begin
      busy_q <= !ends;
      if (!busy_q) new_q <= take_new;
    end
    if (rst) begin
      orders_q <= '0;
      free_q <= CountW'(SENTENCES);
      begun_q <= 1'b0;
      busy_q <= 1'b0;
    end
  end

  // The next layer, and what all places are told
  logic enter_q, pass_q;
  logic [BeatW-1:0] beat_q;
  logic [TokenW-1:0] token_q, tokens_q;
  wire token_end = beat_q == BeatW'(BEATS - 1);

  assign bus = {16'(tokens_q), pass_q, 8'(turn_q), enter_q};

  always_ff @(posedge clk) begin
    enter_q <= moves && !busy_q;
    pass_q <= ends;
    if (moves && !busy_q) turn_q <= take_new ? '0 : order_q[0];
    if (ends) tokens_q <= token_q + 1'b1;
    if (moves) begin
      beat_q <= token_end ? '0 : beat_q + 1'b1;
      if (token_end) token_q <= ends ? '0 : token_q + 1'b1;
    end
    if (advance) begin
      m_valid <= moves;
      m_data <= take_new ? s_data : back_data;
      m_last <= take_new ? s_last : back_last;
    end
    if (rst) begin
      enter_q <= 1'b0;
      pass_q <= 1'b0;
      beat_q <= '0;
      token_q <= '0;
      m_valid <= 1'b0;
    end
  end
endmodule
