// SPDX-License-Identifier: Apache-2.0
// fifo: first in, first out, DEPTH beats
// Stream : s_* -> m_*; latency 1 (a beat taken in cycle t is offered in cycle t+1), II 1 at any DEPTH >= 2
// Timing : no combinational path from m_ready to s_ready or from s_valid to m_valid; all outputs are registers (m_data one of four in fifo_deep)
// Method : fifo_deep (block RAM) above 64 beats. Below, m_* holds the oldest beat; the one behind it waits in `ram_q`, read from LUT RAM
//          when the beat before it left, or in `hold_q`, if it came too late for that. No memory where DEPTH is 2.
// Layout : {last, data} is one word
// Reset  : empties it
module fifo #(
  parameter int WIDTH = 8,   // bits of data
  parameter int DEPTH = 2,   // beats, any integer >= 2
  parameter RAM_STYLE = "auto"  // of fifo_deep
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             s_valid,
  output logic                  s_ready,
  input  wire logic [WIDTH-1:0] s_data,
  input  wire logic             s_last,
  output logic                  m_valid,
  input  wire logic             m_ready,
  output logic [WIDTH-1:0]      m_data,
  output logic                  m_last
);
  if (DEPTH > 64) begin : g_deep
    fifo_deep #(.WIDTH(WIDTH), .DEPTH(DEPTH), .RAM_STYLE(RAM_STYLE)) u_deep (.clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid, .m_ready, .m_data, .m_last);
  end else begin : g_shallow
    localparam int CountW = $clog2(DEPTH + 1);

    logic [CountW-1:0] count_q;        // beats held
    logic [WIDTH:0] hold_q, second;
    logic push, pop, only, to_hold;    // only: at most one beat is held

    assign push = s_valid && s_ready;
    assign pop = m_valid && m_ready;
    assign only = count_q <= CountW'(1);
    assign to_hold = push && (only ? m_valid && !pop : pop && count_q == CountW'(2));  // becomes the second beat

    always_ff @(posedge clk) begin
      if (to_hold) hold_q <= {s_last, s_data};
      if (!m_valid || pop) {m_last, m_data} <= only ? {s_last, s_data} : second;
    end

    always_ff @(posedge clk) begin
      if (push != pop) count_q <= push ? count_q + 1'b1 : count_q - 1'b1;
      m_valid <= push || !only || (m_valid && !pop);
      s_ready <= pop || !(count_q == CountW'(DEPTH) || (push && count_q == CountW'(DEPTH - 1)));
      if (rst) begin
        count_q <= '0;
        m_valid <= 1'b0;
        s_ready <= 1'b0;
      end
    end

    if (DEPTH <= 2) begin : g_registers
      assign second = hold_q;
    end else begin : g_memory
      localparam int AddrW = $clog2(DEPTH);
      localparam logic [AddrW-1:0] LastAddr = AddrW'(DEPTH - 1);
      localparam logic [AddrW-1:0] Third = AddrW'(2 % DEPTH);

      // A word is read only after the cycle in which it was written.
      (* no_rw_check *) logic [WIDTH:0] mem [0:DEPTH-1];
      logic [WIDTH:0] ram_q;
      logic [AddrW-1:0] write_q, read_q;  // read_q: where the third beat is
      logic held_q;                       // the second beat is in hold_q

      assign second = held_q ? hold_q : ram_q;
      always_ff @(posedge clk) if (push) mem[write_q] <= {s_last, s_data};
      always_ff @(posedge clk) if (pop) ram_q <= mem[read_q];

      always_ff @(posedge clk) begin
        if (push) write_q <= write_q == LastAddr ? '0 : write_q + 1'b1;
        if (pop) read_q <= read_q == LastAddr ? '0 : read_q + 1'b1;
        if (to_hold || pop) held_q <= to_hold;
        if (rst) begin
          write_q <= '0;
          read_q <= Third;
        end
      end
    end
  end

  initial if (DEPTH < 2) $fatal(1, "fifo: DEPTH must be at least 2");
endmodule
