// SPDX-License-Identifier: Apache-2.0
// context_op (`context` is a keyword): acc[i,h,d] = sum_j p[i,h,j] * v[j,h,d], over the keys j that query i sees: from max(0, i - BACK) on, as many as its rows have;
//          or, of a pair (SEGMENT), from 0 or B on, with B the length of the rows of the sentence's first token
// Golden : hw/ops/context.py (bit-exact)
// Stream : p_* rows, an unsigned element of SIDE heads of QUERIES tokens a beat, order tokens i, heads, token j, p_last at the end of the rows (of n
//          elements each); where a sentence's last tokens are fewer than QUERIES, the lanes of the others are not looked at; v_* tokens of HEADS*DIM signed elements, v_last at the end of a sentence (of T tokens); m_* tokens of HEADS*DIM
//          elements, m_last on the final beat of a sentence, that is of its T-th token
// Order  : fold f of a row computes elements f*PE .. f*PE+PE-1 of the head (of each of the heads side by side) in n steps; the sums leave in
//          QUERIES*SIDE*PE/LANES beats while the next fold is computed. A fold takes SLOT = max(n, QUERIES*SIDE*PE/LANES) cycles, a row DIM/PE * SLOT. The values of a
//          sentence are stored first, in a ring of ROOM*MAX_TOKENS tokens, behind those of the sentences before; rows are double-buffered.
// Timing : no cycle is lost between folds, rows, tokens or sentences. A row starts when it is whole, its sentence's values
//          are whole and the row before is done; from the later of these last input beats to the first beat of fold f:
//          6 + (f+1)*SLOT cycles. Tokens side by side leave one after the other, 3 cycles after their last sums (regroup.sv).
// Layout : lane i = data[i*W +: W]; SIDE heads are interleaved: element d of head g*SIDE+s is element (g*DIM + d)*SIDE + s of its token; lane
//          r*SIDE+s of p is head g*SIDE+s of the r-th of the tokens side by side
// Reset  : no row or token held
module context_op #(
  parameter int HEADS = 2,
  parameter int DIM = 4,          // elements per head
  parameter int MAX_TOKENS = 4,   // longest sentence
  parameter int SIDE = 1,         // heads side by side, divides HEADS
  parameter int QUERIES = 1,      // tokens side by side; more than one only where all keys are seen
  parameter int PE = 2,           // products per head, token and cycle, divides DIM
  parameter int LANES = 1,        // elements per beat of v and m, divides SIDE*PE
  parameter int P_W = 8,          // bits per probability
  parameter int V_W = 8,          // bits per value element
  parameter int OUT_W = 20,       // bits per sum
  parameter int BACK = MAX_TOKENS - 1,  // keys seen before the query's own; MAX_TOKENS - 1: all
  parameter int SEGMENT = 0,      // 1: keys of the query's own sentence of a pair; 2: of a pack
  parameter MUL_STYLE = "one",    // multipliers: see mac_array
  parameter int ROOM = 2,         // of the values: see ring
  parameter RAM_STYLE = "auto"    // of the values: see ring
) (
  input  wire logic                    clk,
  input  wire logic                    rst,
  input  wire logic                    p_valid,
  output      logic                         p_ready,
  input  wire logic [QUERIES*SIDE*P_W-1:0] p_data,
  input  wire logic                    p_last,
  input  wire logic                    v_valid,
  output      logic                         v_ready,
  input  wire logic [LANES*V_W-1:0]    v_data,
  input  wire logic                    v_last,
  output      logic                         m_valid,
  input  wire logic                    m_ready,
  output      logic [LANES*OUT_W-1:0]       m_data,
  output      logic                         m_last
);
  localparam int Folds = DIM / PE;
  localparam int Words = HEADS / SIDE * Folds;      // per token
  localparam int Depth = MAX_TOKENS * Words;        // per sentence
  localparam int Beats = SIDE * PE / LANES;         // of a token's sums of a fold
  localparam int SlotBeats = QUERIES * Beats;
  localparam int TokenW = $clog2(MAX_TOKENS + 1);
  localparam int WaitW = $clog2(MAX_TOKENS + SlotBeats + 1);
  localparam int PAtW = MAX_TOKENS > 1 ? $clog2(MAX_TOKENS) : 1;
  localparam int FoldW = Folds > 1 ? $clog2(Folds) : 1;
  localparam int WordW = Words > 1 ? $clog2(Words) : 1;
  localparam int VAtW = Depth > 1 ? $clog2(Depth) : 1;
  localparam int CountW = $clog2(Depth + 1);
  localparam int EndW = $clog2(Depth + QUERIES * Words + 1);

  wire en;

  // Much waits for what ends with a step, so it is found in a cycle before, from registers; so are `one` and `few` of a row.
  // Issue: step j of fold f. A fold that is shorter than its beats waits before its steps, so that whatever follows, sums are
  // SlotBeats cycles apart. `word_q` counts the folds of the token's heads (those side by side as one), `next_token_q` the words up to its end.
  logic [TokenW-1:0] step_q;
  logic [WaitW-1:0] wait_q;
  logic [FoldW-1:0] fold_q;
  logic [WordW-1:0] word_q;
  logic [VAtW-1:0] v_at_q;
  logic [CountW-1:0] next_token_q, v_count;
  logic [TokenW-1:0] span;
  wire [VAtW-1:0] first;
  logic p_full, v_full;

  logic begins_q, ends_q, waited_q, last_fold_q, last_word_q;  // the step is a fold's first, its last, has waited; the fold is its row's last, its token's
  wire one, few;  // the row has one key; fewer than a fold has beats
  wire run = p_full && v_full;
  wire waits = few && !waited_q;
  wire issue = run && !waits;
  wire slot_end = begins_q ? one : ends_q;
  wire row_end = slot_end && last_fold_q;
  wire token_end = slot_end && last_word_q;
  wire [QUERIES-1:0] ends;  // of the tokens side by side, which one is the sentence's last
  wire sentence_last = |ends;
  wire [WordW-1:0] next_word = token_end ? '0 : word_q + 1'b1;

  logic [TokenW-1:0] border_q;
  wire in_first, fresh, border_end;  // fresh: at a sentence's first token, whose rows are as long as the sentence
  wire [TokenW-1:0] border = fresh ? span : border_q;
  always_ff @(posedge clk) if (en && issue && fresh) border_q <= span;

  first_key #(.MAX_TOKENS(MAX_TOKENS), .WORDS(Words), .BACK(BACK), .SEGMENT(SEGMENT), .BORDER_W(TokenW)) u_first (
    .clk, .rst, .token_end(en && issue && token_end), .sentence_last, .border, .at(VAtW'(next_token_q)), .in_first, .fresh, .border_end, .first);
  wire unused_first = &{1'b0, in_first, border_end};

  always_ff @(posedge clk) begin
    if (en && run && waits) begin
      wait_q <= wait_q + 1'b1;
      waited_q <= (WaitW + 1)'(WaitW'(wait_q + WaitW'(span))) + 1'b1 >= (WaitW + 1)'(SlotBeats);
    end
    if (en && issue) begin
      step_q <= step_q + 1'b1;
      v_at_q <= v_at_q + VAtW'(Words);
      begins_q <= slot_end;
      ends_q <= (TokenW+1)'(step_q) + (TokenW+1)'(2) == (TokenW+1)'(span);
      if (slot_end) begin
        step_q <= '0;
        wait_q <= '0;
        waited_q <= 1'b0;
        fold_q <= row_end ? '0 : fold_q + 1'b1;
        last_fold_q <= Folds == 1 || fold_q == FoldW'(Folds - 2);
        word_q <= next_word;
        last_word_q <= Words == 1 || word_q == WordW'(Words - 2);
        v_at_q <= first + VAtW'(next_word);
        if (token_end) next_token_q <= sentence_last ? CountW'(Words) : next_token_q + CountW'(QUERIES * Words);
      end
    end
    if (rst) begin
      step_q <= '0;
      wait_q <= '0;
      waited_q <= 1'b0;
      begins_q <= 1'b1;
      fold_q <= '0;
      last_fold_q <= Folds == 1;
      word_q <= '0;
      last_word_q <= Words == 1;
      v_at_q <= '0;
      next_token_q <= CountW'(Words);
    end
  end

  // A token of several words is longer than what it takes to see that it is the last.
  logic [QUERIES-1:0] now;
  for (genvar r = 0; r < QUERIES; r++) begin : g_end
    assign now[r] = EndW'(next_token_q) + EndW'(r * Words) == EndW'(v_count);
  end
  if (Words > 1) begin : g_ends
    logic [QUERIES-1:0] now_q;
    always_ff @(posedge clk) now_q <= now;
    assign ends = now_q;
  end else begin : g_ends_now
    assign ends = now;
  end

  logic [QUERIES*SIDE*P_W-1:0] p;
  logic [SIDE*PE*V_W-1:0] v;
  logic first_q, final_q;
  logic [QUERIES-1:0] last_q;

  /* verilator lint_off PINCONNECTEMPTY */
  banks #(.LANES(QUERIES*SIDE), .WORD(QUERIES*SIDE), .W(P_W), .DEPTH(MAX_TOKENS), .FIXED(1'b0), .LEAST(SlotBeats)) u_row (
    .clk, .rst, .s_valid(p_valid), .s_ready(p_ready), .s_data(p_data), .s_last(p_last),
    .en, .offset(PAtW'(step_q)), .done(issue && row_end), .full(p_full), .count(span), .one, .few, .last(), .word(p));
  /* verilator lint_on PINCONNECTEMPTY */
  ring #(.LANES(LANES), .WORD(SIDE*PE), .W(V_W), .DEPTH(Depth), .ROOM(ROOM), .RAM_STYLE(RAM_STYLE)) u_values (
    .clk, .rst, .s_valid(v_valid), .s_ready(v_ready), .s_data(v_data), .s_last(v_last),
    .en, .offset(v_at_q), .done(issue && token_end && sentence_last), .full(v_full), .count(v_count), .word(v));

  always_ff @(posedge clk) begin
    if (en) begin
      first_q <= begins_q;
      final_q <= issue && slot_end;
      last_q <= last_word_q ? ends : '0;
    end
    if (rst) final_q <= 1'b0;
  end

  wire [QUERIES*SIDE-1:0] valid, last;  // those of a token are alike, and all valid
  wire [QUERIES*SIDE*PE*OUT_W-1:0] acc;

  for (genvar r = 0; r < QUERIES; r++) begin : g_token
    for (genvar h = 0; h < SIDE; h++) begin : g_head
      wire [PE*V_W-1:0] w;
      wire [PE*OUT_W-1:0] sums;

      for (genvar i = 0; i < PE; i++) begin : g_element
        assign w[i*V_W +: V_W] = v[(i*SIDE+h)*V_W +: V_W];
        assign acc[((r*PE+i)*SIDE+h)*OUT_W +: OUT_W] = sums[i*OUT_W +: OUT_W];
      end
      mac_array #(.PE(PE), .SIMD(1), .X_W(P_W), .X_SIGNED(1'b0), .W_W(V_W), .OUT_W(OUT_W), .MUL_STYLE(MUL_STYLE)) u_mac (
        .clk, .rst, .en, .first(first_q), .final_step(final_q), .i_last(last_q[r]), .x(p[(r*SIDE+h)*P_W +: P_W]), .w,
        .o_valid(valid[r*SIDE+h]), .o_last(last[r*SIDE+h]), .acc(sums));
    end
  end

  if (QUERIES == 1) begin : g_out
    assign en = m_ready || !m_valid;
    unpack #(.WORD(SIDE*PE), .LANES(LANES), .W(OUT_W)) u_out (
      .clk, .rst, .en, .load(&valid), .load_last(&last), .word(acc), .valid(m_valid), .last(m_last), .data(m_data));
  end else begin : g_outs
    wire beat_valid, beat_ready;
    wire [LANES*OUT_W-1:0] beat;
    wire [QUERIES-1:0] which;
    logic [QUERIES-1:0] which_q;  // of the word that leaves beat by beat

    for (genvar r = 0; r < QUERIES; r++) begin : g_which
      assign which[r] = &last[r*SIDE +: SIDE];
    end
    always_ff @(posedge clk) if (en && (&valid)) which_q <= which;
    assign en = beat_ready || !beat_valid;
    /* verilator lint_off PINCONNECTEMPTY */
    unpack #(.WORD(QUERIES*SIDE*PE), .LANES(LANES), .W(OUT_W)) u_out (
      .clk, .rst, .en, .load(&valid), .load_last(1'b0), .word(acc), .valid(beat_valid), .last(), .data(beat));
    /* verilator lint_on PINCONNECTEMPTY */
    regroup #(.TOKENS(QUERIES), .PARTS(Words), .BEATS(Beats), .WIDTH(LANES * OUT_W)) u_regroup (
      .clk, .rst, .s_valid(beat_valid), .s_ready(beat_ready), .s_data(beat), .s_ends(which_q), .m_valid, .m_ready, .m_data, .m_last);
  end

  initial begin
    if (DIM % PE != 0 || HEADS % SIDE != 0)
      $fatal(1, "context_op: got PE %0d and SIDE %0d, must divide DIM %0d and HEADS %0d", PE, SIDE, DIM, HEADS);
    if (QUERIES > 1 && (BACK < MAX_TOKENS - 1 || SEGMENT != 0)) $fatal(1, "context_op: got QUERIES %0d with a range of keys, must be 1 there", QUERIES);
    if (BACK < 0) $fatal(1, "context_op: got BACK %0d, must be at least 0", BACK);
  end
endmodule
