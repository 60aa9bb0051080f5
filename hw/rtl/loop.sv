// SPDX-License-Identifier: Apache-2.0
// loop: sends each sentence TURNS times through the hardware layers of a rolled encoder; up to SENTENCES of them are inside, in any turns
// Stream : new sentences s_* and those that come back -> m_*, to the first hardware layer; b_*, from the last one -> back, or x_* after the last turn
//          With off-ramps (LABELS): e_*, logits of each turn, say which sentences leave; x_* are their answers, one logit a beat (off_ramps.sv)
// Method : sentences keep their order. What comes back waits in a FIFO that holds SENTENCES of the longest, so the layers can always give out
//          what they hold: nothing waits in a circle. Where one has left, the next new one takes its place in the order; it waits for nothing: if
//          none is there in the cycle in which its place comes up, the place is kept for the first moment between two sentences in which one is.
//          With off-ramps a sentence goes round when that is decided; one that leaves makes its place at once. What is still to come of it, or
//          waits in the FIFO, is dropped, a beat a cycle, beside the new one. A new one also waits until an answer of those before has a place (`room`).
// Pairs  : n_*, tokens of the first sentence of each new one (hw/ops/border.py), taken with its last beat; o_*: the same of each visit, told behind its
//          last beat, 0 in turns in which all keys are seen (ALL). With RECALL: a pair that goes into that turn leaves its first sentence in a memory; a
//          new one with 0 in front of the border came without, and takes what the pair before has left there in front of its own tokens
// Packs  : of sentences (PACK, hw/pack.py): n_* and o_* are tokens of each sentence of a pack, `last` on the last; one a cycle while its tokens go in, each
//          pack's last beat not before its last of them. Those of a pack that comes back wait in a FIFO, in the order in which packs went in
// Bus    : {tokens, pass, turn, enter}, for the `turns` of every place: a sentence enters, in `turn`; a sentence of `tokens` has passed
// Timing : s and b to m: 1 and 2 cycles, II 1, also from sentence to sentence; b to x: at once. With off-ramps: off_ramps.sv, and the order is there
//          a cycle behind the decision
// Reset  : no sentence; with RECALL the next pair must be whole (hw/recall.py)
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
  parameter int BORDER_W = 0,       // bits of n_* and o_*; 0: they are not there
  parameter logic [TURNS-1:0] ALL = '0,
  parameter int PACK = 0,           // 1: n_* and o_* are of packs
  parameter int RECALL = 0,         // turn before which first sentences are kept; 0: none is
  parameter RAM_STYLE = "auto",     // of the FIFO of what comes back (fifo_deep)
  localparam int B_W = BORDER_W > 0 ? BORDER_W : 1,
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
  input  wire logic             n_valid,
  output      logic             n_ready,
  input  wire logic [B_W-1:0]   n_data,
  input  wire logic             n_last,
  output      logic             o_valid,
  input  wire logic             o_ready,
  output      logic [B_W-1:0]   o_data,
  output      logic             o_last,
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
  logic [TokenW-1:0] token_q;       // of the one that goes in
  logic [TurnW-1:0] turn_q;
  wire advance = m_ready || !m_valid;
  wire drop = order_q[0][OrderW-1];
  wire place = orders_q != '0 && order_q[0][TurnW-1:0] == '0 && !(drop && &drops_q);
  wire wanted = s_valid && room;
  wire take_new = busy_q ? new_q : admit;
  wire take_back = busy_q ? !new_q : again;
  wire [TurnW-1:0] next_turn = take_new ? '0 : order_q[0][TurnW-1:0];
  wire [TurnW-1:0] this_turn = busy_q ? turn_q : next_turn;
  wire replay, stale, hold;         // a kept beat is next; it is not yet read; the border of the sentence that ends cannot be told
  wire [WIDTH-1:0] kept_word;
  wire last = take_new ? s_last : back_last && !replay;
  wire moves = advance && !hold && (take_new ? s_valid : take_back && (replay || back_valid));
  wire ends = moves && last;

  assign admit = !busy_q && wanted && (free_q != '0 || place);
  assign again = !busy_q && !admit && orders_q != '0 && order_q[0][TurnW-1:0] != '0 && back_valid && drops_q == '0 && !stale;
  assign vacant = !busy_q && !wanted && place;
  assign enters = moves && !busy_q;
  assign get = vacant || (moves && !busy_q && (take_back || free_q == '0));
  assign s_ready = advance && take_new && !hold;
  assign back_take = drops_q != '0 || (advance && take_back && !replay && !hold);

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

  // Pairs: borders in the order of the sentences, and the first sentence that is kept
  if (BORDER_W == 0) begin : g_alone
    assign {replay, stale, hold, n_ready, o_valid, o_data, o_last} = '0;
    assign kept_word = '0;
    wire unused_pair = &{1'b0, n_valid, n_data, n_last, o_ready, this_turn, ALL, RECALL};
  end else if (PACK != 0) begin : g_packs
    logic told_q;                     // the last of the pack that goes in, from its first beat on
    wire again_valid, again_last;
    wire [B_W-1:0] again_data;
    wire [B_W-1:0] told = take_new ? n_data : again_data;
    wire told_last = take_new ? n_last : again_last;
    wire ready = (take_new ? n_valid : again_valid) && (!o_valid || o_ready);
    wire tell = ready && (busy_q ? !told_q : moves);

    assign hold = last && !(busy_q && told_q) && !(ready && told_last);
    assign n_ready = tell && take_new;
    // It holds those of all packs inside; one more, as a full fifo takes none in the cycle in which one leaves
    /* verilator lint_off PINCONNECTEMPTY */
    fifo #(.WIDTH(B_W), .DEPTH(SENTENCES * MAX_TOKENS + 1)) u_told (
      .clk, .rst, .s_valid(tell && this_turn != TurnW'(TURNS - 1)), .s_ready(), .s_data(told), .s_last(told_last),
      .m_valid(again_valid), .m_ready(tell && !take_new), .m_data(again_data), .m_last(again_last));
    /* verilator lint_on PINCONNECTEMPTY */
    always_ff @(posedge clk) begin
      if (moves || tell) told_q <= !ends && ((busy_q && told_q) || (tell && told_last));
      if (tell) begin
        o_data <= told;
        o_last <= told_last;
      end
      if (tell) o_valid <= 1'b1;
      else if (o_ready) o_valid <= 1'b0;
      if (rst) o_valid <= 1'b0;
    end
    assign {replay, stale} = '0;
    assign kept_word = '0;
    wire unused_pack = &{1'b0, ALL, RECALL};
  end else begin : g_pairs
    (* mem2reg *) logic [B_W-1:0] order_border_q [0:SENTENCES-1];  // beside order_q
    (* mem2reg *) logic [B_W-1:0] inside_q [0:SENTENCES-1];        // of the visits whose last beat has gone in, oldest first
    logic [CountW-1:0] inside_count_q;
    logic [B_W-1:0] border_q;
    wire [B_W-1:0] own = busy_q ? border_q : order_border_q[0];    // of one that comes back
    wire [B_W-1:0] border = take_new ? n_data : own;

    assign hold = last && ((o_valid && !o_ready) || (take_new && !n_valid));
    assign n_ready = ends && take_new;
    assign o_last = 1'b1;
    always_ff @(posedge clk) begin
      if (get) for (int i = 1; i < SENTENCES; i++) order_border_q[i-1] <= order_border_q[i];
      if (put) begin
        order_border_q[IndexW'(orders_q - CountW'(get))] <= inside_q[0];
        for (int i = 1; i < SENTENCES; i++) inside_q[i-1] <= inside_q[i];
      end
      if (ends) inside_q[IndexW'(inside_count_q - CountW'(put))] <= border;
      if (put != ends) inside_count_q <= put ? inside_count_q - 1'b1 : inside_count_q + 1'b1;
      if (enters) border_q <= own;
      if (ends) o_data <= ALL[this_turn] ? '0 : border;
      if (ends) o_valid <= 1'b1;
      else if (o_ready) o_valid <= 1'b0;
      if (rst) begin
        inside_count_q <= '0;
        o_valid <= 1'b0;
      end
    end
    wire unused_last = &{1'b0, n_last};

    if (RECALL == 0) begin : g_nothing
      assign {replay, stale} = '0;
      assign kept_word = '0;
    end else begin : g_recall
      localparam int Depth = MAX_TOKENS * BEATS;
      localparam int CountsW = $clog2(Depth + 1);
      localparam int AtW = Depth > 1 ? $clog2(Depth) : 1;
      logic [WIDTH-1:0] kept [0:Depth-1];
      logic [WIDTH-1:0] kept_word_q;
      logic [CountsW-1:0] at_q, kept_q;  // beats of the visit that were kept or came from there; of the sentence that is kept
      logic wrote_q;
      // No reset: what comes first behind one is a whole pair, in turn 0. at_q is 0 from its end on, kept_q is set when it goes into turn RECALL, before any
      // visit asks for it, and wrote_q falls while there is no order.
      wire here = take_back && this_turn == TurnW'(RECALL);
      wire keeps = here && B_W'(token_q) < own;
      wire [CountsW-1:0] at = ends ? '0 : moves && (keeps || replay) ? at_q + 1'b1 : at_q;

      assign replay = here && own == '0 && at_q != kept_q;
      assign stale = wrote_q && order_border_q[0] == '0;
      assign kept_word = kept_word_q;
      always_ff @(posedge clk) if (moves && keeps) kept[AtW'(at_q)] <= back_data;
      always_ff @(posedge clk) kept_word_q <= kept[AtW'(at)];
      always_ff @(posedge clk) begin
        at_q <= at;
        wrote_q <= moves && keeps;
        if (ends && here && own != '0) kept_q <= at_q + CountsW'(keeps);
      end
    end
  end

  // The next layer, and what all places are told
  logic enter_q, pass_q;
  logic [BeatW-1:0] beat_q;
  logic [TokenW-1:0] tokens_q;
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
      m_data <= take_new ? s_data : replay ? kept_word : back_data;
      m_last <= last;
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
