// SPDX-License-Identifier: Apache-2.0
// link_out with a reader behind it: takes a frame whenever one pays, gives its words at m_* and acknowledges them. Every third frame is lost on the
// way: the reader has it sent again.
module link_out_unit #(
  parameter int WORD_W = 16,
  parameter int DEPTH = 64,
  parameter int BATCH = 8
) (
  input  wire logic              clk,
  input  wire logic              rst,
  input  wire logic              s_valid,
  output logic                   s_ready,
  input  wire logic [WORD_W-1:0] s_data,
  input  wire logic              s_last,
  output logic                   m_valid,
  input  wire logic              m_ready,
  output logic [WORD_W-1:0]      m_data,
  output logic                   m_last
);
  localparam int AddrW = $clog2(DEPTH);

  logic inside_q, started_q, open, ready;  // within a sentence; it was told to have started
  logic answered, worth, take;
  logic [7:0] count, left_q;
  logic [23:0] position, from_q, at_q;
  logic [1:0] frame_q;
  enum logic [2:0] {IDLE, READ, COMES, GIVE, ACK} state_q;

  assign open = inside_q || started_q;
  assign s_ready = ready && open;
  assign take = worth && state_q == IDLE;
  assign m_valid = state_q == GIVE;
  assign m_last = 1'b0;

  link_out #(.WORD_W(WORD_W), .DEPTH(DEPTH), .BATCH(BATCH), .FLIGHT(2)) dut (
    .clk, .rst, .started(s_valid && !open), .s_valid(s_valid && open), .s_ready(ready), .s_data, .s_last, .answered,
    .ack_valid(state_q == ACK), .rewind(frame_q == 2'd2), .ack(frame_q == 2'd2 ? from_q : at_q), .take, .worth, .count, .position,
    .word_addr(at_q[AddrW-1:0]), .word(m_data));

  always_ff @(posedge clk) begin
    started_q <= s_valid && !inside_q && !s_ready;
    if (s_valid && s_ready) inside_q <= !s_last;
    case (state_q)
      IDLE: if (worth) begin
        from_q <= position;
        at_q <= frame_q == 2'd2 ? position + 24'(count) : position;
        left_q <= count;
        state_q <= frame_q == 2'd2 ? ACK : READ;
      end
      READ: state_q <= COMES;
      COMES: state_q <= GIVE;
      GIVE: if (m_ready) begin
        at_q <= at_q + 1'b1;
        left_q <= left_q - 1'b1;
        state_q <= left_q == 8'd1 ? ACK : READ;
      end
      default: begin
        frame_q <= frame_q == 2'd2 ? 2'd0 : frame_q + 1'b1;
        state_q <= IDLE;
      end
    endcase
    if (rst) begin
      {inside_q, started_q, frame_q} <= '0;
      state_q <= IDLE;
    end
  end
endmodule
