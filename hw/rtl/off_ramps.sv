// SPDX-License-Identifier: Apache-2.0
// off_ramps: decides at which off-ramp each sentence leaves a rolled encoder, and gives the answers in the order in which the sentences came
// Formula: a sentence leaves in its last turn, or where margin >= threshold of its turn and run >= PATIENCE. margin: the largest logit less the largest of the
//          others; best: the first label with the largest; run: turns in a row, this one included, in which best was the same
// Golden : hw/ops/off_ramps.py
// Stream : s_* logits of a visit, one a beat, visits in the order of `enter` -> m_* the answers. s_ready is always 1: a decision waits for nothing
// Method : a queue of the visits whose logits have not come; a memory of the last logits of each sentence that has not been answered, sent from
//          when the sentence has left and all before it are answered. `room`: it has a place for one sentence more
// Timing : a beat a cycle. With the last beat taken in cycle t, `decided` is 1 in t + 1, and the answer's first beat, if it is its turn, at m_* in t + 3;
//          answers follow each other without a gap
// Layout : state {tag, best, run} goes round with a sentence; THRESHOLDS[turn*(W+1) +: W+1] is that of a turn
// Reset  : no sentence
module off_ramps #(
  parameter int TURNS = 2,
  parameter int SENTENCES = 2,      // that may be in the layers at once, >= 2
  parameter int LABELS = 2,         // >= 2
  parameter int W = 16,             // bits of a logit, signed
  parameter int PATIENCE = 1,       // 1 .. TURNS
  parameter logic [TURNS*(W+1)-1:0] THRESHOLDS = '0,
  localparam int TURN_W = TURNS > 1 ? $clog2(TURNS) : 1,
  localparam int TAG_W = $clog2(TURNS * SENTENCES),  // while one goes through all its turns, fewer than TURNS * SENTENCES others come
  localparam int LABEL_W = $clog2(LABELS),  // of 2 labels or more
  localparam int RUN_W = $clog2(PATIENCE + 1),
  localparam int STATE_W = TAG_W + LABEL_W + RUN_W
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               enter,        // a sentence enters the layers
  input  wire logic [TURN_W-1:0]  enter_turn,
  input  wire logic [STATE_W-1:0] enter_state,  // of the turn before; in turn 0 it does not count
  output      logic               room,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [W-1:0]       s_data,
  input  wire logic               s_last,
  output      logic               decided,
  output      logic               leaves,
  output      logic [TURN_W-1:0]  turn,         // that was decided on
  output      logic [STATE_W-1:0] state,        // for the next
  output      logic               m_valid,
  input  wire logic               m_ready,
  output      logic [W-1:0]       m_data,
  output      logic               m_last
);
  localparam int Places = SENTENCES + 1;  // as in turns
  localparam int CountW = $clog2(Places + 1);
  localparam int IndexW = $clog2(Places);
  localparam int Answers = 1 << TAG_W;
  localparam int VisitW = TURN_W + STATE_W;

  // Visits whose logits have not come, the oldest first
  (* mem2reg *) logic [VisitW-1:0] queue_q [0:Places-1];
  logic [CountW-1:0] count_q;
  logic [TAG_W-1:0] next_tag_q;
  logic [TAG_W:0] used_q;                 // places of answers
  wire fresh = enter && enter_turn == '0;
  wire [TAG_W-1:0] enter_tag = fresh ? next_tag_q : enter_state[STATE_W-1 -: TAG_W];
  wire pop = s_valid && s_last;
  wire answered;

  assign s_ready = 1'b1;
  assign room = used_q != (TAG_W + 1)'(Answers);

  always_ff @(posedge clk) begin
    if (pop) for (int i = 1; i < Places; i++) queue_q[i-1] <= queue_q[i];
    if (enter) queue_q[IndexW'(count_q - CountW'(pop))] <= {enter_turn, enter_tag, enter_state[0 +: LABEL_W + RUN_W]};
    if (enter != pop) count_q <= enter ? count_q + 1'b1 : count_q - 1'b1;
    if (fresh) next_tag_q <= next_tag_q + 1'b1;
    if (fresh != answered) used_q <= fresh ? used_q + 1'b1 : used_q - 1'b1;
    if (rst) begin
      count_q <= '0;
      next_tag_q <= '0;
      used_q <= '0;
    end
  end

  // The two largest logits
  logic [LABEL_W-1:0] label_q, best_q;
  logic signed [W-1:0] top_q, second_q;
  wire signed [W-1:0] logit = s_data;
  wire begins = label_q == '0;
  wire larger = begins || logit > top_q;

  always_ff @(posedge clk) begin
    if (s_valid) begin
      label_q <= s_last ? '0 : label_q + 1'b1;
      if (larger) begin
        best_q <= label_q;
        top_q <= logit;
        second_q <= begins ? {1'b1, {W-1{1'b0}}} : top_q;
      end else if (logit > second_q) second_q <= logit;
    end
    if (rst) label_q <= '0;
  end

  // The decision
  logic [VisitW-1:0] visit_q;
  wire [TAG_W-1:0] tag = visit_q[LABEL_W + RUN_W +: TAG_W];
  wire [LABEL_W-1:0] best_before = visit_q[RUN_W +: LABEL_W];
  wire [RUN_W-1:0] run_before = visit_q[0 +: RUN_W];
  wire agrees = turn != '0 && best_q == best_before;
  wire [RUN_W-1:0] run = !agrees ? RUN_W'(1) : run_before == RUN_W'(PATIENCE) ? run_before : run_before + 1'b1;
  wire [W:0] margin = {top_q[W-1], top_q} - {second_q[W-1], second_q};
  wire [W:0] threshold = THRESHOLDS[turn*(W+1) +: W+1];

  assign turn = visit_q[VisitW-1 -: TURN_W];
  assign leaves = turn == TURN_W'(TURNS - 1) || (margin >= threshold && run >= RUN_W'(PATIENCE));
  assign state = {tag, best_q, run};

  always_ff @(posedge clk) begin
    decided <= pop;
    if (pop) visit_q <= queue_q[0];
    if (rst) decided <= 1'b0;
  end

  // Answers
  logic [W-1:0] answers [0:(Answers << LABEL_W)-1];
  logic [Answers-1:0] left_q;             // the sentence with this tag has left
  logic [TAG_W-1:0] oldest_q;
  logic [LABEL_W-1:0] sent_q;
  wire send = (m_ready || !m_valid) && left_q[oldest_q];
  wire ends = sent_q == LABEL_W'(LABELS - 1);
  assign answered = send && ends;

  always_ff @(posedge clk) if (s_valid) answers[{queue_q[0][LABEL_W + RUN_W +: TAG_W], label_q}] <= s_data;

  always_ff @(posedge clk) begin
    if (send) m_data <= answers[{oldest_q, sent_q}];
    if (m_ready || !m_valid) begin
      m_valid <= left_q[oldest_q];
      m_last <= ends;
    end
    if (send) sent_q <= ends ? '0 : sent_q + 1'b1;
    if (answered) begin
      oldest_q <= oldest_q + 1'b1;
      left_q[oldest_q] <= 1'b0;
    end
    if (decided && leaves) left_q[tag] <= 1'b1;
    if (rst) begin
      m_valid <= 1'b0;
      sent_q <= '0;
      oldest_q <= '0;
      left_q <= '0;
    end
  end

  initial if (LABELS < 2) $fatal(1, "off_ramps: got LABELS %0d, must be at least 2", LABELS);
endmodule
