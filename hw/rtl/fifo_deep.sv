// SPDX-License-Identifier: Apache-2.0
// fifo_deep: a fifo in block RAM or UltraRAM, for DEPTH > 4; `fifo` takes it where it is deep
// Stream : as fifo: latency 1, II 1, DEPTH beats
// Timing : s_ready and m_valid are registers, m_data is one of four. A word moves from block RAM to a register with nothing between.
// Method : four slots hold the oldest beats, the memory the others. A beat gets its slot when it is put there or when its read is
//          issued, which is once a slot is free: beats are in the memory only while three or four slots are taken, so a read, which takes
//          three cycles, is there before the three beats in front of it have left.
// Memory : chunks of ChunkWords words, each with registers of its own, so that the choice between them comes after these. A chunk is a block RAM; in
//          UltraRAM, whose words have 72 bits, Side of them lie side by side in one memory, each in whole bytes of 9 bits, which are written alone
// Layout : {last, data} is one word
// Reset  : empties it
module fifo_deep #(
  parameter int WIDTH = 8,     // bits of data
  parameter int DEPTH = 100,   // beats
  parameter RAM_STYLE = "auto" // "ultra": in UltraRAM
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
  /* verilator lint_off WIDTHEXPAND */
  localparam bit Ultra = RAM_STYLE == "ultra";
  /* verilator lint_on WIDTHEXPAND */
  // What 18 kbit hold at that width: one block RAM of most families.
  localparam int ChunkWords = Ultra ? 4096 : WIDTH < 9 ? 2048 : WIDTH < 18 ? 1024 : 512;
  localparam int Chunks = (DEPTH + ChunkWords - 1) / ChunkWords;
  localparam int Slot = Ultra ? 9 * ((WIDTH + 9) / 9) : WIDTH + 1;  // bits of a chunk's word
  localparam int Fits = Ultra && Slot < 72 ? 72 / Slot : 1;
  localparam int Side = Fits < Chunks ? Fits : Chunks;
  localparam int Memories = (Chunks + Side - 1) / Side;
  localparam int OffsetW = $clog2(ChunkWords);
  localparam int ChunkW = Chunks > 1 ? $clog2(Chunks) : 1;
  localparam int AddrW = OffsetW + ChunkW;
  localparam int CountW = $clog2(DEPTH + 1);
  localparam logic [AddrW-1:0] LastAddr = AddrW'(DEPTH - 1);

  logic push, pop, direct, issue, stored_q;               // stored_q: beats in the memory, not issued
  logic [CountW-1:0] count_q, memory_q;                   // beats held; beats in the memory
  logic [2:0] taken_q;                                    // slots
  logic [1:0] head_q, tail_q, tail1_q;
  logic [3:0] arrives_q;                                  // in which slot a word of the memory does
  logic issued_q;
  logic [AddrW-1:0] write_q, read_q;
  logic [ChunkW-1:0] chunk1_q, chunk2_q;
  logic [WIDTH:0] word;
  (* mem2reg *) logic [WIDTH:0] chunk_q [0:(1<<ChunkW)-1];
  (* mem2reg *) logic [WIDTH:0] slot_q [0:3];

  assign push = s_valid && s_ready;
  assign pop = m_valid && m_ready;
  assign direct = push && !stored_q && !taken_q[2];
  assign issue = stored_q && !taken_q[2];
  assign {m_last, m_data} = slot_q[head_q];
  assign word = chunk_q[chunk2_q];

  for (genvar i = 0; i < 4; i++) begin : g_slot
    always_ff @(posedge clk) if (arrives_q[i] || (direct && tail_q == 2'(i))) slot_q[i] <= arrives_q[i] ? word : {s_last, s_data};
  end

  always_ff @(posedge clk) begin
    s_ready <= pop || !(count_q == CountW'(DEPTH) || (push && count_q == CountW'(DEPTH - 1)));
    m_valid <= push || count_q > CountW'(1) || (m_valid && !pop);
    if (push != pop) count_q <= push ? count_q + 1'b1 : count_q - 1'b1;
    if ((direct || issue) != pop) taken_q <= pop ? taken_q - 1'b1 : taken_q + 1'b1;
    if ((push && !direct) != issue) memory_q <= issue ? memory_q - 1'b1 : memory_q + 1'b1;
    stored_q <= (push && !direct) || memory_q > CountW'(1) || (stored_q && !issue);
    if (pop) head_q <= head_q + 1'b1;
    if (direct || issue) tail_q <= tail_q + 1'b1;
    if (push && !direct) write_q <= write_q == LastAddr ? '0 : write_q + 1'b1;
    if (issue) read_q <= read_q == LastAddr ? '0 : read_q + 1'b1;
    issued_q <= issue;
    tail1_q <= tail_q;
    arrives_q <= 4'(issued_q) << tail1_q;
    chunk1_q <= read_q[AddrW-1 -: ChunkW];
    chunk2_q <= chunk1_q;
    if (rst) begin
      s_ready <= 1'b0;
      m_valid <= 1'b0;
      {count_q, taken_q, memory_q, stored_q, head_q, tail_q, write_q, read_q, issued_q, arrives_q} <= '0;
    end
  end

  wire [Memories*Side*Slot-1:0] reads;  // of all chunks, a cycle behind the address

  for (genvar g = 0; g < Memories; g++) begin : g_memory
    localparam int Words = DEPTH - g * Side * ChunkWords < ChunkWords ? DEPTH - g * Side * ChunkWords : ChunkWords;
    localparam int AtW = Words > 1 ? $clog2(Words) : 1;
    logic [Side*Slot-1:0] read;

    assign reads[g*Side*Slot +: Side*Slot] = read;

    // A word is read only after the cycle in which it was written.
    if (Ultra) begin : g_ultra
      (* ram_style = "ultra" *) logic [Side*Slot-1:0] mem [0:Words-1];

      always_ff @(posedge clk) begin
        for (int i = 0; i < Side; i++)
          if (push && !direct && write_q[AddrW-1 -: ChunkW] == ChunkW'(g * Side + i)) mem[write_q[AtW-1:0]][i*Slot +: Slot] <= Slot'({s_last, s_data});
      end
      always_ff @(posedge clk) read <= mem[read_q[AtW-1:0]];
    end else begin : g_auto
      (* no_rw_check *) logic [WIDTH:0] mem [0:Words-1];

      always_ff @(posedge clk) if (push && !direct && write_q[AddrW-1 -: ChunkW] == ChunkW'(g)) mem[write_q[AtW-1:0]] <= {s_last, s_data};
      always_ff @(posedge clk) read <= mem[read_q[AtW-1:0]];
    end
  end

  for (genvar i = 0; i < (1 << ChunkW); i++) begin : g_chunk
    always_ff @(posedge clk) chunk_q[i] <= i < Chunks ? reads[(i < Chunks ? i : 0)*Slot +: WIDTH+1] : '0;
  end
  wire unused = &{1'b0, reads};

  initial if (DEPTH <= 4) $fatal(1, "fifo_deep: got DEPTH %0d, must be above 4; take fifo", DEPTH);
endmodule
