// SPDX-License-Identifier: Apache-2.0
// softmax_row: e_j = E[max - x_j], S = sum e_j, r = floor(2**RECIP_BITS / S), p_j = clip((e_j*r + half) >> SHIFT), half = 2**SHIFT / 2
// Golden : hw/ops/softmax.py (bit-exact; x signed, p unsigned)
// Stream : s_* -> m_*, row streams: 1 element a beat, last at the end of each row; rows of 1 .. MAX_TOKENS elements
// Method : pass 1 stores a row and finds its maximum; pass 2 looks its exponentials up, stores and sums them; a serial divider
//          makes r; pass 3 multiplies. Each works on a row of its own: x has 2 banks, e has 4. A bank is free again when the last
//          read address has been issued. Only pass 3 waits for m_ready.
// Timing : a row takes max(T, R_W + 1) cycles, R_W = RECIP_BITS - EXP_W + 2; latency of a lone row from its last beat in to its
//          first beat out T + R_W + 14 (hw/ops/softmax.py: timing)
// Layout : EXP_FILE word i is E[i], EXP_W bits; E[0] = 2**(EXP_W-1) is the largest
// Turns  : TURNS > 1: EXP_FILE holds the tables of each turn one after the other, in a rolled encoder (turns.sv). ROUND_FILE word t: {high, less, more},
//          OUT_W, 6 and 6 bits: the largest p of turn t, by how much its RECIP_BITS are less and its shift is more than the parameters
// Reset  : rst drops all rows in flight
module softmax_row #(
  parameter int MAX_TOKENS = 64,   // longest row
  parameter int IN_W = 8,          // bits of x, signed
  parameter int OUT_W = 8,         // bits of p, unsigned
  parameter int EXP_W = 11,        // bits of an exponential
  parameter EXP_FILE = "",         // hex, 2**IN_W words
  parameter int EXP_LOAD = 0,      // see rom
  parameter int RECIP_BITS = 24,
  parameter int SHIFT = 16,        // >= 1
  parameter int EXP_LEAST = EXP_W - 1,  // log2 of the least E[0] of all turns
  parameter int TURNS = 1,
  parameter int BANKS = TURNS,     // of tables: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int SENTENCES = 2,     // see turns
  parameter int ROWS = 1,          // see turns
  parameter int QUERIES = 1,       // see turns
  parameter int MORE = 0,          // largest `more` of ROUND_FILE
  parameter ROUND_FILE = "",       // "": the same in each turn
  parameter int ROUND_LOAD = 0     // see rom
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic [25:0]      bus,
  input  wire logic [32:0]      load,
  input  wire logic             s_valid,
  output      logic             s_ready,
  input  wire logic [IN_W-1:0]  s_data,
  input  wire logic             s_last,
  output      logic             m_valid,
  input  wire logic             m_ready,
  output      logic [OUT_W-1:0] m_data,
  output      logic             m_last
);
  localparam int IndexW = (MAX_TOKENS > 1) ? $clog2(MAX_TOKENS) : 1;
  localparam int SumW = EXP_W + $clog2(MAX_TOKENS);
  localparam int RecipW = RECIP_BITS - EXP_LEAST + 1;

  // Rows that each step has finished, modulo 8. Equal counts: nothing to do; the difference is how many banks are in use.
  logic [2:0] in_row_q, read_row_q, sum_row_q, taken_row_q, recip_row_q, out_row_q;

  // Pass 1: store, maximum
  (* no_rw_check *) logic [IN_W-1:0] x_mem [0:(2<<IndexW)-1];
  logic [IndexW-1:0] x_end [0:1];              // index of a row's last element
  (* mem2reg *) logic signed [IN_W-1:0] x_max [0:1];  // of what has come
  logic [IndexW-1:0] in_index_q;
  logic first_q;                               // the element is a row's first
  logic held_q, both_q;                        // a row is held, two are
  logic take, larger;

  assign s_ready = !both_q;
  assign take = s_valid && s_ready;
  assign larger = first_q || $signed(s_data) > x_max[in_row_q[0]];

  always_ff @(posedge clk) begin
    held_q <= (take && s_last) || both_q || (held_q && !(read && read_end));
    both_q <= held_q && ((take && s_last) || both_q) && !(read && read_end);
    if (take) begin
      x_mem[{in_row_q[0], in_index_q}] <= s_data;
      if (larger) x_max[in_row_q[0]] <= s_data;
      first_q <= s_last;
      in_index_q <= s_last ? '0 : in_index_q + IndexW'(1);
      if (s_last) begin
        x_end[in_row_q[0]] <= in_index_q;
        in_row_q <= in_row_q + 3'd1;
      end
    end
    if (rst) begin
      in_index_q <= '0;
      first_q <= 1'b1;
      held_q <= 1'b0;
      both_q <= 1'b0;
      in_row_q <= '0;
    end
  end

  // The turn of the row that is read; the same for the row in each bank of e
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam int ExpW = BANKS > 1 ? $clog2(BANKS) + IN_W : IN_W;
  wire [TurnW-1:0] turn;
  logic [TurnW-1:0] turn_q, turn_read_q;       // of x_q, depth_q

  /* verilator lint_off PINCONNECTEMPTY */
  turns #(.TURNS(TURNS), .SENTENCES(SENTENCES), .ROWS(ROWS), .QUERIES(QUERIES)) u_turn (
    .clk, .rst, .bus, .load(33'd0), .done(read && read_end), .now(turn), .base(), .word());
  /* verilator lint_on PINCONNECTEMPTY */

  wire [7:0] bank = BANKS == TURNS ? 8'(turn_read_q) : BANK_OF[8*turn_read_q +: 8];

  // Pass 2: x_q -> max - x -> exponential -> sum; never waits once a row has begun
  (* no_rw_check *) logic [EXP_W-1:0] e_mem [0:(4<<IndexW)-1];
  logic [IndexW-1:0] e_end [0:3];
  logic [SumW-1:0] e_sum [0:3];
  logic [IndexW-1:0] read_index_q, sum_index_q;
  logic [IN_W-1:0] x_q, x_max_q, depth_q;
  logic [EXP_W-1:0] rom_q, exp_q;
  logic [SumW-1:0] sum_q, sum_d;
  logic [3:0] read_valid_q, read_last_q;       // bit i: stage i + 1
  logic read, read_end;

  rom #(.WIDTH(EXP_W), .DEPTH(BANKS << IN_W), .FILE(EXP_FILE), .LOAD(EXP_LOAD)) u_exp (.clk, .load, .en(1'b1), .addr(ExpW'({bank, depth_q})), .q(rom_q));

  assign read = held_q && 3'(read_row_q - out_row_q) != 3'd4;
  assign read_end = read_index_q == x_end[read_row_q[0]];
  assign sum_d = sum_q + SumW'(exp_q);

  always_ff @(posedge clk) begin
    x_q <= x_mem[{read_row_q[0], read_index_q}];
    x_max_q <= x_max[read_row_q[0]];
    turn_q <= turn;
    turn_read_q <= turn_q;
    depth_q <= x_max_q - x_q;
    exp_q <= rom_q;
    read_valid_q <= {read_valid_q[2:0], read};
    read_last_q <= {read_last_q[2:0], read_end};
    if (read) begin
      read_index_q <= read_end ? '0 : read_index_q + IndexW'(1);
      if (read_end) read_row_q <= read_row_q + 3'd1;
    end
    if (read_valid_q[3]) begin
      e_mem[{sum_row_q[1:0], sum_index_q}] <= exp_q;
      sum_q <= read_last_q[3] ? '0 : sum_d;
      sum_index_q <= read_last_q[3] ? '0 : sum_index_q + IndexW'(1);
      if (read_last_q[3]) begin
        e_end[sum_row_q[1:0]] <= sum_index_q;
        e_sum[sum_row_q[1:0]] <= sum_d;
        sum_row_q <= sum_row_q + 3'd1;
      end
    end
    if (rst) begin
      read_index_q <= '0;
      read_row_q <= '0;
      read_valid_q <= '0;
      sum_q <= '0;
      sum_index_q <= '0;
      sum_row_q <= '0;
    end
  end

  // Division
  logic [RecipW-1:0] recip_mem [0:3];
  logic [RecipW-1:0] recip;
  logic recip_ready, recip_valid;

  recip #(.K(RECIP_BITS), .S_W(SumW), .S_MIN_LOG2(EXP_LEAST)) u_recip (
    .clk, .rst, .s_valid(taken_row_q != sum_row_q), .s_ready(recip_ready), .s_data(e_sum[taken_row_q[1:0]]),
    .m_valid(recip_valid), .m_ready(1'b1), .m_data(recip));

  always_ff @(posedge clk) begin
    if (taken_row_q != sum_row_q && recip_ready) taken_row_q <= taken_row_q + 3'd1;
    if (recip_valid) begin
      recip_mem[recip_row_q[1:0]] <= recip;
      recip_row_q <= recip_row_q + 3'd1;
    end
    if (rst) begin
      taken_row_q <= '0;
      recip_row_q <= '0;
    end
  end

  // Pass 3: e_q -> e_wait_q -> product (4) -> p
  localparam int ProdW = (EXP_W + RecipW > SHIFT + MORE ? EXP_W + RecipW : SHIFT + MORE) + 2;
  logic [IndexW-1:0] out_index_q;
  logic [EXP_W-1:0] e_q, e_wait_q;
  logic [RecipW-1:0] r_q, r_wait_q;
  logic signed [ProdW-1:0] rounded;
  wire signed [EXP_W+RecipW+1:0] product;
  wire [5:0] less, more;           // of r_q, of the product
  wire [OUT_W-1:0] high;
  wire signed [ProdW-1:0] half = ProdW'((64'd1 << SHIFT << more) >> 1);
  logic [6:0] out_valid_q, out_last_q;         // bit i: stage i + 1
  logic write, write_end, advance;

  assign advance = m_ready || !m_valid;
  assign write = out_row_q != recip_row_q;
  assign write_end = out_index_q == e_end[out_row_q[1:0]];
  assign rounded = ((ProdW'(product) + half) >>> SHIFT) >>> more;
  assign m_valid = out_valid_q[6];
  assign m_last = out_last_q[6];

  if (ROUND_FILE == "") begin : g_alike
    assign {high, less, more} = {{OUT_W{1'b1}}, 12'd0};
  end else begin : g_by_turn
    logic [TurnW-1:0] turn_mem [0:3];          // of the rows in the banks of e
    logic [4*TurnW-1:0] out_turn_q;            // of stages 1 to 4 behind `write`
    logic [TurnW-1:0] read_turn_q, exp_turn_q;
    wire [OUT_W+11:0] early, late;

    always_ff @(posedge clk) begin
      read_turn_q <= turn_read_q;
      exp_turn_q <= read_turn_q;
      if (read_valid_q[3] && read_last_q[3]) turn_mem[sum_row_q[1:0]] <= exp_turn_q;
      if (advance) out_turn_q <= (4*TurnW)'({out_turn_q, turn_mem[out_row_q[1:0]]});
    end
    // Read like a table of few words: `less` for r_q in stage 1, the rest for the product in stage 6
    rom #(.WIDTH(OUT_W + 12), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD), .NOW(1'b1)) u_early (
      .clk, .load, .en(1'b1), .addr(out_turn_q[0 +: TurnW]), .q(early));
    rom #(.WIDTH(OUT_W + 12), .DEPTH(TURNS), .FILE(ROUND_FILE), .LOAD(ROUND_LOAD)) u_round (.clk, .load, .en(advance), .addr(last_turn_q), .q(late));
    logic [TurnW-1:0] last_turn_q;
    always_ff @(posedge clk) if (advance) last_turn_q <= out_turn_q[3*TurnW +: TurnW];
    assign less = early[6 +: 6];
    assign {high, more} = {late[12 +: OUT_W], late[0 +: 6]};
    wire unused = &{1'b0, early, late};
  end

  mul #(.A_W(EXP_W + 1), .B_W(RecipW + 1)) u_mul (
    .clk, .en(advance), .a({1'b0, e_wait_q}), .b({1'b0, r_wait_q}), .p(product));

  always_ff @(posedge clk) begin
    if (advance) begin
      e_q <= e_mem[{out_row_q[1:0], out_index_q}];
      r_q <= recip_mem[out_row_q[1:0]];
      e_wait_q <= e_q;
      r_wait_q <= r_q >> less;
      m_data <= (rounded > ProdW'({1'b0, high})) ? high : rounded[OUT_W-1:0];
      out_valid_q <= {out_valid_q[5:0], write};
      out_last_q <= {out_last_q[5:0], write_end};
      if (write) begin
        out_index_q <= write_end ? '0 : out_index_q + IndexW'(1);
        if (write_end) out_row_q <= out_row_q + 3'd1;
      end
    end
    if (rst) begin
      out_index_q <= '0;
      out_row_q <= '0;
      out_valid_q <= '0;
    end
  end
endmodule
