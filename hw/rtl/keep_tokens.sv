// SPDX-License-Identifier: Apache-2.0
// keep_tokens: of a sentence's n tokens x[0] and the others that received most attention, n' = (n*KEEP + 255) >> 8 in all, in order;
//          of two that received as much the earlier one. What token j received: s[j] = sum of p[i,h,j] over all queries i and heads h
// Golden : hw/ops/keep_tokens.py (bit-exact)
// Stream : s_* (token stream) and p_* (row stream, ROWS rows a token, or QUERIES tokens side by side; those of token i hold keys
//          max(0, i - BACK) .. min(n, i + AHEAD + 1) - 1) -> m_* (token stream)
// Ranges : a sentence ends with the token that sees no key behind its own, so AHEAD is 1 at least
// Method : three stages, each on a sentence of its own. Rows are double-buffered, as n must be known to leave out the lanes of tokens that are not there;
//          an element's lanes are added up, and to what is in a memory of sums, one of two. The threshold, the largest v of which n'-1 tokens or more
//          have s[j] >= v, is found bit by bit from the highest, in a pass over the sums each; in one more, from the last token to the first, those that stay
//          are listed, one of two lists: all with s[j] > v, and the first of those with s[j] = v. Listed tokens are read from the ring that holds them.
// Timing : II 1. A row of n elements takes n cycles, from the cycle after its last beat, and a sentence's first row waits for sums that are free. Sums are
//          whole D = 3 + ceil(log4(SIDE*QUERIES)) cycles after a sentence's last element was read; then SUM_W*n cycles for the threshold and n for the list,
//          which wait for a free list. From the cycle after that, with a whole sentence in the ring, the tokens leave, the first beat two cycles later
// Layout : lane i = data[i*W +: W]; lane r*SIDE+s of p is head g*SIDE+s of the r-th token side by side
// Reset  : no token, no row
module keep_tokens #(
  parameter int C = 4,           // elements of a token
  parameter int LANES = 1,       // elements per beat of s and m, divides C
  parameter int W = 8,           // bits per element
  parameter int ROWS = 1,        // rows a token: heads / SIDE
  parameter int SIDE = 1,        // heads side by side
  parameter int QUERIES = 1,     // tokens side by side
  parameter int P_W = 8,         // bits per probability
  parameter int MAX_TOKENS = 4,  // longest sentence
  parameter int SUM_W = 11,      // bits of what a token receives
  parameter int KEEP = 128,      // share of the tokens that stays, in 256ths
  parameter int MOST = 2,        // tokens that stay, at most
  parameter int BACK = MAX_TOKENS - 1,   // keys seen before the query's own; MAX_TOKENS - 1: all
  parameter int AHEAD = MAX_TOKENS - 1,  // and behind it; fewer: QUERIES is 1
  parameter int TURNS = 1,       // see turns
  parameter int SENTENCES = 2,   // see turns
  parameter KEEP_FILE = "",      // word t: KEEP of turn t; "": KEEP
  parameter int KEEP_LOAD = 0,   // see rom
  parameter int ROOM = 2,        // of the tokens: see ring
  parameter RAM_STYLE = "auto"   // of the tokens: see ring
) (
  input  wire logic                        clk,
  input  wire logic                        rst,
  input  wire logic [25:0]                 bus,
  input  wire logic [32:0]                 load,
  input  wire logic                        s_valid,
  output      logic                        s_ready,
  input  wire logic [LANES*W-1:0]          s_data,
  input  wire logic                        s_last,
  input  wire logic                        p_valid,
  output      logic                        p_ready,
  input  wire logic [SIDE*QUERIES*P_W-1:0] p_data,
  input  wire logic                        p_last,
  output      logic                        m_valid,
  input  wire logic                        m_ready,
  output      logic [LANES*W-1:0]          m_data,
  output      logic                        m_last
);
  localparam int Beats = C / LANES;
  localparam int Lanes = SIDE * QUERIES;
  localparam int Depth = MAX_TOKENS * Beats;           // words of a sentence
  localparam int TokenW = $clog2(MAX_TOKENS + 1);
  localparam int AtW = MAX_TOKENS > 1 ? $clog2(MAX_TOKENS) : 1;
  localparam int WordW = Depth > 1 ? $clog2(Depth) : 1;
  localparam int SeenW = $clog2(MAX_TOKENS + QUERIES + 1);
  localparam int RowW = ROWS > 1 ? $clog2(ROWS) : 1;
  localparam int BeatW = Beats > 1 ? $clog2(Beats) : 1;
  localparam int MostW = $clog2(MOST + 1);
  localparam int ListW = MOST > 1 ? $clog2(MOST) : 1;
  localparam int ShareW = 9;                           // of KEEP
  localparam int QuotaW = TokenW + ShareW;
  localparam int Stages = ($clog2(Lanes) + 1) / 2;     // of four-input adders
  localparam int Leaves = 1 << (2 * Stages);
  localparam int Inner = (Leaves - 1) / 3;
  localparam int NodeW = P_W + $clog2(Lanes);
  localparam logic [SUM_W-1:0] Top = SUM_W'(1) << (SUM_W - 1);
  localparam int Delay = Stages + 2;                   // from reading an element to writing its sums
  localparam bit Ranges = BACK < MAX_TOKENS - 1 || AHEAD < MAX_TOKENS - 1;

  // Stage 1: rows are added up
  wire row_full;
  wire [TokenW-1:0] span;
  wire [Lanes*P_W-1:0] row_word;
  logic [AtW-1:0] step_q;
  logic [RowW-1:0] row_q;
  logic [SeenW-1:0] seen_q;      // tokens in front of those side by side
  logic bank_q;                  // of the sums
  logic [1:0] taken_q, full_q;   // sums that a sentence has begun, and that are whole
  wire first_row = seen_q == '0 && row_q == '0;
  wire read = row_full && !(first_row && step_q == '0 && taken_q[bank_q]);
  wire row_end = TokenW'(step_q) + 1'b1 == span;
  wire token_end = row_end && row_q == RowW'(ROWS - 1);
  wire [AtW-1:0] key;            // that is read
  wire [TokenW-1:0] key_end = TokenW'(key) + 1'b1;
  wire sentence_end = token_end && (SeenW + 1)'(seen_q) + (SeenW + 1)'(QUERIES) >= (SeenW + 1)'(key_end);
  wire fresh = row_q == '0 && (seen_q == '0 || (Ranges && (SeenW + 1)'(key) == (SeenW + 1)'(seen_q) + (SeenW + 1)'(AHEAD)));  // no row has had that key

  if (Ranges) begin : g_range
    logic [AtW-1:0] key_q;
    wire [AtW-1:0] first;
    wire in_first, begins, border_end;
    wire unused = &{1'b0, in_first, begins, border_end};
    first_key #(.MAX_TOKENS(MAX_TOKENS), .BACK(BACK)) u_first (
      .clk, .rst, .token_end(read && token_end), .sentence_last(sentence_end), .border('0), .at('0), .in_first, .fresh(begins), .border_end, .first);
    assign key = key_q;
    always_ff @(posedge clk) begin
      if (read) key_q <= row_end ? first : key_q + 1'b1;
      if (rst) key_q <= '0;
    end
  end else begin : g_all
    assign key = step_q;
  end

  /* verilator lint_off PINCONNECTEMPTY */
  banks #(.LANES(Lanes), .WORD(Lanes), .W(P_W), .DEPTH(MAX_TOKENS), .FIXED(1'b0)) u_row (
    .clk, .rst, .s_valid(p_valid), .s_ready(p_ready), .s_data(p_data), .s_last(p_last),
    .en(1'b1), .offset(step_q), .done(read && row_end), .full(row_full), .count(span), .one(), .few(), .last(), .word(row_word));

  // How many tokens stay, and where the last one lies in the ring, counted in a sentence's first row; with ranges as its tokens' rows end
  wire [ShareW-1:0] keep;
  logic [QuotaW-1:0] quota_q;
  logic [WordW-1:0] base_q;
  wire counts = Ranges ? token_end : first_row;
  wire counts_first = Ranges ? seen_q == '0 : step_q == '0;
  wire [QuotaW-1:0] quota = !counts ? quota_q : (counts_first ? QuotaW'(255) : quota_q) + QuotaW'(keep);
  wire [WordW-1:0] base = !counts ? base_q : counts_first ? '0 : base_q + WordW'(Beats);

  if (KEEP_FILE == "") begin : g_keep
    assign keep = ShareW'(KEEP);
    wire unused = &{1'b0, bus, load};
  end else begin : g_keep_by_turn
    turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .WIDTH(ShareW), .FILE(KEEP_FILE), .LOAD(KEEP_LOAD)) u_keep (
      .clk, .rst, .bus, .load, .done(read && sentence_end), .now(), .base(), .word(keep));
  end
  /* verilator lint_on PINCONNECTEMPTY */

  // Elements on their way: their lanes are masked, then added up four at a time. Node n has children 4n+1 .. 4n+4.
  logic [QUERIES-1:0] there_q;
  logic [Delay-1:0] valid_q, first_q, which_q, end_q;
  logic [Delay*AtW-1:0] at_q;
  (* mem2reg *) logic [NodeW-1:0] node_q [0:Inner+Leaves-1];

  always_ff @(posedge clk) begin
    for (int r = 0; r < QUERIES; r++) there_q[r] <= r == 0 || (SeenW + 1)'(seen_q) + (SeenW + 1)'(r) < (SeenW + 1)'(span);
    for (int i = 0; i < Leaves; i++)
      node_q[Inner+i] <= i < Lanes && there_q[(i%Lanes)/SIDE] ? NodeW'(row_word[(i%Lanes)*P_W +: P_W]) : '0;
    for (int n = 0; n < Inner; n++) node_q[n] <= node_q[4*n+1] + node_q[4*n+2] + node_q[4*n+3] + node_q[4*n+4];
    valid_q <= Delay'({valid_q, read});
    first_q <= Delay'({first_q, fresh});
    which_q <= Delay'({which_q, bank_q});
    end_q <= Delay'({end_q, read && sentence_end});
    at_q <= (Delay*AtW)'({at_q, key});
    if (read) begin
      step_q <= row_end ? '0 : step_q + 1'b1;
      if (row_end) row_q <= token_end ? '0 : row_q + 1'b1;
      if (token_end) seen_q <= sentence_end ? '0 : seen_q + SeenW'(QUERIES);
      quota_q <= quota;
      base_q <= base;
      if (sentence_end) bank_q <= !bank_q;
    end
    if (rst) begin
      end_q <= '0;
      step_q <= '0;
      row_q <= '0;
      seen_q <= '0;
      bank_q <= 1'b0;
    end
  end

  // Stage 2: the threshold, then the list
  logic [2*TokenW-1:0] spans_q, quotas_q;  // of the sentences in the sums
  logic [2*WordW-1:0] bases_q;
  logic sums_q;                            // which sums
  logic [SUM_W-1:0] bit_q;                 // of the threshold, 0: the list
  logic [AtW-1:0] at_j_q;
  logic [WordW-1:0] at_word_q;
  logic begins_q;                          // a pass begins
  wire list_ready;
  wire listing = bit_q == '0;
  wire [TokenW-1:0] tokens = spans_q[sums_q*TokenW +: TokenW];
  wire [AtW-1:0] at_j = begins_q ? AtW'(tokens - 1'b1) : at_j_q;
  wire [WordW-1:0] at_word = begins_q ? bases_q[sums_q*WordW +: WordW] : at_word_q;
  wire look = full_q[sums_q] && !(listing && begins_q && !list_ready);
  wire pass_end = at_j == '0;
  wire over = look && pass_end && listing;

  wire [2*SUM_W-1:0] found;
  for (genvar b = 0; b < 2; b++) begin : g_sums
    logic [SUM_W-1:0] ram [0:MAX_TOKENS-1];
    logic [SUM_W-1:0] word;
    wire [AtW-1:0] read_at = full_q[b] ? at_j : at_q[Stages*AtW +: AtW];
    wire write = valid_q[Delay-1] && which_q[Delay-1] == 1'(b);
    always_ff @(posedge clk) word <= ram[read_at];
    always_ff @(posedge clk) if (write) ram[at_q[(Delay-1)*AtW +: AtW]] <= (first_q[Delay-1] ? '0 : word) + SUM_W'(node_q[0]);
    assign found[b*SUM_W +: SUM_W] = word;
  end

  logic seen_valid_q, seen_begins_q, seen_ends_q, seen_list_q, seen_sums_q;  // of the token whose sum was read
  logic [SUM_W-1:0] seen_bit_q, level_q;                                    // level_q: the threshold so far
  logic [TokenW-1:0] seen_quota_q, seen_tokens_q, count_q, least_q;         // least_q: tokens with level_q or more, the first one left out
  logic [WordW-1:0] seen_word_q;
  wire top = seen_bit_q[SUM_W-1];
  wire [SUM_W-1:0] sum = found[seen_sums_q*SUM_W +: SUM_W];
  wire [SUM_W-1:0] tried = top ? seen_bit_q : level_q | seen_bit_q;
  wire [TokenW-1:0] count = (seen_begins_q ? '0 : count_q) + TokenW'(!seen_ends_q && sum >= tried);
  wire enough = count + 1'b1 >= seen_quota_q;
  wire drops = sum == level_q && least_q >= seen_quota_q;
  wire stays = seen_ends_q || (sum >= level_q && !drops);

  always_ff @(posedge clk) begin
    if (read && sentence_end) begin
      taken_q[bank_q] <= 1'b1;
      spans_q[bank_q*TokenW +: TokenW] <= key_end;
      quotas_q[bank_q*TokenW +: TokenW] <= TokenW'(quota >> 8);
      bases_q[bank_q*WordW +: WordW] <= base;
    end
    if (end_q[Delay-1]) full_q[which_q[Delay-1]] <= 1'b1;
    if (look) begin
      at_j_q <= at_j - 1'b1;
      at_word_q <= at_word - WordW'(Beats);
      begins_q <= pass_end;
      if (pass_end) bit_q <= listing ? Top : bit_q >> 1;
    end
    if (over) begin
      taken_q[sums_q] <= 1'b0;
      full_q[sums_q] <= 1'b0;
      sums_q <= !sums_q;
    end
    seen_valid_q <= look;
    seen_begins_q <= begins_q;
    seen_ends_q <= pass_end;
    seen_list_q <= listing;
    seen_sums_q <= sums_q;
    seen_bit_q <= bit_q;
    seen_quota_q <= quotas_q[sums_q*TokenW +: TokenW];
    seen_tokens_q <= tokens;
    seen_word_q <= at_word;
    if (seen_valid_q) begin
      count_q <= count;
      if (!seen_list_q) begin
        if (top && seen_begins_q) begin
          level_q <= '0;
          least_q <= seen_tokens_q - 1'b1;
        end
        if (seen_ends_q && enough) begin
          level_q <= tried;
          least_q <= count;
        end
      end else if (drops) least_q <= least_q - 1'b1;
    end
    if (rst) begin
      taken_q <= '0;
      full_q <= '0;
      sums_q <= 1'b0;
      bit_q <= Top;
      begins_q <= 1'b1;
      seen_valid_q <= 1'b0;
    end
  end

  // Stage 3: listed tokens leave; the list has the last one first
  wire list_full, ring_full;
  wire [MostW-1:0] listed;
  wire [WordW-1:0] list_word;
  logic [ListW-1:0] place_q;
  logic [BeatW-1:0] beat_q, ask_beat_q;
  logic starts_q, ask_q, ask_ends_q;
  wire m_en = m_ready || !m_valid;
  wire fetch = ask_q && ring_full && m_en;
  wire ask_en = fetch || !ask_q;
  wire ask = list_full && ask_en;
  wire [ListW-1:0] place = starts_q ? ListW'(listed - 1'b1) : place_q;
  wire beat_end = beat_q == BeatW'(Beats - 1);
  wire list_end = beat_end && place == '0;

  /* verilator lint_off PINCONNECTEMPTY */
  banks #(.LANES(1), .WORD(1), .W(WordW), .DEPTH(MOST), .FIXED(1'b0)) u_list (
    .clk, .rst, .s_valid(seen_valid_q && seen_list_q && stays), .s_ready(list_ready), .s_data(seen_word_q), .s_last(seen_ends_q),
    .en(ask_en), .offset(place), .done(ask && list_end), .full(list_full), .count(listed), .one(), .few(), .last(), .word(list_word));
  ring #(.LANES(LANES), .WORD(LANES), .W(W), .DEPTH(Depth), .ROOM(ROOM), .RAM_STYLE(RAM_STYLE)) u_tokens (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last,
    .en(m_en), .offset(list_word + WordW'(ask_beat_q)), .done(fetch && ask_ends_q), .full(ring_full), .count(), .word(m_data));
  /* verilator lint_on PINCONNECTEMPTY */

  always_ff @(posedge clk) begin
    if (ask) begin
      beat_q <= beat_end ? '0 : beat_q + 1'b1;
      if (beat_end) begin
        place_q <= place - 1'b1;
        starts_q <= list_end;
      end
    end
    if (ask_en) begin
      ask_q <= ask;
      ask_beat_q <= beat_q;
      ask_ends_q <= list_end;
    end
    if (m_en) begin
      m_valid <= fetch;
      m_last <= ask_ends_q;
    end
    if (rst) begin
      beat_q <= '0;
      starts_q <= 1'b1;
      ask_q <= 1'b0;
      m_valid <= 1'b0;
    end
  end

  initial begin
    if (C % LANES != 0) $fatal(1, "keep_tokens: got LANES %0d, must divide C %0d", LANES, C);
    if (Ranges && (AHEAD < 1 || QUERIES > 1)) $fatal(1, "keep_tokens: got AHEAD %0d and QUERIES %0d, must be 1 or more, and 1", AHEAD, QUERIES);
    if (KEEP < 1 || KEEP > 256 || SUM_W < 2) $fatal(1, "keep_tokens: got KEEP %0d and SUM_W %0d, must be 1 .. 256, 2 or more", KEEP, SUM_W);
  end
endmodule
