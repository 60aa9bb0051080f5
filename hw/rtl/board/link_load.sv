// SPDX-License-Identifier: Apache-2.0
// link_load: the image of weights from the host's LOAD frames to the memory (docs/hil.md), word by word as they come
// Stream : words in, as link_rx gives them, nobody can make them wait; load_* to sdram's load port. A word that finds the one before still there is lost,
//          and its frame is not kept
// Rules  : begun by `begins`, a session for loading; a frame is kept if its position is the next one and all of its words were taken. Words are written
//          before it is known whether their frame is good, never in front of `next`, so what was wrong is written again; `whole` comes with a kept
//          frame that ends the image, and nothing is written from then on
// Layout : positions count words of 16 bits
// Reset  : no session for loading, no image
module link_load (
  input  wire logic        clk,
  input  wire logic        rst,
  input  wire logic        begins,      // a session begins
  input  wire logic        loading,     // with `begins`: it is one for loading
  input  wire logic        word_valid,
  input  wire logic [15:0] word,
  input  wire logic        flag,
  input  wire logic        keep,        // with `flag`: the frame is good and of the session
  input  wire logic        image_end,   // with `keep`: the frame ends the image
  input  wire logic [23:0] position,
  input  wire logic [7:0]  count,
  output logic             nak,         // in the cycle of `keep`: dropped, and not as one that came before
  output logic [23:0]      next,        // position of the word that is expected
  output logic             active,      // the session is one for loading
  output logic             whole,       // the memory holds an image
  output logic             load_valid,
  input  wire logic        load_ready,
  output logic [23:0]      load_at,
  output logic [15:0]      load_data
);
  logic [23:0] spec_q;   // the next word of the frame that is coming
  logic drop_q, here_q;  // here: the frame is the next one: a header is there long before its first word
  logic fits, kept;

  // A frame that is damaged may say that it has more words than the memory has behind `next`
  assign fits = word_valid && active && !whole && here_q && !drop_q && spec_q >= next && (!load_valid || load_ready);
  assign kept = keep && count != '0 && active && !whole && here_q && !drop_q && !load_valid;
  assign nak = keep && count != '0 && !kept && position - next < 24'h800000;

  always_ff @(posedge clk) begin
    here_q <= position == next;
    if (load_ready) load_valid <= 1'b0;
    if (word_valid) begin
      if (fits) begin
        load_valid <= 1'b1;
        load_at <= spec_q;
        load_data <= word;
        spec_q <= spec_q + 1'b1;
      end else drop_q <= 1'b1;
    end
    if (flag) begin
      drop_q <= 1'b0;
      if (kept) next <= spec_q;
      else spec_q <= next;
      if (kept && image_end) whole <= 1'b1;
    end
    if (begins) begin
      active <= loading;
      {next, spec_q} <= '0;
      if (loading) whole <= 1'b0;
    end
    if (rst) {active, whole, load_valid, drop_q} <= '0;
  end
endmodule
