// SPDX-License-Identifier: Apache-2.0
// token_mean: for each channel the mean of a sentence's T tokens, y[c] = clip((S[c]*r + half(SHIFT)) >>> SHIFT), S[c] = sum over i of x[i][c],
//             r = floor(2**RECIP_BITS / T)
// Golden : hw/ops/token_mean.py (bit-exact; ties towards +inf)
// Stream : s_* (token stream, LANES a beat) -> m_* (1 a beat, last on the C-th)
// Timing : a sentence whose last beat is taken in cycle t has its sums from t + 2 on, where those of the one before have gone; they wait
//          RECIP_BITS + 2 cycles for r; each leaves 5 cycles later, one a cycle
// Layout : lane i = s_data[i*W +: W], lowest first
// Reset  : rst drops what is inside
module token_mean #(
  parameter int C = 4,            // elements of a token
  parameter int LANES = 1,        // elements a beat at s_*
  parameter int W = 8,            // bits of a code
  parameter bit SIGNED = 1,
  parameter int OUT_W = 8,        // bits of a code of y, as signed as x
  parameter int RECIP_BITS = 17,
  parameter int SHIFT = 17,
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
  output      logic [OUT_W-1:0]   m_data,
  output      logic               m_last
);
  localparam int CountW = $clog2(MAX_TOKENS + 1);
  localparam int SumW = W + 1 + $clog2(MAX_TOKENS);
  localparam int RecipW = RECIP_BITS + 1;
  localparam int ProdW = SumW + RecipW + 1;
  localparam int RoundW = (ProdW > SHIFT ? ProdW : SHIFT) + OUT_W + 2;  // the rounding term and the limits fit, too
  localparam logic signed [OUT_W:0] High = SIGNED ? (OUT_W + 1)'((1 << (OUT_W - 1)) - 1) : (OUT_W + 1)'((1 << OUT_W) - 1);
  localparam logic signed [OUT_W:0] Low = SIGNED ? -High - 1 : '0;

  logic sum_valid, sum_ready, sum_last, recip_valid, recip_ready, asked_q;
  logic [SumW-1:0] sum;
  logic [CountW-1:0] tokens;
  logic [RecipW-1:0] recip;
  logic signed [ProdW-1:0] product;
  logic [3:0] valid_q, last_q;

  wire signed [SumW-1:0] sum_signed = sum;
  wire signed [RecipW:0] recip_signed = {1'b0, recip};
  wire en = m_ready || !m_valid;
  wire move = sum_valid && sum_ready;

  pool #(.C(C), .LANES(LANES), .W(W), .SIGNED(SIGNED), .SUM(1'b1), .OUT_W(SumW), .MAX_TOKENS(MAX_TOKENS)) u_pool (
    .clk, .rst, .s_valid, .s_ready, .s_data, .s_last, .m_valid(sum_valid), .m_ready(sum_ready), .m_data(sum), .m_last(sum_last), .tokens);
  recip #(.K(RECIP_BITS), .S_W(CountW), .S_MIN_LOG2(0)) u_recip (
    .clk, .rst, .s_valid(sum_valid && !asked_q), .s_ready(recip_ready), .s_data(tokens),
    .m_valid(recip_valid), .m_ready(move && sum_last), .m_data(recip));
  mul #(.A_W(SumW), .B_W(RecipW + 1), .P_W(ProdW)) u_mul (.clk, .en, .a(sum_signed), .b(recip_signed), .p(product));

  assign sum_ready = en && asked_q && recip_valid;

  wire signed [RoundW-1:0] half = RoundW'((128'd1 << SHIFT) >> 1);
  wire signed [RoundW-1:0] y = (RoundW'(product) + half) >>> SHIFT;

  always_ff @(posedge clk) begin
    if (move && sum_last) asked_q <= 1'b0;
    else if (sum_valid && recip_ready) asked_q <= 1'b1;
    if (en) begin
      valid_q <= {valid_q[2:0], move};
      last_q <= {last_q[2:0], sum_last};
      m_valid <= valid_q[3];
      m_last <= last_q[3];
      m_data <= y > RoundW'(High) ? High[OUT_W-1:0] : y < RoundW'(Low) ? Low[OUT_W-1:0] : y[OUT_W-1:0];
    end
    if (rst) begin
      asked_q <= 1'b0;
      valid_q <= '0;
      m_valid <= 1'b0;
    end
  end
endmodule
