// SPDX-License-Identifier: Apache-2.0
// lstm_cell: one channel of a recurrent layer: i, f, g, o = tables of z; c_new = clip(((f c << KEEP) + (i g << WRITE) + half) >>> CELL_SHIFT);
//            h = clip((o tanh[clip((c_new + half) >>> TANH_SHIFT)] + half) >>> OUT_SHIFT); ties towards +inf
// Golden : hw/ops/lstm.py
// Timing : a pipeline that never waits, II 1. z in cycle t, c in t + 1, c_new in t + 7, h in t + 14
// Layout : z holds the codes of i, f, g, o, lowest first; a table's address is the code with its sign bit inverted
// Reset  : none; the caller carries `valid`
module lstm_cell #(
  parameter int GATE_W = 8,        // bits of z
  parameter int ACT_W = 8,         // bits of i, f, o (unsigned), g and tanh
  parameter int CELL_W = 16,       // bits of c
  parameter int KEEP = 0,
  parameter int WRITE = 0,
  parameter int CELL_SHIFT = 8,
  parameter int TANH_W = 8,        // bits of what tanh is looked up by
  parameter int TANH_SHIFT = 4,
  parameter int OUT_W = 8,         // bits of h
  parameter int OUT_SHIFT = 8,
  parameter INPUT_FILE = "",
  parameter int INPUT_LOAD = 0,    // see rom
  parameter FORGET_FILE = "",
  parameter int FORGET_LOAD = 0,
  parameter CANDIDATE_FILE = "",
  parameter int CANDIDATE_LOAD = 0,
  parameter OUTPUT_FILE = "",
  parameter int OUTPUT_LOAD = 0,
  parameter TANH_FILE = "",
  parameter int TANH_LOAD = 0
) (
  input  wire logic                     clk,
  input  wire logic [32:0]              load,
  input  wire logic [4*GATE_W-1:0]      z,
  input  wire logic signed [CELL_W-1:0] c,
  output      logic signed [CELL_W-1:0] c_new,
  output      logic signed [OUT_W-1:0]  h
);
  localparam int KeptW = ACT_W + 1 + CELL_W;
  localparam int MadeW = 2 * ACT_W + 1;
  localparam int WideW = KeptW + KEEP > MadeW + WRITE ? KeptW + KEEP : MadeW + WRITE;
  localparam int SumW = (WideW > CELL_SHIFT ? WideW : CELL_SHIFT) + 1;
  localparam int CTopW = SumW > CELL_W ? SumW : CELL_W + 1;
  localparam int UInW = (CELL_W > TANH_SHIFT ? CELL_W : TANH_SHIFT) + 1;
  localparam int UTopW = UInW > TANH_W ? UInW : TANH_W + 1;
  localparam int HInW = (MadeW > OUT_SHIFT ? MadeW : OUT_SHIFT) + 1;
  localparam int HTopW = HInW > OUT_W ? HInW : OUT_W + 1;
  localparam int Wait = 8;  // cycles from o to its product
  localparam logic signed [CTopW-1:0] CHigh = (CTopW'(1) << (CELL_W - 1)) - CTopW'(1);
  localparam logic signed [UTopW-1:0] UHigh = (UTopW'(1) << (TANH_W - 1)) - UTopW'(1);
  localparam logic signed [HTopW-1:0] HHigh = (HTopW'(1) << (OUT_W - 1)) - HTopW'(1);
  localparam logic signed [SumW-1:0] CHalf = (SumW'(1) << CELL_SHIFT) >> 1;
  localparam logic signed [UTopW-1:0] UHalf = (UTopW'(1) << TANH_SHIFT) >> 1;
  localparam logic signed [HTopW-1:0] HHalf = (HTopW'(1) << OUT_SHIFT) >> 1;
  localparam logic [GATE_W-1:0] GateSign = GATE_W'(1) << (GATE_W - 1);
  localparam logic [TANH_W-1:0] TanhSign = TANH_W'(1) << (TANH_W - 1);

  wire [ACT_W-1:0] i, f, o;
  wire signed [ACT_W-1:0] g, tanh;
  wire signed [KeptW-1:0] kept;
  wire signed [MadeW-1:0] made, out;
  logic signed [SumW-1:0] sum_q;
  logic signed [TANH_W-1:0] u_q;
  logic [Wait*ACT_W-1:0] o_q;
  wire signed [CTopW-1:0] c_top = CTopW'(sum_q >>> CELL_SHIFT);
  wire signed [UTopW-1:0] u_top = (UTopW'(c_new) + UHalf) >>> TANH_SHIFT;
  wire signed [HTopW-1:0] h_top = (HTopW'(out) + HHalf) >>> OUT_SHIFT;

  rom #(.WIDTH(ACT_W), .DEPTH(1 << GATE_W), .FILE(INPUT_FILE), .LOAD(INPUT_LOAD)) u_i (.clk, .load, .en(1'b1), .addr(z[0*GATE_W +: GATE_W] ^ GateSign), .q(i));
  rom #(.WIDTH(ACT_W), .DEPTH(1 << GATE_W), .FILE(FORGET_FILE), .LOAD(FORGET_LOAD)) u_f (.clk, .load, .en(1'b1), .addr(z[1*GATE_W +: GATE_W] ^ GateSign), .q(f));
  rom #(.WIDTH(ACT_W), .DEPTH(1 << GATE_W), .FILE(CANDIDATE_FILE), .LOAD(CANDIDATE_LOAD)) u_g (.clk, .load, .en(1'b1), .addr(z[2*GATE_W +: GATE_W] ^ GateSign), .q(g));
  rom #(.WIDTH(ACT_W), .DEPTH(1 << GATE_W), .FILE(OUTPUT_FILE), .LOAD(OUTPUT_LOAD)) u_o (.clk, .load, .en(1'b1), .addr(z[3*GATE_W +: GATE_W] ^ GateSign), .q(o));
  mul #(.A_W(CELL_W), .B_W(ACT_W + 1)) u_kept (.clk, .en(1'b1), .a(c), .b({1'b0, f}), .p(kept));
  mul #(.A_W(ACT_W), .B_W(ACT_W + 1)) u_made (.clk, .en(1'b1), .a(g), .b({1'b0, i}), .p(made));
  rom #(.WIDTH(ACT_W), .DEPTH(1 << TANH_W), .FILE(TANH_FILE), .LOAD(TANH_LOAD)) u_tanh (.clk, .load, .en(1'b1), .addr(u_q ^ TanhSign), .q(tanh));
  mul #(.A_W(ACT_W), .B_W(ACT_W + 1)) u_out (.clk, .en(1'b1), .a(tanh), .b({1'b0, o_q[Wait*ACT_W-1 -: ACT_W]}), .p(out));

  always_ff @(posedge clk) begin
    sum_q <= (SumW'(kept) <<< KEEP) + (SumW'(made) <<< WRITE) + CHalf;
    c_new <= CELL_W'(c_top > CHigh ? CHigh : c_top < ~CHigh ? ~CHigh : c_top);
    u_q <= TANH_W'(u_top > UHigh ? UHigh : u_top < ~UHigh ? ~UHigh : u_top);
    o_q <= (Wait*ACT_W)'({o_q, o});
    h <= OUT_W'(h_top > HHigh ? HHigh : h_top < ~HHigh ? ~HHigh : h_top);
  end
endmodule
