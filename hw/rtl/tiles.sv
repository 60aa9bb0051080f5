// SPDX-License-Identifier: Apache-2.0
// tiles: weights from external memory, a tile of STEPS words at a time, or of STEPS at most: two of them, one is read while the next comes
// Golden : none, moves data only
// Fetch  : a client of axi_fetch. Tile f of turn t lies at BASE + (t*TILES + f) * Beats * DATA_W / 8. A word lies in Columns beats, the lowest
//          bits first, or Words words in one beat, what is left of it is not looked at.
//          TABLE_FILE: tiles have different numbers of words. Table word t*TILES + f, {offset, beats}, says where that tile lies, in beats from BASE on, and
//          how many it has; it is asked for a cycle later
// Reader : the tiles of a block in order, 0 .. TILES - 1, then those of the next block. While `ready`, `word` holds the word `step` of the
//          oldest tile as it was in the cycle before with `en`; `done` (with `en`) drops it
// Blocks : `begun` of them have begun to come, in `turn` and `next_turn`; `block_done` drops the oldest. Tiles are asked for as soon as one of
//          the two places is free and the block they are for has begun
// Reset  : no tile; axi_fetch drops what was asked for
module tiles #(
  parameter int WIDTH = 32,       // bits of a word
  parameter int STEPS = 4,        // words of a tile
  parameter int TILES = 2,        // of a turn
  parameter int TURNS = 1,
  parameter int BANKS = TURNS,   // of tiles that are equally long: see turns
  parameter logic [TURNS*8-1:0] BANK_OF = '0,
  parameter int DATA_W = 64,      // bits of a beat
  parameter int ADDR_W = 32,
  parameter logic [63:0] BASE = 0,
  parameter TABLE_FILE = "",      // where tiles lie; "": one behind the other, equally long
  parameter int TABLE_LOAD = 0,   // see rom
  parameter int OFFSET_W = 1,     // bits of an offset
  /* verilator lint_off UNUSEDPARAM */  // an attribute takes it
  parameter RAM_STYLE = "auto",   // "distributed": in LUT RAM
  /* verilator lint_on UNUSEDPARAM */
  localparam int STEP_W = STEPS > 1 ? $clog2(STEPS) : 1
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic [32:0]       load,
  output      logic              req_valid,
  input  wire logic              req_ready,
  output      logic [ADDR_W-1:0] req_addr,
  output      logic [15:0]       req_beats,
  input  wire logic              w_valid,
  input  wire logic [DATA_W-1:0] w_data,
  input  wire logic              w_last,
  input  wire logic [1:0]        begun,
  input  wire logic [6:0]        turn,
  input  wire logic [6:0]        next_turn,
  input  wire logic              block_done,
  input  wire logic              en,
  input  wire logic [STEP_W-1:0] step,
  input  wire logic              done,
  output      logic              ready,
  output      logic [WIDTH-1:0]  word
);
  localparam int Columns = (WIDTH + DATA_W - 1) / DATA_W;
  localparam int Words = WIDTH <= DATA_W ? DATA_W / WIDTH : 1;
  localparam int Rows = (STEPS + Words - 1) / Words;  // of a tile: a row is read at once
  localparam int Beats = Rows * Columns;
  localparam int TileW = TILES > 1 ? $clog2(TILES) : 1;
  localparam int RowW = Rows > 1 ? $clog2(Rows) : 1;
  localparam int ColumnW = Columns > 1 ? $clog2(Columns) : 1;
  localparam int SlotW = Words > 1 ? $clog2(Words) : 1;
  localparam int AddrW = $clog2(2 * Rows);
  localparam int TurnW = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam logic [ADDR_W-1:0] TileBytes = ADDR_W'(Beats * DATA_W / 8);

  // What is asked for: the tile, and how many blocks it is ahead of the one that is read
  logic [TileW-1:0] tile_q;
  logic [1:0] ahead_q, asked_q, came_q;        // asked, came: tiles of the two places
  logic bank_q, write_bank_q;                  // that is read, that is written
  wire ask = req_valid && req_ready;
  wire drop = en && done;
  wire gone = en && block_done;
  wire tile_end = tile_q == TileW'(TILES - 1);
  wire [6:0] of_turn = ahead_q == 2'd0 ? turn : next_turn;

  wire wanted = asked_q != 2'd2 && ahead_q < begun;
  if (TABLE_FILE == "") begin : g_equal
    logic [ADDR_W-1:0] offset_q;  // of the tile in its turn

    // Where a turn's tiles begin: a table of constants, not a product, for which synthesis would take multipliers
    function automatic logic [ADDR_W-1:0] begins(input logic [TurnW-1:0] of);
      begins = '0;
      for (int i = 1; i < TURNS; i++)
        if (of == TurnW'(i)) begins = (BANKS == TURNS ? ADDR_W'(i) : ADDR_W'(BANK_OF[8*i +: 8])) * (TileBytes * ADDR_W'(TILES));
    endfunction

    always_ff @(posedge clk) begin
      if (ask) offset_q <= tile_end ? '0 : offset_q + TileBytes;
      if (rst) offset_q <= '0;
    end
    assign req_valid = wanted;
    assign req_addr = ADDR_W'(BASE) + begins(of_turn[TurnW-1:0]) + offset_q;
    assign req_beats = 16'(Beats);
    wire unused = &{1'b0, of_turn, load};
  end else begin : g_table
    localparam int IndexW = TURNS * TILES > 1 ? $clog2(TURNS * TILES) : 1;
    localparam int BeatsW = $clog2(Beats + 1);
    wire [IndexW-1:0] index = IndexW'(of_turn[TurnW-1:0]) * IndexW'(TILES) + IndexW'(tile_q);
    wire [OFFSET_W-1:0] offset;
    wire [BeatsW-1:0] beats;
    logic [IndexW-1:0] index_q;  // whose entry was read

    always_ff @(posedge clk) index_q <= index;
    rom #(.WIDTH(OFFSET_W + BeatsW), .DEPTH(TURNS * TILES), .FILE(TABLE_FILE), .LOAD(TABLE_LOAD)) u_table (.clk, .load, .en(1'b1), .addr(index), .q({offset, beats}));
    assign req_valid = wanted && index_q == index;
    assign req_addr = ADDR_W'(BASE) + ADDR_W'(offset) * ADDR_W'(DATA_W / 8);
    assign req_beats = 16'(beats);
    wire unused = &{1'b0, of_turn};
  end

  always_ff @(posedge clk) begin
    if (ask) tile_q <= tile_end ? '0 : tile_q + 1'b1;
    if ((ask && tile_end) != gone) ahead_q <= gone ? ahead_q - 1'b1 : ahead_q + 1'b1;
    if (ask != drop) asked_q <= drop ? asked_q - 1'b1 : asked_q + 1'b1;
    if ((w_valid && w_last) != drop) came_q <= drop ? came_q - 1'b1 : came_q + 1'b1;
    if (w_valid && w_last) write_bank_q <= !write_bank_q;
    if (drop) bank_q <= !bank_q;
    if (rst) begin
      tile_q <= '0;
      ahead_q <= '0;
      asked_q <= '0;
      came_q <= '0;
      bank_q <= 1'b0;
      write_bank_q <= 1'b0;
    end
  end
  assign ready = came_q != 2'd0;

  // Where a beat goes
  logic [RowW-1:0] row_q;
  logic [ColumnW-1:0] column_q;
  wire column_end = column_q == ColumnW'(Columns - 1);
  wire [AddrW-1:0] write_at = (write_bank_q ? AddrW'(Rows) : '0) + AddrW'(row_q);

  always_ff @(posedge clk) begin
    if (w_valid) begin
      column_q <= column_end || w_last ? '0 : column_q + 1'b1;
      if (column_end || w_last) row_q <= w_last ? '0 : row_q + 1'b1;
    end
    if (rst) begin
      row_q <= '0;
      column_q <= '0;
    end
  end

  // Reading: the row of the step, and of a row of several words which
  wire [RowW-1:0] row;
  wire [Columns*DATA_W-1:0] read;

  if (Words == 1) begin : g_row
    assign row = RowW'(step);
    assign word = read[WIDTH-1:0];
    wire unused_read = &{1'b0, read};
  end else begin : g_slot
    // step counts up or stays, so the row and the place in it need no division
    logic [SlotW-1:0] slot_q, read_slot_q;
    logic [RowW-1:0] row_of_q;
    logic [STEP_W-1:0] step_q;  // that they belong to
    wire again = step == '0;
    wire moved = step != step_q;
    wire slot_end = slot_q == SlotW'(Words - 1);
    wire [SlotW-1:0] slot = again ? '0 : !moved ? slot_q : slot_end ? '0 : slot_q + 1'b1;

    assign row = again ? '0 : moved && slot_end ? row_of_q + 1'b1 : row_of_q;
    always_ff @(posedge clk) begin
      if (en) begin
        read_slot_q <= slot;
        slot_q <= slot;
        row_of_q <= row;
        step_q <= step;
      end
    end
    assign word = WIDTH'(read >> (SlotW + $clog2(WIDTH + 1))'(read_slot_q) * (SlotW + $clog2(WIDTH + 1))'(WIDTH));
  end

  wire [AddrW-1:0] read_at = (bank_q ? AddrW'(Rows) : '0) + AddrW'(row);
  for (genvar i = 0; i < Columns; i++) begin : g_column
    (* ram_style = RAM_STYLE *) logic [DATA_W-1:0] mem [0:2*Rows-1];
    logic [DATA_W-1:0] read_q;
    always_ff @(posedge clk) if (w_valid && column_q == ColumnW'(i)) mem[write_at] <= w_data;
    always_ff @(posedge clk) if (en) read_q <= mem[read_at];
    assign read[i*DATA_W +: DATA_W] = read_q;
  end
endmodule
