// SPDX-License-Identifier: Apache-2.0
// axi_memory: an external memory behind an AXI4 read port, for simulation
// Bits   : from HEX (words for $readmemh) or IMAGE (bytes, lowest address first), read when the simulation starts
// Timing : a burst whose AR is accepted in cycle a has its first beat at R in a + LATENCY or later, beats are CYCLES / BEATS cycles apart, rounded
//          up (time lost waiting for a burst is not made up for), bursts in order. None comes in the last REFRESH_FOR of each REFRESH_EVERY cycles
//          since reset. Beats that wait for RREADY hold.
// Random : STALL of 65536 cycles give no beat, BUSY take no AR; up to JITTER cycles more of latency, another number each burst; ERRORS of
//          65536 beats are SLVERR, as is the one at ERROR_ADDR
// Settings: each parameter from LATENCY on may be set by a plusarg, +NAME_latency=.., so that one build runs with many
// Checks : $fatal where AR is not an aligned INCR burst of whole beats within 4 KiB and BYTES, or changes before it is accepted
// Record : how often each beat was read, in the run after the last reset: NAME.fetched, 32 bits each in the machine's byte order
// Reset  : forgets its bursts, begins the random numbers and cycles anew; may come at power-up alone
module axi_memory #(
  parameter NAME = "memory",
  parameter HEX = "",
  parameter IMAGE = "",
  parameter int ADDR_W = 32,
  parameter int DATA_W = 64,
  parameter int BYTES = 4096,            // a multiple of a beat's
  parameter int QUEUE = 64,              // bursts that it accepts beforehand
  parameter int LATENCY = 20,            // at least 1
  parameter int CYCLES = 1,              // at least BEATS
  parameter int BEATS = 1,
  parameter int REFRESH_EVERY = 0,       // 0: never
  parameter int REFRESH_FOR = 0,
  parameter int STALL = 0,
  parameter int BUSY = 0,
  parameter int JITTER = 0,
  parameter int ERRORS = 0,
  parameter int ERROR_ADDR = -1,         // of a byte of the beat; -1: none
  parameter int SEED = 1
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              s_axi_arid,
  input  wire logic [ADDR_W-1:0] s_axi_araddr,
  input  wire logic [7:0]        s_axi_arlen,
  input  wire logic [2:0]        s_axi_arsize,
  input  wire logic [1:0]        s_axi_arburst,
  input  wire logic              s_axi_arvalid,
  output logic                   s_axi_arready,
  output logic                   s_axi_rid,
  output logic [DATA_W-1:0]      s_axi_rdata,
  output logic [1:0]             s_axi_rresp,
  output logic                   s_axi_rlast,
  output logic                   s_axi_rvalid,
  input  wire logic              s_axi_rready
);
  localparam int BeatBytes = DATA_W / 8;
  localparam int Words = BYTES / BeatBytes;
  localparam int SlotW = QUEUE > 1 ? $clog2(QUEUE) : 1;

  logic [DATA_W-1:0] mem [0:Words-1];
  logic [DATA_W-1:0] swapped;
  int unsigned fetched [0:Words-1];
  // Bursts that were accepted: the next beat's word, beats left, from which cycle on, ID; slots in a circle
  int unsigned word [0:QUEUE-1], left [0:QUEUE-1], from [0:QUEUE-1];
  logic id [0:QUEUE-1];
  logic [SlotW-1:0] head;
  int unsigned held, slot, cycle, at;
  int latency, cycles, beats, refresh_every, refresh_for, stall, busy, jitter, errors, error_addr, seed;
  int owed;                                // BEATS-ths of cycles until the next beat
  logic [31:0] random;
  logic waiting, accepted, gives, wrong;   // waiting: AR was not accepted in the cycle before
  logic [ADDR_W-1:0] was_addr;
  logic [7:0] was_len;
  integer file;

  // xorshift32 (Marsaglia 2003)
  function automatic logic [31:0] next(input logic [31:0] x);
    logic [31:0] y;
    y = x ^ (x << 13);
    y = y ^ (y >> 17);
    next = y ^ (y << 5);
  endfunction

  task automatic restart();
    {head, held, cycle, owed, waiting} = '0;
    random = next(next((32'(seed) * 32'd2654435761) | 32'd1));
    s_axi_arready <= 1'b0;
    s_axi_rvalid <= 1'b0;
    for (int i = 0; i < Words; i++) fetched[i] = 0;
  endtask

  task automatic check_ar();
    if (waiting && (!s_axi_arvalid || s_axi_araddr != was_addr || s_axi_arlen != was_len))
      $fatal(1, "axi_memory %s: got arvalid %b, araddr %h, arlen %0d, must stay 1, %h, %0d until arready", NAME,
        s_axi_arvalid, s_axi_araddr, s_axi_arlen, was_addr, was_len);
    if (s_axi_arvalid && (s_axi_arburst != 2'b01 || s_axi_arsize != 3'($clog2(BeatBytes))))
      $fatal(1, "axi_memory %s: got arburst %b, arsize %0d, must be 01 (INCR), %0d", NAME, s_axi_arburst, s_axi_arsize, $clog2(BeatBytes));
    if (s_axi_arvalid && s_axi_araddr % ADDR_W'(BeatBytes) != '0)
      $fatal(1, "axi_memory %s: got araddr %h, must be a multiple of %0d", NAME, s_axi_araddr, BeatBytes);
    if (s_axi_arvalid && 32'(s_axi_araddr[11:0]) + (32'(s_axi_arlen) + 1) * BeatBytes > 4096)
      $fatal(1, "axi_memory %s: got %0d beats at %h, must not cross 4 KiB", NAME, s_axi_arlen + 1, s_axi_araddr);
    if (s_axi_arvalid && s_axi_araddr / ADDR_W'(BeatBytes) + ADDR_W'(s_axi_arlen) >= ADDR_W'(Words))
      $fatal(1, "axi_memory %s: got %0d beats at %h, must end within %0d bytes", NAME, s_axi_arlen + 1, s_axi_araddr, BYTES);
    waiting = s_axi_arvalid && !s_axi_arready;
    was_addr = s_axi_araddr;
    was_len = s_axi_arlen;
  endtask

  initial begin
    if (BYTES % BeatBytes != 0 || BYTES < BeatBytes) $fatal(1, "axi_memory %s: got BYTES %0d, must be a multiple of %0d", NAME, BYTES, BeatBytes);
    if (!$value$plusargs({NAME, "_latency=%d"}, latency)) latency = LATENCY;
    if (!$value$plusargs({NAME, "_cycles=%d"}, cycles)) cycles = CYCLES;
    if (!$value$plusargs({NAME, "_beats=%d"}, beats)) beats = BEATS;
    if (!$value$plusargs({NAME, "_refresh_every=%d"}, refresh_every)) refresh_every = REFRESH_EVERY;
    if (!$value$plusargs({NAME, "_refresh_for=%d"}, refresh_for)) refresh_for = REFRESH_FOR;
    if (!$value$plusargs({NAME, "_stall=%d"}, stall)) stall = STALL;
    if (!$value$plusargs({NAME, "_busy=%d"}, busy)) busy = BUSY;
    if (!$value$plusargs({NAME, "_jitter=%d"}, jitter)) jitter = JITTER;
    if (!$value$plusargs({NAME, "_errors=%d"}, errors)) errors = ERRORS;
    if (!$value$plusargs({NAME, "_error_addr=%d"}, error_addr)) error_addr = ERROR_ADDR;
    if (!$value$plusargs({NAME, "_seed=%d"}, seed)) seed = SEED;
    if (latency < 1 || beats < 1 || cycles < beats)
      $fatal(1, "axi_memory %s: got latency %0d, %0d beats in %0d cycles, must be at least 1, and at most one a cycle", NAME, latency, beats, cycles);
    if (refresh_every != 0 && (refresh_for < 0 || refresh_for >= refresh_every))
      $fatal(1, "axi_memory %s: got a refresh of %0d in %0d cycles, must leave some", NAME, refresh_for, refresh_every);
    file = $fopen(IMAGE != "" ? IMAGE : HEX, "rb");
    if (file == 0) $fatal(1, "axi_memory %s: got %s, must be a file", NAME, IMAGE != "" ? IMAGE : HEX);
    if (IMAGE == "") $readmemh(HEX, mem);
    else if ($fread(mem, file) == 0) $fatal(1, "axi_memory %s: got no bytes of %s, must be some", NAME, IMAGE);
    else begin
      for (int i = 0; i < Words; i++) begin  // the first byte read is a word's highest
        for (int j = 0; j < BeatBytes; j++) swapped[8*j +: 8] = mem[i][DATA_W-8-8*j +: 8];
        mem[i] = swapped;
      end
    end
    $fclose(file);
    restart();
  end

  // Blocking, in this order: what was accepted, then what R has in the next cycle, which is `cycle`.
  always @(posedge clk) begin
    if (rst) restart();
    else begin
      cycle = cycle + 1;
      check_ar();
      accepted = s_axi_arvalid && s_axi_arready;
      if (s_axi_rvalid && s_axi_rready) fetched[at] = fetched[at] + 1;
      random = next(random);
      if (accepted) begin
        slot = (32'(head) + held) % QUEUE;
        word[slot] = 32'(s_axi_araddr / ADDR_W'(BeatBytes));
        left[slot] = 32'(s_axi_arlen) + 1;
        from[slot] = cycle + latency - 1 + 32'(random[15:0]) % (jitter + 1);
        id[slot] = s_axi_arid;
        held = held + 1;
      end
      wrong = 32'(random[31:16]) < errors;
      random = next(random);
      s_axi_arready <= held < QUEUE && 32'(random[15:0]) >= busy;
      gives = (!s_axi_rvalid || s_axi_rready) && held != 0 && from[head] <= cycle && owed <= 0 && 32'(random[31:16]) >= stall
        && !(refresh_every != 0 && cycle % refresh_every >= refresh_every - refresh_for);
      owed = gives ? owed + cycles - beats : owed > 0 ? owed - beats : 0;
      if (!s_axi_rvalid || s_axi_rready) s_axi_rvalid <= gives;
      if (gives) begin
        at = word[head];
        s_axi_rid <= id[head];
        s_axi_rdata <= mem[at];
        s_axi_rresp <= wrong || (error_addr >= 0 && error_addr / BeatBytes == int'(at)) ? 2'b10 : 2'b00;
        s_axi_rlast <= left[head] == 1;
        word[head] = at + 1;
        left[head] = left[head] - 1;
        if (left[head] == 0) begin
          head = SlotW'((32'(head) + 1) % QUEUE);
          held = held - 1;
        end
      end
    end
  end

  final begin
    file = $fopen({NAME, ".fetched"}, "wb");
    for (int i = 0; i < Words; i++) $fwrite(file, "%u", fetched[i]);
    $fclose(file);
  end
endmodule
