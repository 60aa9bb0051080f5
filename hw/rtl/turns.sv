// SPDX-License-Identifier: Apache-2.0
// turns: which turn the sentence is in that a place of a rolled encoder works on, and the constants of that turn
// Method : loop.sv tells all places when a sentence enters the hardware layers, in which turn, and of how many tokens it was (`pass`). Sentences
//          keep their order, so a place needs a queue of turns only, and to say when it is done with one.
// Timing : now, base and word are of the sentence in work from the cycle after `done`, or after the sentence entered; a place sees its data later.
//          AHEAD: word is of the sentence in work in the next cycle
// Layout : FILE word t holds the constants of turn t
// Reset  : no sentence
module turns #(
  parameter int TURNS = 1,          // 1: the hardware is not rolled, the bus is not looked at
  parameter int SENTENCES = 2,      // that may be inside at once
  parameter int ROWS = 0,           // 0: `done` ends a sentence; else it ends a row, and ROWS of them belong to each token
  parameter int QUERIES = 1,        // or to so many tokens, at a sentence's end to fewer
  parameter int STRIDE = 1,         // words of a memory that belong to a turn
  parameter int BANKS = TURNS,      // of the memory: turns that hold the same share one
  parameter logic [TURNS*8-1:0] BANK_OF = '0,  // BANKS < TURNS: the bank of each turn, 8 bits, turn 0 lowest
  parameter int WIDTH = 1,          // bits of a turn's constants
  parameter FILE = "",              // their memory; "" where there are none
  parameter int LOAD = 0,           // see rom
  parameter bit AHEAD = 1'b0,       // word a cycle earlier
  localparam int TURN_W = TURNS > 1 ? $clog2(TURNS) : 1,
  localparam int BASE_W = BANKS * STRIDE > 1 ? $clog2(BANKS * STRIDE) : 1
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [25:0]       bus,          // {tokens 16, pass, turn 8, enter}
  input  wire logic [32:0]       load,         // see rom
  input  wire logic              done,
  output      logic [TURN_W-1:0] now,
  output      logic [BASE_W-1:0] base,         // STRIDE * the bank of `now`
  output      logic [WIDTH-1:0]  word
);
  wire enter = bus[0];
  wire [TURN_W-1:0] turn = bus[1 +: TURN_W];
  wire [TURN_W-1:0] next;  // `now` of the next cycle

  if (TURNS == 1) begin : g_one
    assign now = '0;
    assign base = '0;
    assign next = '0;
    wire unused = &{1'b0, clk, rst, bus, enter, turn, done, next};
  end else begin : g_queue
    localparam int Places = SENTENCES + 1;  // one that comes back may enter again before its last token is done with
    localparam int CountW = $clog2(Places + 1);
    localparam int IndexW = $clog2(Places);
    (* mem2reg *) logic [TURN_W-1:0] queue_q [0:Places-1];  // the oldest first
    logic [CountW-1:0] count_q;
    wire pop;
    wire [TURN_W-1:0] bank = BANKS == TURNS ? next : TURN_W'(BANK_OF[8*next +: 8]);

    if (ROWS == 0) begin : g_whole
      assign pop = done;
      wire unused = &{1'b0, bus};
    end else begin : g_rows
      // Lengths come when a sentence is complete, which is before its last row is made.
      localparam int TokenW = 16;
      localparam int RowW = ROWS > 1 ? $clog2(ROWS) : 1;
      (* mem2reg *) logic [TokenW-1:0] length_q [0:Places-1];
      logic [CountW-1:0] known_q;  // lengths
      logic [RowW-1:0] row_q;
      logic [TokenW-1:0] token_q;
      wire pass = bus[9];
      wire row_end = row_q == RowW'(ROWS - 1);
      wire unused = &{1'b0, bus};
      assign pop = done && row_end && known_q != '0 && token_q + TokenW'(QUERIES) >= length_q[0];

      always_ff @(posedge clk) begin
        if (pop) for (int i = 1; i < Places; i++) length_q[i-1] <= length_q[i];
        if (pass) length_q[IndexW'(known_q - CountW'(pop))] <= bus[10 +: TokenW];
        if (pop != pass) known_q <= pop ? known_q - 1'b1 : known_q + 1'b1;
        if (done) begin
          row_q <= row_end ? '0 : row_q + 1'b1;
          if (row_end) token_q <= pop ? '0 : token_q + TokenW'(QUERIES);
        end
        if (rst) begin
          known_q <= '0;
          row_q <= '0;
          token_q <= '0;
        end
      end
    end

    always_ff @(posedge clk) begin
      if (pop) for (int i = 1; i < Places; i++) queue_q[i-1] <= queue_q[i];
      if (enter) queue_q[IndexW'(count_q - CountW'(pop))] <= turn;
      if (pop != enter) count_q <= pop ? count_q - 1'b1 : count_q + 1'b1;
      base <= BANKS == 1 ? '0 : BASE_W'(bank) * BASE_W'(STRIDE);
      if (rst) count_q <= '0;
    end
    assign now = queue_q[0];
    assign next = count_q == CountW'(pop) ? turn : pop ? queue_q[1] : queue_q[0];
  end

  if (FILE != "") begin : g_constants
    rom #(.WIDTH(WIDTH), .DEPTH(TURNS), .FILE(FILE), .LOAD(LOAD), .NOW(AHEAD)) u_word (.clk, .load, .en(1'b1), .addr(next), .q(word));
  end else begin : g_none
    assign word = '0;
    wire unused_load = &{1'b0, load};
  end
endmodule
