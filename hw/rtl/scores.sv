// SPDX-License-Identifier: Apache-2.0
// scores: acc[i,h,j] = sum_d q[i,h,d] * k[j,h,d], over the keys j that query i sees: max(0, i - BACK) .. min(T, i + AHEAD + 1) - 1; or, of a pair
//          (BORDER_W), those of its own sentence, 0 .. B - 1 or B .. T - 1; or, of a pack (PACK), those of its own sentence
// Golden : hw/ops/scores.py (bit-exact)
// Stream : q_*, k_* tokens of HEADS*DIM elements, signed, `last` at the end of a sentence; m_* rows: element j of SIDE heads of QUERIES tokens a
//          beat, in the order tokens i, heads, token j, m_last at the end of the rows. Where a sentence's last tokens are fewer than QUERIES,
//          the lanes of the others carry 0. b_*: B of each sentence, one beat, taken with its last query; B = 0 or T: all keys are seen.
//          Of a pack tokens of each of its sentences, each taken with the last query of its own
// Order  : all keys of a sentence are stored first, in a ring of ROOM*MAX_TOKENS tokens, behind those of the sentences before;
//          queries are taken token by token, double-buffered, QUERIES of them for each key that is read
// Timing : a beat takes DIM/SIMD cycles, QUERIES tokens that see n keys n*HEADS/SIDE*DIM/SIMD, with no cycle lost between rows, tokens or sentences.
//          They start when their queries are whole, their sentence's keys are whole and the tokens before are done; from the
//          later of these last input beats to the first beat: DIM/SIMD + 5 + ceil(log4(SIMD)) cycles.
// Layout : lane i = data[i*W +: W]; SIDE heads are interleaved: element d of head g*SIDE+p is element (g*DIM + d)*SIDE + p of its token; lane
//          r*SIDE+p of m is head g*SIDE+p of the r-th of the tokens side by side
// Reset  : no token held
module scores #(
  parameter int HEADS = 2,
  parameter int DIM = 4,          // elements per head
  parameter int MAX_TOKENS = 4,   // longest sentence
  parameter int SIDE = 1,         // heads side by side, divides HEADS
  parameter int QUERIES = 1,      // tokens side by side; more than one only where all keys are seen
  parameter int SIMD = 2,         // products per head, query and cycle, divides DIM
  parameter int LANES = 1,        // elements per input beat, divides SIDE*SIMD
  parameter int Q_W = 8,          // bits per query element
  parameter int K_W = 8,          // bits per key element
  parameter int OUT_W = 20,       // bits per score
  parameter int BACK = MAX_TOKENS - 1,   // keys seen before the query's own; MAX_TOKENS - 1: all
  parameter int AHEAD = MAX_TOKENS - 1,  // and behind it
  parameter int BORDER_W = 0,     // bits of B, that hold MAX_TOKENS; 0: b_* is not looked at
  parameter int PACK = 0,         // 1: b_* is told for each sentence of a pack
  parameter MUL_STYLE = "one",    // multipliers: see mac_array
  parameter int ROOM = 2,         // of the keys: see ring
  parameter RAM_STYLE = "auto",   // of the keys: see ring
  localparam int B_W = BORDER_W > 0 ? BORDER_W : 1
) (
  input  wire logic                  clk,
  input  wire logic                  rst,
  input  wire logic                  q_valid,
  output      logic                       q_ready,
  input  wire logic [LANES*Q_W-1:0]  q_data,
  input  wire logic                  q_last,
  input  wire logic                  k_valid,
  output      logic                       k_ready,
  input  wire logic [LANES*K_W-1:0]  k_data,
  input  wire logic                  k_last,
  input  wire logic                  b_valid,
  output      logic                       b_ready,
  input  wire logic [B_W-1:0]        b_data,
  input  wire logic                  b_last,
  output      logic                       m_valid,
  input  wire logic                  m_ready,
  output      logic [QUERIES*SIDE*OUT_W-1:0] m_data,
  output      logic                       m_last
);
  localparam int Steps = DIM / SIMD;
  localparam int Words = HEADS / SIDE * Steps;      // per token
  localparam int Depth = MAX_TOKENS * Words;        // per sentence
  localparam int StepW = Steps > 1 ? $clog2(Steps) : 1;
  localparam int QAtW = Words > 1 ? $clog2(Words) : 1;
  localparam int KAtW = Depth > 1 ? $clog2(Depth) : 1;
  localparam int CountW = $clog2(Depth + 1);

  wire en = m_ready || !m_valid;

  // Issue: step of a product, key token j (as the address where the next one begins), heads (as their first word)
  logic [StepW-1:0] step_q;
  logic [CountW-1:0] next_key_q;
  logic [QAtW-1:0] head_q, q_at_q;
  logic [KAtW-1:0] k_at_q;
  wire [KAtW-1:0] first;
  wire range_end, in_first, fresh, border_end;
  wire q_full, sentence_last;
  wire [QUERIES-1:0] there;  // of the tokens side by side, those that the sentence has
  logic k_full;
  logic [CountW-1:0] k_count;

  // Much waits for what ends with a step, so it is found in a cycle before, from registers.
  logic step_end_q, last_head_q;
  wire key_last = range_end || next_key_q == k_count;  // of its row
  wire [2:0] lasts = {key_last && last_head_q && sentence_last, key_last && last_head_q, key_last};  // the key is the last of its sentence, token, row
  wire [2:0] ends;
  wire run = q_full && k_full && (BORDER_W == 0 || b_valid);
  wire step_end = step_end_q;
  wire row_end = step_end && ends[0];
  wire token_end = step_end && ends[1];
  wire all_end = step_end && ends[2];
  wire [QAtW-1:0] next_head = token_end ? '0 : head_q + QAtW'(Steps);

  first_key #(.MAX_TOKENS(MAX_TOKENS), .WORDS(Words), .BACK(BACK), .SEGMENT(BORDER_W == 0 ? 0 : PACK != 0 ? 2 : 1), .BORDER_W(B_W)) u_first (
    .clk, .rst, .token_end(en && run && token_end), .sentence_last, .border(b_data), .at(KAtW'(next_key_q)), .in_first, .fresh, .border_end, .first);
  assign b_ready = en && run && (PACK != 0 ? token_end && border_end : all_end);
  wire unused_first = &{1'b0, fresh, border_end};

  if (BORDER_W > 0) begin : g_border
    logic [B_W-1:0] key_q;  // of the row, counted from its first one

    assign range_end = in_first && key_q + 1'b1 == b_data;
    always_ff @(posedge clk) begin
      if (en && run && step_end) key_q <= row_end ? '0 : key_q + 1'b1;
      if (rst) key_q <= '0;
    end
    wire unused = &{1'b0, b_last};
  end else if (AHEAD < MAX_TOKENS - 1) begin : g_range_end
    localparam int EndW = $clog2((MAX_TOKENS + AHEAD) * Words + 1);
    localparam logic [EndW-1:0] FirstEnd = EndW'((AHEAD + 1) * Words);
    logic [EndW-1:0] end_q;  // where the key behind the query's last one would begin

    assign range_end = EndW'(next_key_q) == end_q;
    wire unused = &{1'b0, b_valid, b_data, b_last, in_first};
    always_ff @(posedge clk) begin
      if (en && run && token_end) end_q <= sentence_last ? FirstEnd : end_q + EndW'(Words);
      if (rst) end_q <= FirstEnd;
    end
  end else begin : g_sentence_end
    assign range_end = 1'b0;
    wire unused = &{1'b0, b_valid, b_data, b_last, in_first};
  end

  if (Steps > 1) begin : g_ends
    logic [2:0] lasts_q;
    always_ff @(posedge clk) lasts_q <= lasts;
    assign ends = lasts_q;
  end else begin : g_ends_now
    assign ends = lasts;
  end

  always_ff @(posedge clk) begin
    if (en && run) begin
      step_q <= step_end ? '0 : step_q + 1'b1;
      step_end_q <= Steps == 1 || step_q == StepW'(Steps - 2);
      q_at_q <= q_at_q + 1'b1;
      k_at_q <= k_at_q + 1'b1;
      if (row_end) begin
        next_key_q <= CountW'(first) + CountW'(Words);
        head_q <= next_head;
        last_head_q <= Words == Steps || head_q == QAtW'(Words - 2 * Steps);
        q_at_q <= next_head;
        k_at_q <= first + KAtW'(next_head);
      end else if (step_end) begin
        next_key_q <= next_key_q + CountW'(Words);
        q_at_q <= head_q;
        k_at_q <= k_at_q + KAtW'(Words - Steps + 1);
      end
    end
    if (rst) begin
      step_q <= '0;
      step_end_q <= Steps == 1;
      last_head_q <= Words == Steps;
      next_key_q <= CountW'(Words);
      head_q <= '0;
      q_at_q <= '0;
      k_at_q <= '0;
    end
  end

  logic [QUERIES*SIDE*SIMD*Q_W-1:0] q;
  logic [SIDE*SIMD*K_W-1:0] k;
  logic first_q, final_q, last_q;
  logic [QUERIES-1:0] there_q;

  /* verilator lint_off PINCONNECTEMPTY */
  if (QUERIES == 1) begin : g_query
    assign there = 1'b1;
    banks #(.LANES(LANES), .WORD(SIDE*SIMD), .W(Q_W), .DEPTH(Words), .FIXED(1'b1)) u_query (
      .clk, .rst, .s_valid(q_valid), .s_ready(q_ready), .s_data(q_data), .s_last(q_last),
      .en, .offset(q_at_q), .done(run && token_end), .full(q_full), .count(), .one(), .few(), .last(sentence_last), .word(q));
  end else begin : g_queries
    // Token i of a sentence goes to lane i % QUERIES; `group_q` is where the key of the first token side by side begins
    localparam int Beats = Words * SIDE * SIMD / LANES;  // of a token
    localparam int BeatW = Beats > 1 ? $clog2(Beats) : 1;
    localparam int LaneW = $clog2(QUERIES);
    localparam int GroupW = $clog2(Depth + 2 * QUERIES * Words);
    logic [BeatW-1:0] beat_q;
    logic [LaneW-1:0] lane_q;
    logic [GroupW-1:0] group_q;
    wire [QUERIES-1:0] ready, full;
    wire taken = q_valid && q_ready && beat_q == BeatW'(Beats - 1);

    assign q_ready = ready[lane_q];
    assign q_full = &(full | ~there);
    assign sentence_last = group_q + GroupW'(QUERIES * Words) >= GroupW'(k_count);
    always_ff @(posedge clk) begin
      if (q_valid && q_ready) beat_q <= taken ? '0 : beat_q + 1'b1;
      if (taken) lane_q <= q_last || lane_q == LaneW'(QUERIES - 1) ? '0 : lane_q + 1'b1;
      if (en && run && token_end) group_q <= sentence_last ? '0 : group_q + GroupW'(QUERIES * Words);
      if (rst) begin
        beat_q <= '0;
        lane_q <= '0;
        group_q <= '0;
      end
    end
    for (genvar r = 0; r < QUERIES; r++) begin : g_lane
      assign there[r] = group_q + GroupW'(r * Words) < GroupW'(k_count);
      banks #(.LANES(LANES), .WORD(SIDE*SIMD), .W(Q_W), .DEPTH(Words), .FIXED(1'b1)) u_query (
        .clk, .rst, .s_valid(q_valid && lane_q == LaneW'(r)), .s_ready(ready[r]), .s_data(q_data), .s_last(q_last),
        .en, .offset(q_at_q), .done(run && token_end && there[r]), .full(full[r]), .count(), .one(), .few(), .last(), .word(q[r*SIDE*SIMD*Q_W +: SIDE*SIMD*Q_W]));
    end
  end
  /* verilator lint_on PINCONNECTEMPTY */
  ring #(.LANES(LANES), .WORD(SIDE*SIMD), .W(K_W), .DEPTH(Depth), .ROOM(ROOM), .RAM_STYLE(RAM_STYLE)) u_keys (
    .clk, .rst, .s_valid(k_valid), .s_ready(k_ready), .s_data(k_data), .s_last(k_last),
    .en, .offset(k_at_q), .done(run && all_end), .full(k_full), .count(k_count), .word(k));

  always_ff @(posedge clk) begin
    if (en) begin
      first_q <= step_q == '0;
      final_q <= run && step_end;
      last_q <= row_end;
      there_q <= there;
    end
    if (rst) final_q <= 1'b0;
  end

  wire [QUERIES*SIDE-1:0] valid, last;  // all alike

  for (genvar r = 0; r < QUERIES; r++) begin : g_token
    for (genvar p = 0; p < SIDE; p++) begin : g_head
      wire [SIMD*Q_W-1:0] x;
      wire [SIMD*K_W-1:0] w;

      for (genvar i = 0; i < SIMD; i++) begin : g_element
        assign x[i*Q_W +: Q_W] = there_q[r] ? q[((r*SIMD+i)*SIDE+p)*Q_W +: Q_W] : '0;
        assign w[i*K_W +: K_W] = k[(i*SIDE+p)*K_W +: K_W];
      end
      mac_array #(.PE(1), .SIMD(SIMD), .X_W(Q_W), .X_SIGNED(1'b1), .W_W(K_W), .OUT_W(OUT_W), .MUL_STYLE(MUL_STYLE)) u_mac (
        .clk, .rst, .en, .first(first_q), .final_step(final_q), .i_last(last_q), .x, .w,
        .o_valid(valid[r*SIDE+p]), .o_last(last[r*SIDE+p]), .acc(m_data[(r*SIDE+p)*OUT_W +: OUT_W]));
    end
  end
  assign m_valid = &valid;
  assign m_last = &last;

  initial begin
    if (DIM % SIMD != 0 || HEADS % SIDE != 0)
      $fatal(1, "scores: got SIMD %0d and SIDE %0d, must divide DIM %0d and HEADS %0d", SIMD, SIDE, DIM, HEADS);
    if (QUERIES > 1 && (BACK < MAX_TOKENS - 1 || AHEAD < MAX_TOKENS - 1 || BORDER_W > 0))
      $fatal(1, "scores: got QUERIES %0d with a range of keys, must be 1 there", QUERIES);
    if (BORDER_W > 0 && ((1 << BORDER_W) <= MAX_TOKENS || BACK < MAX_TOKENS - 1 || AHEAD < MAX_TOKENS - 1))
      $fatal(1, "scores: got BORDER_W %0d, must hold MAX_TOKENS %0d, with all keys before and behind", BORDER_W, MAX_TOKENS);
    if (PACK != 0 && BORDER_W == 0) $fatal(1, "scores: got PACK without BORDER_W, must have both");
    if (BACK < 0 || AHEAD < 0) $fatal(1, "scores: got BACK %0d and AHEAD %0d, must be at least 0", BACK, AHEAD);
  end
endmodule
