// SPDX-License-Identifier: Apache-2.0
// schedule: which step of which fold a matrix unit with its weights on the chip works on, and where that step's weights lie
// Golden : hw/parts/schedule.py (SCHEDULE_FILE)
// Order  : WORDS = 0: each of FOLDS folds takes its STEPS steps, then waits until it has lasted BEATS cycles.
//          WORDS > 0: tiles that are all zero are left out. Word a of the weight memory is step `step` of its fold and the fold's, the token's last or
//          not, as word a of SCHEDULE_FILE says; a fold has max(its tiles that are not zero, BEATS, 1) words, so none waits
// Control: while `go`, a cycle is one step; `sentence_end` says that the token is a sentence's last.
// Timing : all outputs are of the step in work, in the same cycle; the word at `addr` is read in it
// Layout : schedule word {ends the token, ends its fold, step}; TURNS > 1: of each turn one after the other, those of turn t from START_FILE word t on
// Reset  : at a token's first step
module schedule #(
  parameter int STEPS = 2,
  parameter int FOLDS = 2,
  parameter int BEATS = 1,           // cycles that a fold lasts at least
  parameter int WORDS = 0,           // of the schedule, of all turns; 0: no tile is left out
  parameter SCHEDULE_FILE = "",
  parameter int SCHEDULE_LOAD = 0,   // see rom
  parameter START_FILE = "",         // each turn's first word; "" where it is 0
  parameter int START_LOAD = 0,      // see rom
  parameter int TURNS = 1,
  parameter int SENTENCES = 2,       // see turns
  localparam int STEP_W = STEPS > 1 ? $clog2(STEPS) : 1,
  localparam int TURN_W = TURNS > 1 ? $clog2(TURNS) : 1,
  localparam int DEPTH = WORDS > 0 ? WORDS : TURNS * FOLDS * STEPS,
  localparam int ADDR_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [25:0]       bus,
  input  wire logic [32:0]       load,
  input  wire logic              go,
  input  wire logic              sentence_end,
  output      logic              first,      // of its fold
  output      logic              last,       // of its fold
  output      logic              last_fold,
  output      logic              token_end,  // the token's last cycle
  output      logic [STEP_W-1:0] step,
  output      logic [ADDR_W-1:0] addr,
  output      logic [TURN_W-1:0] turn
);
  if (WORDS == 0) begin : g_all
    localparam int Slot = STEPS > BEATS ? STEPS : BEATS;
    localparam int SlotW = Slot > 1 ? $clog2(Slot) : 1;
    localparam int FoldW = FOLDS > 1 ? $clog2(FOLDS) : 1;
    logic [SlotW-1:0] step_q;
    logic [FoldW-1:0] fold_q;
    logic [ADDR_W-1:0] addr_q;
    wire [ADDR_W-1:0] base;  // of the turn's weights
    wire busy = (SlotW+1)'(step_q) < (SlotW+1)'(STEPS);  // else waits for the beats of the fold before
    wire slot_end = step_q == SlotW'(Slot - 1);

    always_ff @(posedge clk) begin
      if (go) begin
        step_q <= slot_end ? '0 : step_q + 1'b1;
        if (slot_end) fold_q <= token_end ? '0 : fold_q + 1'b1;
        if (token_end) addr_q <= '0;
        else if (busy) addr_q <= addr_q + 1'b1;
      end
      if (rst) begin
        step_q <= '0;
        fold_q <= '0;
        addr_q <= '0;
      end
    end
    /* verilator lint_off PINCONNECTEMPTY */
    turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .STRIDE(FOLDS * STEPS)) u_turn (
      .clk, .rst, .bus, .load(33'd0), .done(go && token_end && sentence_end), .now(turn), .base, .word());
    /* verilator lint_on PINCONNECTEMPTY */
    assign first = step_q == '0;
    assign last = step_q == SlotW'(STEPS - 1);
    assign last_fold = fold_q == FoldW'(FOLDS - 1);
    assign token_end = slot_end && last_fold;
    assign step = STEP_W'(step_q);
    assign addr = base + addr_q;
    wire unused = &{1'b0, load};
  end else begin : g_kept
    logic [ADDR_W-1:0] addr_q;
    logic first_q, fresh_q;  // fresh: no step of the sentence has gone, so its turn may not be known yet
    wire [ADDR_W-1:0] start;  // of the turn that is in work in the next cycle
    wire [ADDR_W-1:0] next = go && !token_end ? addr_q + 1'b1 : go || fresh_q ? start : addr_q;

    always_ff @(posedge clk) begin
      addr_q <= next;
      if (go) begin
        first_q <= last;
        fresh_q <= token_end && sentence_end;
      end
      if (rst) begin
        first_q <= 1'b1;
        fresh_q <= 1'b1;
      end
    end
    /* verilator lint_off PINCONNECTEMPTY */
    turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .WIDTH(ADDR_W), .FILE(START_FILE), .LOAD(START_LOAD), .AHEAD(1'b1)) u_turn (
      .clk, .rst, .bus, .load, .done(go && token_end && sentence_end), .now(turn), .base(), .word(start));
    /* verilator lint_on PINCONNECTEMPTY */
    rom #(.WIDTH(STEP_W + 2), .DEPTH(WORDS), .FILE(SCHEDULE_FILE), .LOAD(SCHEDULE_LOAD)) u_schedule (
      .clk, .load, .en(1'b1), .addr(next), .q({token_end, last, step}));
    assign first = first_q;
    assign last_fold = token_end;
    assign addr = addr_q;
  end
endmodule
