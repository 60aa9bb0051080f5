// SPDX-License-Identifier: Apache-2.0
// pattern: acc[i,h,d] = sum_t w[h,t] * v[min(max(i + o[h,t], 0), T - 1),h,d]; heads that take the values of neighbours by fixed weights
// Golden : hw/ops/pattern.py (bit-exact)
// Stream : s_* tokens of WIDTH elements, signed, s_last at the end of a sentence -> m_* the same
// Method : a window of Slots tokens, a memory for each lane and tap; tokens of the next sentences enter while the last ones of this go out
// Timing : II 1. A token goes out when it is there with the REACH tokens behind it, or all that its sentence has; from the last of these input beats
//          to its first beat 7 + ceil(log4(TAPS)) cycles. A token is taken while fewer than Slots - REACH are there that have not begun to go out,
//          and the one in work
// Layout : lane i = data[i*W +: W]; element e of a token is of head e / DIM, beyond the last head its sums are 0; TABLE: for head h and tap t, lowest
//          first, {weight, REACH + neighbour}
// Reset  : no token held
module pattern #(
  parameter int WIDTH = 4,         // elements of a token
  parameter int HEADS = 2,
  parameter int DIM = 2,           // of a head
  parameter int LANES = 1,
  parameter int V_W = 8,
  parameter int OUT_W = 15,
  parameter int REACH = 1,         // of the farthest neighbour
  parameter int TAPS = 1,          // neighbours of a head
  parameter int WEIGHT_W = 8,      // signed
  localparam int OFFSET_W = REACH > 0 ? $clog2(2 * REACH + 1) : 1,
  localparam int TAP_W = OFFSET_W + WEIGHT_W,
  parameter logic [HEADS*TAPS*TAP_W-1:0] TABLE = '0
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic                   s_valid,
  output      logic                   s_ready,
  input  wire logic [LANES*V_W-1:0]   s_data,
  input  wire logic                   s_last,
  output      logic                   m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0] m_data,
  output      logic                   m_last
);
  localparam int Beats = WIDTH / LANES;
  localparam int BeatW = Beats > 1 ? $clog2(Beats) : 1;
  localparam int SlotW = $clog2(2 * REACH + 2);
  localparam int Slots = 1 << SlotW;
  localparam int HeadW = $clog2(HEADS + 1);
  localparam int NearW = $clog2(REACH + 1) > 0 ? $clog2(REACH + 1) : 1;

  // The head of each element; HEADS: of none
  function automatic logic [WIDTH*HeadW-1:0] heads(input int unused);
    heads = '0;
    for (int e = 0; e < WIDTH; e++) heads[e*HeadW +: HeadW] = HeadW'(e / DIM < HEADS ? e / DIM : HEADS);
    if (unused != 0) heads = '0;
  endfunction
  localparam logic [WIDTH*HeadW-1:0] Head = heads(0);

  logic [BeatW-1:0] in_beat_q, beat_q;
  logic [SlotW:0] in_q, out_q;          // tokens that have come whole, that have gone out
  logic [Slots-1:0] ends_q;             // a token ends its sentence
  logic [NearW-1:0] before_q;           // tokens of the sentence before the one in work, REACH at most
  logic [NearW-1:0] behind;             // behind it
  logic ready;
  wire [SlotW:0] held = in_q - out_q;
  wire en = m_ready || !m_valid;
  wire take = s_valid && s_ready;
  wire in_end = in_beat_q == BeatW'(Beats - 1);
  wire token_end = beat_q == BeatW'(Beats - 1);
  wire [SlotW-1:0] slot = out_q[SlotW-1:0];

  assign s_ready = held != (SlotW + 1)'(Slots - REACH);
  always_comb begin
    ready = 1'b0;
    behind = '0;
    for (int k = 0; k <= REACH; k++)
      if (!ready && held > (SlotW + 1)'(k) && (k == REACH || ends_q[SlotW'(slot + SlotW'(k))])) begin
        ready = 1'b1;
        behind = NearW'(k);
      end
  end

  always_ff @(posedge clk) begin
    if (take) begin
      in_beat_q <= in_end ? '0 : in_beat_q + 1'b1;
      if (in_end) begin
        in_q <= in_q + 1'b1;
        ends_q[in_q[SlotW-1:0]] <= s_last;
      end
    end
    if (en && ready) begin
      beat_q <= token_end ? '0 : beat_q + 1'b1;
      if (token_end) begin
        out_q <= out_q + 1'b1;
        before_q <= ends_q[slot] ? '0 : before_q == NearW'(REACH) ? before_q : before_q + 1'b1;
      end
    end
    if (rst) begin
      in_beat_q <= '0;
      beat_q <= '0;
      in_q <= '0;
      out_q <= '0;
      before_q <= '0;
    end
  end

  logic final_q, last_q;
  always_ff @(posedge clk) begin
    if (en) begin
      final_q <= ready;
      last_q <= token_end && ends_q[slot];
    end
    if (rst) final_q <= 1'b0;
  end

  wire [LANES-1:0] valid, last;  // all alike
  for (genvar l = 0; l < LANES; l++) begin : g_lane
    logic [TAPS*V_W-1:0] x_q;
    logic [TAPS*WEIGHT_W-1:0] w_q;
    logic [WIDTH/LANES*HeadW-1:0] own;     // heads of the lane's elements
    wire [HeadW-1:0] head = own[beat_q*HeadW +: HeadW];

    for (genvar b = 0; b < Beats; b++) begin : g_beat
      assign own[b*HeadW +: HeadW] = Head[(b*LANES+l)*HeadW +: HeadW];
    end
    for (genvar t = 0; t < TAPS; t++) begin : g_tap
      logic [V_W-1:0] window [0:(Slots<<BeatW)-1];
      logic [TAP_W-1:0] tap;
      wire [OFFSET_W-1:0] offset = tap[OFFSET_W-1:0];
      wire [OFFSET_W:0] away = {1'b0, offset} - (OFFSET_W + 1)'(REACH);  // the neighbour, in two's complement
      wire is_before = away[OFFSET_W];
      wire [OFFSET_W-1:0] far = OFFSET_W'(is_before ? -away : away);
      wire [NearW-1:0] most = is_before ? before_q : behind;
      wire [SlotW-1:0] near = SlotW'(far) > SlotW'(most) ? SlotW'(most) : SlotW'(far);
      wire [SlotW-1:0] at = is_before ? slot - near : slot + near;

      always_comb begin
        tap = TAP_W'(REACH);               // no weight
        for (int h = 0; h < HEADS; h++) if (head == HeadW'(h)) tap = TABLE[(h*TAPS+t)*TAP_W +: TAP_W];
      end
      always_ff @(posedge clk) if (take) window[{in_q[SlotW-1:0], in_beat_q}] <= s_data[l*V_W +: V_W];
      always_ff @(posedge clk) if (en) begin
        x_q[t*V_W +: V_W] <= window[{at, beat_q}];
        w_q[t*WEIGHT_W +: WEIGHT_W] <= tap[OFFSET_W +: WEIGHT_W];
      end
    end
    mac_array #(.PE(1), .SIMD(TAPS), .X_W(V_W), .X_SIGNED(1'b1), .W_W(WEIGHT_W), .OUT_W(OUT_W), .MUL_STYLE("lut")) u_mac (
      .clk, .rst, .en, .first(1'b1), .final_step(final_q), .i_last(last_q), .x(x_q), .w(w_q),
      .o_valid(valid[l]), .o_last(last[l]), .acc(m_data[l*OUT_W +: OUT_W]));
  end
  assign m_valid = &valid;
  assign m_last = &last;

  initial if (WIDTH % LANES != 0 || HEADS * DIM > WIDTH) $fatal(1, "pattern: got LANES %0d, must divide WIDTH %0d, which holds HEADS * DIM", LANES, WIDTH);
endmodule
