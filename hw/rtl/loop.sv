// SPDX-License-Identifier: Apache-2.0
// loop: sends each sentence TURNS times through the hardware layers of a rolled encoder; up to SENTENCES of them are inside, in any turns
// Stream : new sentences s_* and those that come back -> m_*, to the first hardware layer; b_*, from the last one -> back, or x_* after the last turn
//          With off-ramps (LABELS): e_*, logits of each turn, say which sentences leave; x_* are their answers, one logit a beat (off_ramps.sv)
// Method : sentences keep their order. What comes back waits in a FIFO that holds SENTENCES of the longest, so the layers can always give out
//          what they hold: nothing waits in a circle. Where one has left, the next new one takes its place in the order; it waits for nothing: if
//          none is there in the cycle in which its place comes up, the place is kept for the first moment between two sentences in which one is.
//          With off-ramps a sentence goes round when that is decided; one that leaves makes its place at once. What is still to come of it, or
//          waits in the FIFO, is dropped, a beat a cycle, beside the new one. A new one also waits until an answer of those before has a place (`room`).
// Bus    : {tokens, pass, turn, enter}, for the `turns` of every place: a sentence enters, in `turn`; a sentence of `tokens` has passed
// Timing : s and b to m: 1 and 2 cycles, II 1, also from sentence to sentence; b to x: at once. With off-ramps: off_ramps.sv, and the order is there
//          a cycle behind the decision
// Reset  : no sentence
module loop #(
  parameter int TURNS = 2,
  parameter int SENTENCES = 2,      // that may be inside at once
  parameter int MAX_TOKENS = 64,
  parameter int BEATS = 4,          // of a token
  parameter int WIDTH = 8,          // bits of a beat
  parameter int LABELS = 0,         // logits of an off-ramp; 0: there are none
  parameter int LOGIT_W = 16,       // their bits
  parameter int PATIENCE = 1,
  parameter logic [TURNS*(LOGIT_W+1)-1:0] THRESHOLDS = '0,
  parameter RAM_STYLE = "auto",     // of the FIFO of what comes back (fifo_deep)
  localparam int X_W = LABELS != 0 ? LOGIT_W : WIDTH
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
  output      logic [X_W-1:0]   x_data,
  output      logic             x_last,
  input  wire logic             e_valid,
  output      logic             e_ready,
  input  wire logic [LOGIT_W-1:0] e_data,
  input  wire logic             e_last,
  output      logic [25:0]      bus         // {tokens 16, pass, turn 8, enter}
);
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int TokenW = $clog2(MAX_TOKENS + 1);
  localparam int CountW = $clog2(SENTENCES + 1);
  localparam int IndexW = SENTENCES > 1 ? $clog2(SENTENCES) : 1;
  localparam int BeatW = BEATS > 1 ? $clog2(BEATS) : 1;
  localparam int StateW = LABELS == 0 ? 1 : $clog2(TURNS * SENTENCES) + $clog2(LABELS) + $clog2(PATIENCE + 1);  // off_ramps.sv: STATE_W
  localparam int OrderW = 1 + StateW + TurnW;

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

  // The order of what comes next: 0 a place for a new sentence, else the turn of one that comes back
  (* mem2reg *) logic [OrderW-1:0] order_q [0:SENTENCES-1];  // {the sentence that leaves is still to be dropped, state, turn}
  logic [CountW-1:0] orders_q, free_q;
  logic put, room, enters;
  logic [OrderW-1:0] put_order;
  logic get, vacant, admit, again;  // get: the oldest order is taken; vacant: it is a place, and kept
  logic [CountW:0] drops_q;         // sentences to be dropped, the first that come back

  // Between two sentences one is chosen; its beats follow
  logic busy_q, new_q;
  logic [TurnW-1:0] turn_q;
  wire advance = m_ready || !m_valid;
  wire drop = order_q[0][OrderW-1];
  wire place = orders_q != '0 && order_q[0][TurnW-1:0] == '0 && !(drop && &drops_q);
  wire wanted = s_valid && room;
  wire take_new = busy_q ? new_q : admit;
  wire take_back = busy_q ? !new_q : again;
  wire [TurnW-1:0] next_turn = take_new ? '0 : order_q[0][TurnW-1:0];
  wire moves = advance && (take_new ? s_valid : take_back && back_valid);
  wire ends = moves && (take_new ? s_last : back_last);

  assign admit = !busy_q && wanted && (free_q != '0 || place);
  assign again = !busy_q && !admit && orders_q != '0 && order_q[0][TurnW-1:0] != '0 && back_valid && drops_q == '0;
  assign vacant = !busy_q && !wanted && place;
  assign enters = moves && !busy_q;
  assign get = vacant || (moves && !busy_q && (take_back || free_q == '0));
  assign s_ready = advance && take_new;
  assign back_take = drops_q != '0 || (advance && take_back);

  always_ff @(posedge clk) begin
    if (get) for (int i = 1; i < SENTENCES; i++) order_q[i-1] <= order_q[i];
    if (put) order_q[IndexW'(orders_q - CountW'(get))] <= put_order;
    if (put != get) orders_q <= get ? orders_q - 1'b1 : orders_q + 1'b1;
    if (vacant) free_q <= free_q + 1'b1;
    else if (enters && take_new && free_q != '0) free_q <= free_q - 1'b1;
    if (taken) begun_q <= !b_last;
    drops_q <= drops_q + (CountW + 1)'(get && place && drop) - (CountW + 1)'(drops_q != '0 && back_valid && back_last);
    if (moves) begin
      busy_q <= !ends;
      if (!busy_q) new_q <= take_new;
    end
    if (rst) begin
      orders_q <= '0;
      free_q <= CountW'(SENTENCES);
      begun_q <= 1'b0;
      busy_q <= 1'b0;
      drops_q <= '0;
    end
  end

  // Who leaves, and with what
  if (LABELS == 0) begin : g_last_turn
    assign put = final_turn ? done : taken && !begun_q;
    wire [TurnW-1:0] after = final_turn ? '0 : turn + 1'b1;
    assign put_order = {1'b0, StateW'(0), after};
    assign room = 1'b1;
    assign b_ready = final_turn ? x_ready : back_ready;
    assign x_valid = b_valid && final_turn;
    assign x_data = b_data;
    assign x_last = b_last;
    assign e_ready = 1'b1;
    wire unused = &{1'b0, e_valid, e_data, e_last, enters, next_turn};
  end else begin : g_off_ramps
    wire leaves;
    wire [TurnW-1:0] of_turn;
    wire [StateW-1:0] state;
    wire [TurnW-1:0] after = leaves ? '0 : of_turn + 1'b1;
    assign b_ready = final_turn || back_ready;  // of its last turn nothing is wanted but the logits
    assign put_order = {leaves && of_turn != TurnW'(TURNS - 1), state, after};
    off_ramps #(.TURNS(TURNS), .SENTENCES(SENTENCES), .LABELS(LABELS), .W(LOGIT_W), .PATIENCE(PATIENCE), .THRESHOLDS(THRESHOLDS)) u_off_ramps (
      .clk, .rst, .enter(enters), .enter_turn(next_turn), .enter_state(order_q[0][TurnW +: StateW]), .room,
      .s_valid(e_valid), .s_ready(e_ready), .s_data(e_data), .s_last(e_last), .decided(put), .leaves, .turn(of_turn), .state,
      .m_valid(x_valid), .m_ready(x_ready), .m_data(x_data), .m_last(x_last));
    wire unused = &{1'b0, begun_q};
  end

  // The next layer, and what all places are told
  logic enter_q, pass_q;
  logic [BeatW-1:0] beat_q;
  logic [TokenW-1:0] token_q, tokens_q;
  wire token_end = beat_q == BeatW'(BEATS - 1);

  assign bus = {16'(tokens_q), pass_q, 8'(turn_q), enter_q};

  always_ff @(posedge clk) begin
    enter_q <= enters;
    pass_q <= ends;
    if (enters) turn_q <= next_turn;
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
