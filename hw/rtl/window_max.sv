// SPDX-License-Identifier: Apache-2.0
// window_max: y[i][c] = the largest x[i*STRIDE + k - (KERNEL-1)/2 + (STRIDE-1)/2][c] of those that the sentence has, k = 0 .. KERNEL-1
// Golden : hw/ops/window_max.py
// Stream : s_* tokens of BEATS beats -> m_* tokens of BEATS beats; of a sentence of T tokens ceil(T / STRIDE)
// Timing : ceil(log2(KERNEL)) cycles behind that of window
// Layout : lane i = data[i*W +: W]
// Reset  : rst drops what is inside
module window_max #(
  parameter int KERNEL = 2,       // tokens of a window, at least 2
  parameter int STRIDE = 2,       // from one window to the next, at most KERNEL
  parameter int LANES = 1,        // elements a beat
  parameter int BEATS = 4,        // of a token
  parameter int W = 8,            // bits of a code
  parameter bit SIGNED = 1,
  parameter int MAX_TOKENS = 64   // of a sentence, at most
) (
  input  wire logic               clk,
  input  wire logic               rst,
  input  wire logic               s_valid,
  output      logic               s_ready,
  input  wire logic [LANES*W-1:0] s_data,
  input  wire logic               s_last,
  output      logic               m_valid,
  input  wire logic               m_ready,
  output      logic [LANES*W-1:0] m_data,
  output      logic               m_last
);
  localparam int Stages = $clog2(KERNEL);
  localparam int Inner = (1 << Stages) - 1;

  wire [LANES*KERNEL*W-1:0] taps;
  wire [KERNEL-1:0] there;
  wire taps_valid, taps_last;
  logic [Stages-1:0] valid_q, last_q;
  wire en = m_ready || !m_valid;

  window #(.KERNEL(KERNEL), .STRIDE(STRIDE), .LANES(LANES), .BEATS(BEATS), .W(W), .MAX_TOKENS(MAX_TOKENS)) u_window (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid(taps_valid), .m_ready(en), .m_data(taps), .there, .m_last(taps_last));

  // A tree: node n takes nodes 2n+1 and 2n+2, `below` are all but the root. A bit above each code says that there is one.
  localparam int NodeW = W + 1;
  localparam logic [W-1:0] Flip = SIGNED ? W'(1) << (W - 1) : '0;  // makes codes unsigned in their order
  for (genvar i = 0; i < LANES; i++) begin : g_lane
    logic [Inner*NodeW-1:0] node_q;
    wire [2*Inner*NodeW-1:0] below;
    for (genvar n = 0; n < Inner; n++) begin : g_node
      wire [NodeW-1:0] a = below[2*n*NodeW +: NodeW];
      wire [NodeW-1:0] b = below[(2*n+1)*NodeW +: NodeW];
      always_ff @(posedge clk) if (en) node_q[n*NodeW +: NodeW] <= a > b ? a : b;
      if (n > 0) begin : g_inner
        assign below[(n-1)*NodeW +: NodeW] = node_q[n*NodeW +: NodeW];
      end
    end
    for (genvar k = 0; k <= Inner; k++) begin : g_leaf
      if (k < KERNEL) begin : g_tap
        assign below[(Inner-1+k)*NodeW +: NodeW] = {there[k], taps[(i*KERNEL+k)*W +: W] ^ Flip};
      end else begin : g_none
        assign below[(Inner-1+k)*NodeW +: NodeW] = '0;
      end
    end
    assign m_data[i*W +: W] = node_q[0 +: W] ^ Flip;
    wire unused = node_q[W];  // each window has a token
  end

  assign m_valid = valid_q[Stages-1];
  assign m_last = last_q[Stages-1];
  always_ff @(posedge clk) begin
    if (en) begin
      valid_q <= Stages'({valid_q, taps_valid});
      last_q <= Stages'({last_q, taps_last});
    end
    if (rst) valid_q <= '0;
  end
endmodule
