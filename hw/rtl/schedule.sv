// SPDX-License-Identifier: Apache-2.0
// schedule: which step of which fold a matrix unit works on, and where that step's weights lie
// Golden : hw/parts/schedule.py (SCHEDULE_FILE)
// Order  : WORDS = 0: each of FOLDS folds takes its STEPS steps, then waits until it has lasted BEATS cycles.
//          WORDS > 0: tiles that are all zero are left out. A word of the schedule says which GRAIN steps the next as many words of the weights are, and
//          whether they are their fold's last ones and the turn's; REPEAT folds one after the other have the same. A fold has at least max(BEATS, 1)
//          words of weights, so none waits
// Control: while `go`, a cycle is one step. In a fold's last cycle (`slot_end`) `again` has the fold begin anew, for another token. In the last one of all
//          (`end_all`) `turn_end` says that the next token may be of another turn; `start` is where the weights lie of the turn in work in the next cycle,
//          and `entry` where its schedule does
// Timing : all outputs are of the step in work, in the same cycle; the weights at `addr` are read in it
// Layout : schedule word {last of all, last of its fold, step / GRAIN}; of each turn one after the other
// Reset  : at a token's first step
module schedule #(
  parameter int STEPS = 2,
  parameter int FOLDS = 2,
  parameter int BEATS = 1,           // cycles that a fold lasts at least
  parameter int WORDS = 0,           // of the schedule, of all turns; 0: no tile is left out
  parameter int GRAIN = 1,           // steps of a word, a power of two that divides STEPS
  parameter int REPEAT = 1,          // folds that it is for, divides FOLDS
  parameter int DEPTH = 4,           // words of weights
  parameter SCHEDULE_FILE = "",
  parameter int SCHEDULE_LOAD = 0,   // see rom
  localparam int STEP_W = STEPS > 1 ? $clog2(STEPS) : 1,
  localparam int ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1,
  localparam int ENTRY_W = WORDS > 1 ? $clog2(WORDS) : 1
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [32:0]       load,
  input  wire logic              go,
  input  wire logic              again,
  input  wire logic              turn_end,
  input  wire logic [ADDR_W-1:0] start,
  input  wire logic [ENTRY_W-1:0] entry,
  output      logic              first,      // of its fold
  output      logic              last,       // of its fold
  output      logic              slot_end,
  output      logic              last_fold,
  output      logic              end_all,
  output      logic [STEP_W-1:0] step,
  output      logic [STEP_W-1:0] place,      // of the step's word among its fold's
  output      logic [ADDR_W-1:0] addr        // WORDS = 0: in its turn
);
  if (WORDS == 0) begin : g_all
    localparam int Slot = STEPS > BEATS ? STEPS : BEATS;
    localparam int SlotW = Slot > 1 ? $clog2(Slot) : 1;
    localparam int FoldW = FOLDS > 1 ? $clog2(FOLDS) : 1;
    logic [SlotW-1:0] step_q;
    logic [FoldW-1:0] fold_q;
    logic [ADDR_W-1:0] addr_q;
    logic slot_end_q, last_fold_q, last_step_q;  // found a step before: much waits for them; last_step: both
    wire next_slot_end = Slot == 1 || step_q == SlotW'(Slot - 2);
    wire next_last_fold = slot_end && !again ? FOLDS == 1 || fold_q == FoldW'(FOLDS - 2) : last_fold_q;
    wire busy = (SlotW+1)'(step_q) < (SlotW+1)'(STEPS);  // else waits for the beats of the fold before

    always_ff @(posedge clk) begin
      if (go) begin
        step_q <= slot_end ? '0 : step_q + 1'b1;
        slot_end_q <= next_slot_end;
        last_fold_q <= next_last_fold;
        last_step_q <= next_slot_end && next_last_fold;
        if (slot_end && !again) fold_q <= end_all ? '0 : fold_q + 1'b1;
        if (end_all) addr_q <= '0;
        else if (busy) addr_q <= addr_q + 1'b1;
      end
      if (rst) begin
        step_q <= '0;
        fold_q <= '0;
        addr_q <= '0;
        slot_end_q <= Slot == 1;
        last_fold_q <= FOLDS == 1;
        last_step_q <= Slot == 1 && FOLDS == 1;
      end
    end
    assign first = step_q == '0;
    assign last = step_q == SlotW'(STEPS - 1);
    assign slot_end = slot_end_q;
    assign last_fold = last_fold_q;
    assign end_all = last_step_q && !again;
    assign step = STEP_W'(step_q);
    assign place = step;
    assign addr = addr_q;
    wire unused = &{1'b0, load, turn_end, start, entry, GRAIN, REPEAT};
  end else begin : g_kept
    localparam int GrainW = GRAIN > 1 ? $clog2(GRAIN) : 1;
    localparam int RepeatW = REPEAT > 1 ? $clog2(REPEAT) : 1;
    localparam int CoarseW = STEPS / GRAIN > 1 ? $clog2(STEPS / GRAIN) : 1;
    logic [ADDR_W-1:0] addr_q;
    logic [ENTRY_W-1:0] entry_q, fold_q;  // fold: the first word of the schedule of the fold in work
    logic [STEP_W-1:0] place_q;
    logic [GrainW-1:0] grain_q;
    logic [RepeatW-1:0] repeat_q;
    logic first_q, fresh_q;  // fresh: no step of the turn has gone, so it may not be known yet which it is
    wire fold_end, all_end;  // of the word
    wire [CoarseW-1:0] coarse;
    wire word_end = grain_q == GrainW'(GRAIN - 1);
    wire repeated = repeat_q == RepeatW'(REPEAT - 1);
    wire [ENTRY_W-1:0] fold = first ? entry_q : fold_q;
    wire anew = slot_end && (again || !repeated);  // the same words for the next token or fold
    wire [ENTRY_W-1:0] next = go ? (end_all ? entry : anew ? fold : entry_q + ENTRY_W'(word_end)) : fresh_q ? entry : entry_q;

    always_ff @(posedge clk) begin
      entry_q <= next;
      if (go) begin
        fold_q <= fold;
        addr_q <= end_all ? start : addr_q + 1'b1;
        place_q <= slot_end ? '0 : place_q + 1'b1;
        grain_q <= word_end ? '0 : grain_q + 1'b1;
        if (slot_end && !again) repeat_q <= repeated ? '0 : repeat_q + 1'b1;
        first_q <= slot_end;
        fresh_q <= end_all && turn_end;
      end else if (fresh_q) addr_q <= start;
      if (rst) begin
        place_q <= '0;
        grain_q <= '0;
        repeat_q <= '0;
        first_q <= 1'b1;
        fresh_q <= 1'b1;
      end
    end
    rom #(.WIDTH(CoarseW + 2), .DEPTH(WORDS), .FILE(SCHEDULE_FILE), .LOAD(SCHEDULE_LOAD)) u_schedule (
      .clk, .load, .en(1'b1), .addr(next), .q({all_end, fold_end, coarse}));
    assign first = first_q;
    assign last = fold_end && word_end;
    assign slot_end = last;
    assign last_fold = all_end && repeated;
    assign end_all = slot_end && last_fold && !again;
    assign step = GRAIN > 1 ? STEP_W'({coarse, grain_q}) : STEP_W'(coarse);
    assign place = place_q;
    assign addr = addr_q;
  end

  initial if (STEPS % GRAIN != 0 || FOLDS % REPEAT != 0) $fatal(1, "schedule: got GRAIN %0d, REPEAT %0d, must divide STEPS %0d, FOLDS %0d", GRAIN, REPEAT, STEPS, FOLDS);
endmodule
