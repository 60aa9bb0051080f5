// SPDX-License-Identifier: Apache-2.0
// window_mean: y[i][c] = clip((S*r[n] + half(SHIFT)) >>> SHIFT), S = sum of the n tokens x[i*STRIDE + k - (KERNEL-1)/2 + (STRIDE-1)/2][c],
//              k = 0 .. KERNEL-1, that the sentence has, r[n] = floor(2**RECIP_BITS / n)
// Golden : hw/ops/window_mean.py (bit-exact; ties towards +inf)
// Stream : s_* tokens of BEATS beats -> m_* tokens of BEATS beats; of a sentence of T tokens ceil(T / STRIDE)
// Timing : ceil(log2(KERNEL)) + 5 cycles behind that of window
// Layout : lane i = data[i*W +: W], data[i*OUT_W +: OUT_W]
// Reset  : rst drops what is inside
module window_mean #(
  parameter int KERNEL = 2,       // tokens of a window, at least 2
  parameter int STRIDE = 2,       // from one window to the next, at most KERNEL
  parameter int LANES = 1,        // elements a beat
  parameter int BEATS = 4,        // of a token
  parameter int W = 8,            // bits of a code
  parameter bit SIGNED = 1,
  parameter int OUT_W = 8,        // bits of a code of y, as signed as x
  parameter int RECIP_BITS = 12,
  parameter int SHIFT = 12,
  parameter int MAX_TOKENS = 64   // of a sentence, at most
) (
  input  wire logic                   clk,
  input  wire logic                   rst,
  input  wire logic                   s_valid,
  output      logic                   s_ready,
  input  wire logic [LANES*W-1:0]     s_data,
  input  wire logic                   s_last,
  output      logic                   m_valid,
  input  wire logic                   m_ready,
  output      logic [LANES*OUT_W-1:0] m_data,
  output      logic                   m_last
);
  localparam int Stages = $clog2(KERNEL);
  localparam int Inner = (1 << Stages) - 1;
  localparam int Delay = Stages + 5;                    // multipliers take four cycles, rounding one
  localparam int SumW = W + 1 + Stages;
  localparam int CountW = $clog2(KERNEL + 1);
  localparam int RecipW = RECIP_BITS + 1;
  localparam int ProdW = SumW + RecipW + 1;
  localparam int RoundW = (ProdW > SHIFT ? ProdW : SHIFT) + OUT_W + 2;  // the rounding term and the limits fit, too
  localparam logic signed [OUT_W:0] High = SIGNED ? (OUT_W + 1)'((1 << (OUT_W - 1)) - 1) : (OUT_W + 1)'((1 << OUT_W) - 1);
  localparam logic signed [OUT_W:0] Low = SIGNED ? -High - 1 : '0;

  wire [LANES*KERNEL*W-1:0] taps;
  wire [KERNEL-1:0] there;
  wire taps_valid, taps_last;
  logic [Delay-1:0] valid_q, last_q;
  logic [Stages*CountW-1:0] count_q;                    // tokens of the window, on their way beside the sums
  logic [CountW-1:0] count;
  logic [RecipW-1:0] recip;
  wire signed [RecipW:0] recip_signed = {1'b0, recip};
  wire en = m_ready || !m_valid;

  window #(.KERNEL(KERNEL), .STRIDE(STRIDE), .LANES(LANES), .BEATS(BEATS), .W(W), .MAX_TOKENS(MAX_TOKENS)) u_window (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid(taps_valid), .m_ready(en), .m_data(taps), .there, .m_last(taps_last));

  always_comb begin
    count = '0;
    for (int k = 0; k < KERNEL; k++) count = count + CountW'(there[k]);
    recip = '0;
    for (int n = 1; n <= KERNEL; n++)
      if (count_q[(Stages-1)*CountW +: CountW] == CountW'(n)) recip = RecipW'((64'd1 << RECIP_BITS) / 64'(n));
  end

  // A tree: node n takes nodes 2n+1 and 2n+2, `below` are all but the root.
  for (genvar i = 0; i < LANES; i++) begin : g_lane
    logic [Inner*SumW-1:0] node_q;
    wire [2*Inner*SumW-1:0] below;
    logic signed [ProdW-1:0] product;
    for (genvar n = 0; n < Inner; n++) begin : g_node
      always_ff @(posedge clk) if (en) node_q[n*SumW +: SumW] <= below[2*n*SumW +: SumW] + below[(2*n+1)*SumW +: SumW];
      if (n > 0) begin : g_inner
        assign below[(n-1)*SumW +: SumW] = node_q[n*SumW +: SumW];
      end
    end
    for (genvar k = 0; k <= Inner; k++) begin : g_leaf
      if (k < KERNEL) begin : g_tap
        wire [W-1:0] x = taps[(i*KERNEL+k)*W +: W];
        assign below[(Inner-1+k)*SumW +: SumW] = SumW'($signed({SIGNED && x[W-1], x}));
      end else begin : g_none
        assign below[(Inner-1+k)*SumW +: SumW] = '0;
      end
    end
    wire signed [SumW-1:0] sum = node_q[0 +: SumW];
    mul #(.A_W(SumW), .B_W(RecipW + 1), .P_W(ProdW)) u_mul (.clk, .en, .a(sum), .b(recip_signed), .p(product));

    wire signed [RoundW-1:0] half = RoundW'((128'd1 << SHIFT) >> 1);
    wire signed [RoundW-1:0] y = (RoundW'(product) + half) >>> SHIFT;
    always_ff @(posedge clk)
      if (en) m_data[i*OUT_W +: OUT_W] <= y > RoundW'(High) ? High[OUT_W-1:0] : y < RoundW'(Low) ? Low[OUT_W-1:0] : y[OUT_W-1:0];
  end

  assign m_valid = valid_q[Delay-1];
  assign m_last = last_q[Delay-1];
  always_ff @(posedge clk) begin
    if (en) begin
      valid_q <= Delay'({valid_q, taps_valid});
      last_q <= Delay'({last_q, taps_last});
      count_q <= (Stages*CountW)'({count_q, count});
    end
    if (rst) valid_q <= '0;
  end
endmodule
