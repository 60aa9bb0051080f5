// SPDX-License-Identifier: Apache-2.0
// sdram: a 16-bit SDR SDRAM as an AXI4 read port of 64 bits, and a port that loads it
// Stream : s_axi_*: INCR bursts of whole beats (arsize, arburst are not there), one ID, in order. load_*: a word of 16 bits goes to the byte
//          address load_addr (even) with load_first, else behind the word before; a word that was taken before an AR is seen by it
// Layout : byte address {row, bank, column, byte}, so rows that follow each other lie in different banks; a beat is four columns, the lowest first
// Method : a beat is a READ of burst length 4. Bursts are cut at rows; while one is read, what is open instead of the next one's row is closed, if
//          its bank is another. That row is opened when it is its turn: tRCD is over when the words of the READ before have come. A row stays
//          open until another of its bank is asked for, or a refresh closes all
// Timing : from AR accepted to the first beat at R 9 + CAPTURE cycles where the row is open and nothing in the way, tRCD more where its bank has
//          none open, tRP + tRCD more where it has another one. Beats four cycles apart, as long as the next burst's row is in another
//          bank or open and tRCD is three cycles at most. A word is taken at load_* in two cycles, in tRAS + tRP (tRC, if that is more)
//          where each is in another row of one bank. A refresh, every REFRESH_NS / 2**ROW_W * 15/16, takes tRP + tRFC + tRCD, and up to
//          tRAS more where a row was just opened; so of I cycles between refreshes I - (tRP + tRFC + tRCD) give 2 bytes each
// Clock  : pins are registers. CAPTURE is CL + 1 where the chip's clock is clk, CL where it is clk inverted
// Reset  : anew from power-up on (T_INIT, in which all counters run out, all rows closed, 8 refreshes, mode); what is loaded stays, AXI bursts
//          in flight are forgotten. Refreshes are a 16th more frequent than the chip needs, which makes up for a T_INIT without any
module sdram #(
  parameter int CLOCK_MHZ = 50,
  parameter int ROW_W = 13,              // bits of a row, at least 11
  parameter int COL_W = 9,               // bits of a column, 8 .. 10
  parameter int CL = 2,                  // CAS latency, 2 or 3
  parameter int CAPTURE = CL,            // cycles from a READ at the pins to the register that takes its first word
  parameter int T_INIT = 200000,         // ns; these are what IS42S16160 and AS4C32M16 of grade 7 need, and no more than a few more
  parameter int T_RCD = 20,
  parameter int T_RP = 20,
  parameter int T_RAS = 45,
  parameter int T_RC = 70,
  parameter int T_RRD = 20,
  parameter int T_WR = 20,
  parameter int T_RFC = 70,
  parameter int T_MRD = 20,
  parameter int REFRESH_NS = 64000000,   // in which all rows are refreshed
  localparam int ADDR_W = ROW_W + COL_W + 3
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              load_valid,
  output logic                   load_ready,
  input  wire logic              load_first,
  input  wire logic [ADDR_W-1:0] load_addr,
  input  wire logic [15:0]       load_data,
  input  wire logic [ADDR_W-1:0] s_axi_araddr,
  input  wire logic [7:0]        s_axi_arlen,
  input  wire logic              s_axi_arvalid,
  output logic                   s_axi_arready,
  output logic                   s_axi_rid,
  output logic [63:0]            s_axi_rdata,
  output logic [1:0]             s_axi_rresp,
  output logic                   s_axi_rlast,
  output logic                   s_axi_rvalid,
  input  wire logic              s_axi_rready,
  output logic                   sdram_cke,
  output logic                   sdram_cs_n,
  output logic                   sdram_ras_n,
  output logic                   sdram_cas_n,
  output logic                   sdram_we_n,
  output logic [1:0]             sdram_ba,
  output logic [ROW_W-1:0]       sdram_a,
  output logic [1:0]             sdram_dqm,
  output logic [15:0]            sdram_dq_o,
  output logic                   sdram_dq_oe,
  input  wire logic [15:0]       sdram_dq_i
);
  function automatic int cycles(input int ns);
    cycles = (ns * CLOCK_MHZ + 999) / 1000;
  endfunction

  localparam int InitCycles = cycles(T_INIT);
  localparam int Interval = (REFRESH_NS >> ROW_W) * 15 / 16 * CLOCK_MHZ / 1000;  // cycles between refreshes
  localparam int Held = 8;                            // beats that are read or wait at R
  localparam int BeatW = COL_W - 2;                   // bits of a beat in a row
  localparam int InitW = $clog2(InitCycles + 1);
  localparam int IntervalW = $clog2(Interval);
  localparam int WaitW = 6;                           // bits of the counters below: 63 cycles
  localparam logic [3:0] Nop = 4'b0111, Active = 4'b0011, Read = 4'b0101, Write = 4'b0100, Precharge = 4'b0010, Refresh = 4'b0001, Mode = 4'b0000;
  localparam logic [WaitW-1:0] Rcd = WaitW'(cycles(T_RCD) - 1), Rp = WaitW'(cycles(T_RP) - 1), Ras = WaitW'(cycles(T_RAS) - 1);
  localparam logic [WaitW-1:0] Rc = WaitW'(cycles(T_RC) - 1), Wr = WaitW'(cycles(T_WR) - 1);
  localparam logic [WaitW-1:0] Rfc = WaitW'(cycles(T_RFC) - 1), Mrd = WaitW'(cycles(T_MRD));  // tMRD is two cycles at least: one more
  localparam logic [WaitW-1:0] Burst = 6'd3, Turn = WaitW'(CL + 4);  // from a READ: to the next, or to the closing of its row; to a WRITE

  typedef enum logic [2:0] {Power, Close, Again, Set, Run} state_t;
  state_t state_q;
  logic [InitW-1:0] init_q;
  logic [IntervalW-1:0] interval_q;
  logic [3:0] again_q;                   // refreshes to do
  logic due_q, set_q;                    // a refresh is due; the mode is to be set
  // The bursts that are read and that comes next: parts of an AXI burst that lie in one row, or a word to be written
  logic cur_valid_q, nxt_valid_q, cur_write_q, nxt_write_q, cur_end_q, nxt_end_q;
  logic [ADDR_W-1:1] cur_at_q, nxt_at_q;
  logic [BeatW-1:0] cur_left_q, nxt_left_q;
  logic [15:0] cur_word_q, nxt_word_q;
  // Each bank: open row; cycles until it may be opened, read or written, closed
  logic [3:0] open_q, opens, closes;
  (* mem2reg *) logic [ROW_W-1:0] row_q [0:3];
  (* mem2reg *) logic [WaitW-1:0] open_wait_q [0:3];
  (* mem2reg *) logic [WaitW-1:0] use_wait_q [0:3];
  (* mem2reg *) logic [WaitW-1:0] close_wait_q [0:3];
  logic [WaitW-1:0] read_wait_q, write_wait_q;
  logic [1:0] cur_bank, nxt_bank, bank;
  logic [ROW_W-1:0] cur_row, nxt_row;
  logic cur_same, nxt_same, all_closable, all_openable, go, uses, opening, close_cur, close_nxt, closing, step;

  assign {cur_row, cur_bank} = cur_at_q[ADDR_W-1 -: ROW_W + 2];
  assign {nxt_row, nxt_bank} = nxt_at_q[ADDR_W-1 -: ROW_W + 2];
  assign cur_same = row_q[cur_bank] == cur_row;
  assign nxt_same = row_q[nxt_bank] == nxt_row;

  // AXI bursts, cut at rows; words to be written go first
  logic ar_waits, ar_load, part_valid_q, part_short, nxt_take, nxt_load, unused_last;
  logic [ADDR_W-4:0] ar_at, part_at_q;   // of beats
  logic [7:0] ar_len, part_left_q;
  logic [ADDR_W-1:1] load_at_q, load_at;
  logic [BeatW-1:0] part_fill;
  wire unused_low = |s_axi_araddr[2:0] || load_addr[0];

  fifo #(.WIDTH(ADDR_W - 3 + 8), .DEPTH(4)) bursts (
    .clk, .rst, .s_valid(s_axi_arvalid), .s_ready(s_axi_arready), .s_data({s_axi_araddr[ADDR_W-1:3], s_axi_arlen}), .s_last(1'b0),
    .m_valid(ar_waits), .m_ready(ar_load), .m_data({ar_at, ar_len}), .m_last(unused_last));

  assign load_ready = !nxt_valid_q;
  assign load_at = load_first ? load_addr[ADDR_W-1:1] : load_at_q;
  assign nxt_take = step || !cur_valid_q;             // it becomes the present one
  assign nxt_load = !nxt_valid_q && part_valid_q && !load_valid;
  assign part_fill = ~part_at_q[BeatW-1:0];
  assign part_short = part_left_q <= 8'(part_fill);
  assign ar_load = !part_valid_q || (nxt_load && part_short);

  always_ff @(posedge clk) begin
    if (nxt_take) begin
      cur_valid_q <= nxt_valid_q;
      {cur_write_q, cur_end_q, cur_at_q, cur_left_q, cur_word_q} <= {nxt_write_q, nxt_end_q, nxt_at_q, nxt_left_q, nxt_word_q};
      nxt_valid_q <= 1'b0;
    end else if (uses) begin
      cur_at_q[COL_W:3] <= cur_at_q[COL_W:3] + 1'b1;
      cur_left_q <= cur_left_q - 1'b1;
    end
    if (load_valid && load_ready) begin
      nxt_valid_q <= 1'b1;
      {nxt_write_q, nxt_end_q, nxt_at_q, nxt_left_q, nxt_word_q} <= {1'b1, 1'b0, load_at, BeatW'(0), load_data};
      load_at_q <= load_at + 1'b1;
    end else if (nxt_load) begin
      nxt_valid_q <= 1'b1;
      {nxt_write_q, nxt_end_q, nxt_at_q} <= {1'b0, part_short, part_at_q, 2'b00};
      nxt_left_q <= part_short ? BeatW'(part_left_q) : part_fill;
    end
    if (ar_load) begin
      part_valid_q <= ar_waits;
      {part_at_q, part_left_q} <= {ar_at, ar_len};
    end else if (nxt_load) begin
      part_at_q <= {part_at_q[ADDR_W-4:BeatW] + 1'b1, BeatW'(0)};  // the next row
      part_left_q <= part_left_q - 8'(part_fill) - 1'b1;
    end
    if (rst) {cur_valid_q, nxt_valid_q, part_valid_q} <= '0;
  end

  // What is done in this cycle: the present row is used, opened, or what is open instead is closed; else that is done for the next one
  assign go = state_q == Run && cur_valid_q;
  assign uses = go && open_q[cur_bank] && cur_same && use_wait_q[cur_bank] == '0 && (cur_write_q ? write_wait_q == '0 : read_wait_q == '0 && room);
  assign step = uses && cur_left_q == '0;
  assign opening = go && !open_q[cur_bank] && open_wait_q[cur_bank] == '0;
  assign close_cur = go && open_q[cur_bank] && !cur_same && close_wait_q[cur_bank] == '0;
  assign close_nxt = go && nxt_valid_q && nxt_bank != cur_bank && open_q[nxt_bank] && !nxt_same && close_wait_q[nxt_bank] == '0
    && !uses && !opening && !close_cur;
  assign closing = close_cur || close_nxt;
  assign bank = close_nxt ? nxt_bank : cur_bank;

  always_comb begin
    all_closable = 1'b1;
    all_openable = 1'b1;
    for (int b = 0; b < 4; b++) begin
      if (close_wait_q[b] != '0) all_closable = 1'b0;
      if (open_wait_q[b] != '0) all_openable = 1'b0;
      opens[b] = opening && bank == 2'(b);
      closes[b] = (closing && bank == 2'(b)) || (state_q == Close && all_closable);
    end
  end

  for (genvar b = 0; b < 4; b++) begin : g_bank
    wire used = uses && cur_bank == 2'(b);

    always_ff @(posedge clk) begin
      open_wait_q[b] <= open_wait_q[b] == '0 ? '0 : open_wait_q[b] - 1'b1;
      use_wait_q[b] <= use_wait_q[b] == '0 ? '0 : use_wait_q[b] - 1'b1;
      close_wait_q[b] <= close_wait_q[b] == '0 ? '0 : close_wait_q[b] - 1'b1;
      if (opens[b]) begin
        open_q[b] <= 1'b1;
        row_q[b] <= cur_row;
        open_wait_q[b] <= Rc;
        use_wait_q[b] <= Rcd;
        close_wait_q[b] <= Ras;
      end
      if (used && close_wait_q[b] <= (cur_write_q ? Wr : Burst)) close_wait_q[b] <= cur_write_q ? Wr : Burst;
      if (closes[b]) begin
        open_q[b] <= 1'b0;
        if (open_wait_q[b] <= Rp) open_wait_q[b] <= Rp;
      end
      if (state_q == Again && all_openable) open_wait_q[b] <= Rfc;
      if (state_q == Set && all_openable) open_wait_q[b] <= Mrd;
    end
  end

  always_ff @(posedge clk) begin
    read_wait_q <= uses && !cur_write_q ? Burst : read_wait_q == '0 ? '0 : read_wait_q - 1'b1;
    write_wait_q <= uses && !cur_write_q ? Turn : write_wait_q == '0 ? '0 : write_wait_q - 1'b1;
    interval_q <= interval_q == '0 ? IntervalW'(Interval - 1) : interval_q - 1'b1;
    if (interval_q == '0) due_q <= 1'b1;
    init_q <= init_q - 1'b1;
    unique case (state_q)
      Power:
        if (init_q == '0) begin
          state_q <= Close;
          again_q <= 4'd8;
          set_q <= 1'b1;
        end
      Close: if (all_closable) state_q <= Again;
      Again:
        if (all_openable) begin
          again_q <= again_q - 1'b1;
          due_q <= 1'b0;
          if (again_q == 4'd1) state_q <= set_q ? Set : Run;
        end
      Set:
        if (all_openable) begin
          state_q <= Run;
          set_q <= 1'b0;
        end
      default:
        if (due_q) begin
          state_q <= Close;
          again_q <= 4'd1;
        end
    endcase
    if (rst) begin
      state_q <= Power;
      init_q <= InitW'(InitCycles);
      interval_q <= '0;
    end
  end

  // Pins
  /* verilator lint_off PROCASSINIT */  // no command before the first reset, either
  logic [3:0] command_q = Nop;
  /* verilator lint_on PROCASSINIT */
  assign {sdram_cs_n, sdram_ras_n, sdram_cas_n, sdram_we_n} = command_q;
  assign sdram_cke = 1'b1;

  always_ff @(posedge clk) begin
    command_q <= Nop;
    sdram_ba <= bank;
    sdram_a <= cur_row;
    sdram_dq_o <= cur_word_q;
    sdram_dq_oe <= uses && cur_write_q;
    sdram_dqm <= {2{state_q == Power}};
    if (uses) begin
      command_q <= cur_write_q ? Write : Read;
      sdram_a <= ROW_W'(cur_at_q[COL_W:1]);
    end else if (opening) command_q <= Active;
    else if (closing) begin
      command_q <= Precharge;
      sdram_a[10] <= 1'b0;
    end else if (state_q == Close && all_closable) begin
      command_q <= Precharge;
      sdram_a[10] <= 1'b1;
    end else if (state_q == Again && all_openable) command_q <= Refresh;
    else if (state_q == Set && all_openable) begin
      command_q <= Mode;
      sdram_ba <= 2'b00;
      sdram_a <= ROW_W'({1'b1, 2'b00, 3'(CL), 1'b0, 3'b010});  // single writes, CAS latency, in sequence, burst length 4
    end
    if (rst) begin
      command_q <= Nop;
      sdram_dq_oe <= 1'b0;
    end
  end

  // Words that come back: bit i of reads_q: a READ was decided i + 1 cycles ago
  localparam int Last = CAPTURE + 3;
  logic [Last:0] reads_q, ends_q;
  logic [15:0] dq_q;
  logic [47:0] words_q;                  // the three before dq_q, the oldest lowest
  logic [3:0] held_q;
  logic room, taken, unused_ready;

  assign s_axi_rid = 1'b0;
  assign s_axi_rresp = 2'b00;
  assign taken = s_axi_rvalid && s_axi_rready;
  assign room = held_q != 4'(Held);

  always_ff @(posedge clk) begin
    dq_q <= sdram_dq_i;
    words_q <= {dq_q, words_q[47:16]};
    reads_q <= {reads_q[Last-1:0], uses && !cur_write_q};
    ends_q <= {ends_q[Last-1:0], cur_left_q == '0 && cur_end_q};
    if ((uses && !cur_write_q) != taken) held_q <= taken ? held_q - 1'b1 : held_q + 1'b1;
    if (rst) begin
      reads_q <= '0;
      held_q <= '0;
    end
  end

  fifo #(.WIDTH(64), .DEPTH(Held)) beats (
    .clk, .rst, .s_valid(reads_q[Last]), .s_ready(unused_ready), .s_data({dq_q, words_q}), .s_last(ends_q[Last]),
    .m_valid(s_axi_rvalid), .m_ready(s_axi_rready), .m_data(s_axi_rdata), .m_last(s_axi_rlast));

  initial begin
    if (CL < 2 || CL > 3 || CAPTURE < CL || CAPTURE > CL + 2) $fatal(1, "sdram: got CL %0d, CAPTURE %0d, must be 2 or 3, CL .. CL + 2", CL, CAPTURE);
    if (COL_W < 8 || COL_W > 10 || ROW_W < 11) $fatal(1, "sdram: got ROW_W %0d, COL_W %0d, must be at least 11, 8 .. 10", ROW_W, COL_W);
    if (cycles(T_RFC) > 63 || cycles(T_RC) > 63) $fatal(1, "sdram: got CLOCK_MHZ %0d, must be less: tRFC or tRC take more than 63 cycles", CLOCK_MHZ);
    if (T_RRD > T_RCD) $fatal(1, "sdram: got T_RRD %0d, must be at most T_RCD %0d: a row is opened when the one before is used", T_RRD, T_RCD);
    if (InitCycles < 64) $fatal(1, "sdram: got T_INIT %0d, must be 64 cycles at least", T_INIT);
  end
endmodule
