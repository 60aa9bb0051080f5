// SPDX-License-Identifier: Apache-2.0
// sentence_counters: when each sentence's first beat entered the encoder and its last beat left, and who waited
// Golden : start and stop of a sentence as in sim/encoder.py (in_first_cycle, out_last_cycle), but for the origin: cycle 0 is the end of reset
// Counts : 32 bits, wrapping. done = sentences that left; waited_in = cycles in which the encoder was ready for the next beat of a sentence that had
//          begun and none came; waited_out = cycles in which an output beat was not taken. Both 0: the cycles are the encoder's own
// Log    : the last LOG sentences; sentence n (0 is the first after reset) lies in entry n % LOG. Right while at most LOG are in the encoder
// Reset  : all counts 0, the next beat begins a sentence
module sentence_counters #(
  parameter int LOG = 64,                       // entries, a power of two
  localparam int LOG_W = LOG > 1 ? $clog2(LOG) : 1
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             in_valid,
  input  wire logic             in_ready,
  input  wire logic             in_last,
  input  wire logic             out_valid,
  input  wire logic             out_ready,
  input  wire logic             out_last,
  output      logic [31:0]      done,
  output      logic [31:0]      latest,         // stop - start of the sentence that left last
  output      logic [31:0]      waited_in,
  output      logic [31:0]      waited_out,
  input  wire logic [LOG_W-1:0] entry,
  output      logic [31:0]      start,          // of the entry, in the same cycle
  output      logic [31:0]      stop
);
  logic [31:0] start_mem [0:LOG-1];
  logic [31:0] stop_mem [0:LOG-1];
  logic [31:0] now_q;
  logic [LOG_W-1:0] started_q;  // entry of the next sentence to begin
  logic inside_q;               // a sentence has begun and its last beat has not come
  logic begins, ends;

  assign begins = in_valid && in_ready && !inside_q;
  assign ends = out_valid && out_ready && out_last;
  assign start = start_mem[entry];
  assign stop = stop_mem[entry];

  always_ff @(posedge clk) begin
    if (begins) start_mem[started_q] <= now_q;
    if (ends) stop_mem[done[LOG_W-1:0]] <= now_q;
    if (ends) latest <= now_q - start_mem[done[LOG_W-1:0]];
    if (rst) begin
      now_q <= '0;
      started_q <= '0;
      inside_q <= 1'b0;
      done <= '0;
      latest <= '0;
      waited_in <= '0;
      waited_out <= '0;
    end else begin
      now_q <= now_q + 1'b1;
      if (in_valid && in_ready) inside_q <= !in_last;
      if (begins) started_q <= started_q + 1'b1;
      if (ends) done <= done + 1'b1;
      if (inside_q && in_ready && !in_valid) waited_in <= waited_in + 1'b1;
      if (out_valid && !out_ready) waited_out <= waited_out + 1'b1;
    end
  end
endmodule
