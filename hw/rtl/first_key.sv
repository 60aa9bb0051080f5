// SPDX-License-Identifier: Apache-2.0
// first_key: where a query's keys begin in its sentence: token i sees none before max(0, i - BACK); or, of a pair (SEGMENT), of its own sentence's first;
//            of a pack the same
// Golden : hw/keys.py (lo)
// Control: `token_end` in the last cycle of a token, `sentence_last` with it where the sentence ends there
// Pair   : `border` tokens are the first sentence, 0: nothing is told apart. It is looked at in any cycle of a sentence. `in_first`: the token in work is of
//          the first one; `at`: words of the sentence up to the token's end, looked at while `token_end`
// Pack   : `border` is told for each of its sentences: tokens of the present one, all of them `in_first`. `border_end`: the next one begins behind this token
// Both   : `fresh`: the token in work is the first of what `border` is told for
// Timing : `first` is that of the row which begins in the next cycle: of the next token while `token_end`, else of the present one
// Reset  : at the first token of a sentence
module first_key #(
  parameter int MAX_TOKENS = 4,   // longest sentence
  parameter int WORDS = 1,        // of a key
  parameter int BACK = 3,         // keys seen before the query's own; MAX_TOKENS - 1: all
  parameter int SEGMENT = 0,      // 1: keys of the query's own sentence of a pair; 2: of a pack
  parameter int BORDER_W = 3,     // bits of the border
  localparam int AT_W = MAX_TOKENS * WORDS > 1 ? $clog2(MAX_TOKENS * WORDS) : 1
) (
  input  wire logic            clk,
  input  wire logic            rst,
  input  wire logic            token_end,
  input  wire logic            sentence_last,
  input  wire logic [BORDER_W-1:0] border,
  input  wire logic [AT_W-1:0] at,
  output logic                 in_first,
  output logic                 fresh,
  output logic                 border_end,
  output logic      [AT_W-1:0] first          // word of the sentence
);
  if (SEGMENT != 0) begin : g_pair
    logic [AT_W-1:0] first_q;
    logic [BORDER_W-1:0] token_q;

    assign border_end = token_q + 1'b1 == border;
    assign in_first = SEGMENT > 1 || token_q < border;
    assign fresh = token_q == '0;
    assign first = !token_end ? first_q : sentence_last ? '0 : border_end ? at : first_q;
    always_ff @(posedge clk) begin
      first_q <= first;
      if (token_end) token_q <= sentence_last || (SEGMENT > 1 && border_end) ? '0 : token_q + 1'b1;
      if (rst) begin
        first_q <= '0;
        token_q <= '0;
      end
    end
  end else if (BACK < MAX_TOKENS - 1) begin : g_moves
    localparam int BackW = $clog2(BACK + 2);
    logic [AT_W-1:0] first_q;
    logic [BackW-1:0] before_q;  // keys seen before the present query's own
    wire moves = before_q == BackW'(BACK);
    wire unused = &{1'b0, border, at};

    assign {in_first, fresh, border_end} = '0;
    assign first = !token_end ? first_q : sentence_last ? '0 : moves ? first_q + AT_W'(WORDS) : first_q;
    always_ff @(posedge clk) begin
      first_q <= first;
      if (token_end) before_q <= sentence_last ? '0 : moves ? before_q : before_q + 1'b1;
      if (rst) begin
        first_q <= '0;
        before_q <= '0;
      end
    end
  end else begin : g_stays
    wire unused = &{1'b0, clk, rst, token_end, sentence_last, border, at};
    assign {in_first, fresh, border_end} = '0;
    assign first = '0;
  end
endmodule
