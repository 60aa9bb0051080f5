// SPDX-License-Identifier: Apache-2.0
// sdram_chip: a 16-bit SDR SDRAM of four banks, for simulation; ends it ($fatal) where a timing or a rule is broken, and says which
// Timing : all in ns, compared with cycles of CLOCK_MHZ; a word that is read is at dq_o for the clock edge CAS latency cycles after the READ's
// Rules  : commands known; none for T_INIT after power-up; MODE after a closing of all rows and two refreshes; rows opened only where closed, used
//          only where open; a burst is not cut off by the closing of its row; data of both sides never meet, with a cycle between;
//          ROWS successive refreshes take at most T_REFRESH, and the time since the one before them
// Settings: each time in small letters as a plusarg, +chip_t_rcd=.., instead of the parameter
// Image  : +chip_image: the words of the file weights.bin are in it from the beginning, as if they had been written there
// Modes  : bursts of 1, 2, 4, 8 in sequence, CAS latency 2 or 3, writes single or in bursts of one; no auto precharge, no full page
module sdram_chip #(
  parameter int CLOCK_MHZ = 50,
  parameter int ROW_W = 13,
  parameter int COL_W = 9,
  parameter int T_INIT = 200000,
  parameter int T_RCD = 20,
  parameter int T_RP = 20,
  parameter int T_RAS = 45,
  parameter int T_RC = 70,
  parameter int T_RRD = 20,
  parameter int T_WR = 20,
  parameter int T_RFC = 70,
  parameter int T_MRD = 20,
  parameter int T_REFRESH = 64000000,
  parameter int ROWS = 8192              // refreshes in T_REFRESH
) (
  input  wire logic             clk,
  input  wire logic             cke,
  input  wire logic             cs_n,
  input  wire logic             ras_n,
  input  wire logic             cas_n,
  input  wire logic             we_n,
  input  wire logic [1:0]       ba,
  input  wire logic [ROW_W-1:0] a,
  input  wire logic [1:0]       dqm,
  input  wire logic [15:0]      dq_i,
  input  wire logic             dq_oe_i,   // the other side drives dq
  output logic [15:0]           dq_o,
  output logic                  dq_oe_o
);
  localparam longint Never = -64'sd1000000000000;

  logic [15:0] mem [0:(1 << (ROW_W + COL_W + 2))-1];
  logic open [0:3];
  logic [ROW_W-1:0] row [0:3];
  longint now, opened [0:3], closed [0:3], wrote [0:3], busy [0:3];  // ps; busy: the last word of a READ leaves the bank
  longint last_open, last_refresh, last_mode, last_read_word, refreshes [0:ROWS-1];
  longint cycle, mode_cycle;
  int t_init, t_rcd, t_rp, t_ras, t_rc, t_rrd, t_wr, t_rfc, t_mrd, t_refresh;
  int refreshed, oldest, length, latency;
  logic all_closed, mode_set, single;
  // Words that leave: [0] is at dq in the next cycle
  logic [11:0] leaves;
  logic [15:0] words [0:11];
  logic [ROW_W+COL_W+1:0] at;
  logic [COL_W-1:0] column;

  task automatic fill();
    int file = $fopen("weights.bin", "rb");
    rule(file != 0, "no file weights.bin");
    for (int i = 0; i < (1 << (ROW_W + COL_W + 2)) && !$feof(file); i++) begin
      mem[i][7:0] = 8'($fgetc(file));
      mem[i][15:8] = 8'($fgetc(file));
    end
    $fclose(file);
  endtask

  task automatic least(input string name, input longint since, input int ns);
    if (now - since < 64'(ns) * 1000) $fatal(1, "sdram_chip: %s: got %0d ns, must be at least %0d", name, (now - since) / 1000, ns);
  endtask

  task automatic rule(input logic kept, input string name);
    if (!kept) $fatal(1, "sdram_chip: %s, bank %0d, cycle %0d", name, ba, cycle);
  endtask

  task automatic idle(input string what);
    for (int b = 0; b < 4; b++) begin
      rule(!open[b], {what, " while a row is open"});
      least("tRP", closed[b], t_rp);
    end
    least("tRFC", last_refresh, t_rfc);
    least("tMRD", last_mode, t_mrd);
    rule(cycle - mode_cycle > 1, "a cycle behind mode");
  endtask

  task automatic close(input int b);
    if (open[b]) begin
      least("tRAS", opened[b], t_ras);
      least("tWR", wrote[b], t_wr);
      rule(now >= busy[b], "precharge cuts off a read");
      open[b] = 1'b0;
      closed[b] = now;
    end
  endtask

  initial begin
    if (!$value$plusargs("chip_t_init=%d", t_init)) t_init = T_INIT;
    if (!$value$plusargs("chip_t_rcd=%d", t_rcd)) t_rcd = T_RCD;
    if (!$value$plusargs("chip_t_rp=%d", t_rp)) t_rp = T_RP;
    if (!$value$plusargs("chip_t_ras=%d", t_ras)) t_ras = T_RAS;
    if (!$value$plusargs("chip_t_rc=%d", t_rc)) t_rc = T_RC;
    if (!$value$plusargs("chip_t_rrd=%d", t_rrd)) t_rrd = T_RRD;
    if (!$value$plusargs("chip_t_wr=%d", t_wr)) t_wr = T_WR;
    if (!$value$plusargs("chip_t_rfc=%d", t_rfc)) t_rfc = T_RFC;
    if (!$value$plusargs("chip_t_mrd=%d", t_mrd)) t_mrd = T_MRD;
    if (!$value$plusargs("chip_t_refresh=%d", t_refresh)) t_refresh = T_REFRESH;
    if ($test$plusargs("chip_image")) fill();
    cycle = 0;
    {refreshed, oldest, length, latency} = '0;
    {all_closed, mode_set, single, leaves, dq_oe_o} = '0;
    for (int b = 0; b < 4; b++) begin
      open[b] = 1'b0;
      {opened[b], closed[b], wrote[b], busy[b]} = {4{Never}};
    end
    {last_open, last_refresh, last_mode, last_read_word, mode_cycle} = {5{Never}};
  end

  always @(posedge clk) begin
    cycle = cycle + 1;
    now = cycle * 1000000 / 64'(CLOCK_MHZ);
    if (dq_oe_i && dq_oe_o) $fatal(1, "sdram_chip: both sides drive dq, cycle %0d", cycle);
    if (dq_oe_i) rule(cycle - last_read_word > 1, "no cycle between words read and written");
    if (mode_set) begin
      if (now - refreshes[oldest] > 64'(t_refresh)  * 1000) $fatal(1, "sdram_chip: tREF: got %0d ns for %0d refreshes, must be at most %0d",
        (now - refreshes[oldest]) / 1000, ROWS, t_refresh);
    end
    // The words on their way
    dq_oe_o <= leaves[0];
    dq_o <= leaves[0] ? words[0] : 16'hXXXX;
    if (dq_oe_o) last_read_word = cycle;
    leaves = leaves >> 1;
    for (int i = 0; i < 11; i++) words[i] = words[i+1];
    rule(cke === 1'b1 || now < 64'(t_init) * 1000, "cke is low");
    if (!cs_n && {ras_n, cas_n, we_n} != 3'b111) begin
      if (now < 64'(t_init) * 1000) $fatal(1, "sdram_chip: tINIT: got %0d ns before the first command, must be at least %0d", now / 1000, t_init);
      at = {row[ba], ba, a[COL_W-1:0]};
      case ({ras_n, cas_n, we_n})
        3'b010:
          if (a[10]) begin
            for (int b = 0; b < 4; b++) close(b);
            all_closed = 1'b1;
          end else close(int'(ba));
        3'b001: begin
          rule(all_closed, "refresh before all rows were closed");
          idle("refresh");
          if (refreshed == 0) for (int i = 0; i < ROWS; i++) refreshes[i] = now;
          refreshes[oldest] = now;
          oldest = (oldest + 1) % ROWS;
          refreshed = refreshed + 1;
          last_refresh = now;
        end
        3'b000: begin
          rule(refreshed >= 2, "mode before two refreshes");
          idle("mode");
          rule(a[2:0] < 3'd4 && !a[3] && (a[6:4] == 3'd2 || a[6:4] == 3'd3) && a[8:7] == 2'b00, "a mode that this model has not");
          length = 1 << a[2:0];
          latency = int'(a[6:4]);
          single = a[9];
          mode_set = 1'b1;
          last_mode = now;
          mode_cycle = cycle;
        end
        3'b011: begin
          rule(mode_set, "a row is opened before the mode is set");
          rule(!open[ba], "a row is opened where one is open");
          least("tRP", closed[ba], t_rp);
          least("tRC", opened[ba], t_rc);
          least("tRRD", last_open, t_rrd);
          least("tRFC", last_refresh, t_rfc);
          least("tMRD", last_mode, t_mrd);
          rule(cycle - mode_cycle > 1, "a cycle behind mode");
          open[ba] = 1'b1;
          row[ba] = a;
          opened[ba] = now;
          last_open = now;
        end
        3'b101: begin
          rule(open[ba], "a read where no row is open");
          rule(!a[10], "a read with auto precharge");
          rule(dqm == 2'b00, "a read with dqm");
          least("tRCD", opened[ba], t_rcd);
          for (int i = 0; i < length; i++) begin
            column = (a[COL_W-1:0] & ~COL_W'(length - 1)) | ((a[COL_W-1:0] + COL_W'(i)) & COL_W'(length - 1));
            words[latency - 2 + i] = mem[{row[ba], ba, column}];
          end
          leaves = (leaves & ((12'd1 << (latency - 2)) - 12'd1)) | (((12'd1 << length) - 12'd1) << (latency - 2));
          busy[ba] = (cycle + 64'(length)) * 1000000 / 64'(CLOCK_MHZ);
        end
        3'b100: begin
          rule(open[ba], "a write where no row is open");
          rule(!a[10] && (single || length == 1), "a write with auto precharge or in a burst");
          rule(dq_oe_i, "a write without data");
          least("tRCD", opened[ba], t_rcd);
          for (int i = 0; i < 2; i++) if (!dqm[i]) mem[at][8*i +: 8] = dq_i[8*i +: 8];
          wrote[ba] = now;
        end
        default: rule(1'b0, "a command that this model has not");
      endcase
    end
  end
endmodule
