// SPDX-License-Identifier: Apache-2.0
// places: COUNT places with a sentence each, which are loaded, worked on step by step in turn, and given out in the order in which they came
// Golden : none, moves no data; its order in cycles is hw/parts/places.py
// Load   : while `ready`, the sentence of place load_at comes; token_in: one of its tokens is there, sentence_in: it was the last
// Choice : in a cycle in which `idle`, `start` says that a step begins in the next one: of place `at`, the next in cyclic order behind the one chosen last
//          that has a token and no step in flight. `first`, `last`: it is the sentence's first step, or last
// Wait   : a place's next step may begin WAIT cycles behind the last cycle of the one before (step_end, step_at)
// Give   : `full`: the oldest sentence's last step is `done`; `given` makes its place, give_at, free
// Timing : what is told in cycle t counts from t + 1 on
// Reset  : all places free, the first one is loaded and chosen first
module places #(
  parameter int COUNT = 4,          // places
  parameter int TOKENS = 16,        // of the longest sentence
  parameter bit BACKWARD = 1'b0,    // a sentence's steps begin when it is whole
  parameter int WAIT = 2,           // at least 2
  localparam int AT_W = COUNT > 1 ? $clog2(COUNT) : 1
) (
  input  wire logic            clk,
  input  wire logic            rst,
  output      logic            ready,
  output      logic [AT_W-1:0] load_at,
  input  wire logic            token_in,
  input  wire logic            sentence_in,
  input  wire logic            idle,
  output      logic            start,
  output      logic [AT_W-1:0] at,
  output      logic            first,
  output      logic            last,
  input  wire logic            step_end,
  input  wire logic [AT_W-1:0] step_at,
  input  wire logic            done,
  input  wire logic [AT_W-1:0] done_at,
  output      logic            full,
  output      logic [AT_W-1:0] give_at,
  input  wire logic            given
);
  localparam int CountW = $clog2(TOKENS + 1);

  logic [COUNT*CountW-1:0] count_q;             // tokens that are there and have not begun
  logic [COUNT-1:0] whole_q, begun_q, wait_q, done_q, can, behind;
  logic [AT_W-1:0] chosen_q;
  wire [AT_W:0] freed;                          // {valid, place}: its next step may be chosen from the next cycle on

  function automatic logic [AT_W-1:0] next(input logic [AT_W-1:0] place);
    next = place == AT_W'(COUNT - 1) ? '0 : place + 1'b1;
  endfunction

  assign ready = !whole_q[load_at];
  assign full = done_q[give_at];

  always_comb begin
    for (int i = 0; i < COUNT; i++) begin
      can[i] = count_q[i*CountW +: CountW] != '0 && !wait_q[i] && (!BACKWARD || whole_q[i]);
      behind[i] = can[i] && AT_W'(i) > chosen_q;
    end
    at = '0;
    for (int i = COUNT - 1; i >= 0; i--) if (behind != '0 ? behind[i] : can[i]) at = AT_W'(i);
  end
  assign start = idle && can != '0;
  assign first = !begun_q[at];
  assign last = whole_q[at] && count_q[at*CountW +: CountW] == CountW'(1);

  if (WAIT == 2) begin : g_now
    assign freed = {step_end, step_at};
  end else begin : g_later
    logic [(WAIT-2)*(AT_W+1)-1:0] line_q;
    always_ff @(posedge clk) begin
      line_q <= ((WAIT-2)*(AT_W+1))'({line_q, step_end, step_at});
      if (rst) for (int i = 0; i < WAIT - 2; i++) line_q[i*(AT_W+1)+AT_W] <= 1'b0;
    end
    assign freed = line_q[(WAIT-2)*(AT_W+1)-1 -: AT_W+1];
  end

  always_ff @(posedge clk) begin
    for (int i = 0; i < COUNT; i++) begin
      count_q[i*CountW +: CountW] <= count_q[i*CountW +: CountW] + CountW'(token_in && load_at == AT_W'(i)) - CountW'(start && at == AT_W'(i));
    end
    if (sentence_in) begin
      whole_q[load_at] <= 1'b1;
      load_at <= next(load_at);
    end
    if (freed[AT_W]) wait_q[freed[AT_W-1:0]] <= 1'b0;
    if (start) begin
      wait_q[at] <= 1'b1;
      begun_q[at] <= 1'b1;
      chosen_q <= at;
    end
    if (done) done_q[done_at] <= 1'b1;
    if (given) begin
      whole_q[give_at] <= 1'b0;
      begun_q[give_at] <= 1'b0;
      done_q[give_at] <= 1'b0;
      give_at <= next(give_at);
    end
    if (rst) begin
      count_q <= '0;
      whole_q <= '0;
      begun_q <= '0;
      wait_q <= '0;
      done_q <= '0;
      load_at <= '0;
      give_at <= '0;
      chosen_q <= AT_W'(COUNT - 1);
    end
  end

  initial if (WAIT < 2 || COUNT < 1) $fatal(1, "places: got WAIT %0d, COUNT %0d, must be at least 2, 1", WAIT, COUNT);
endmodule
