// SPDX-License-Identifier: Apache-2.0
// faulty: passes a stream through and makes one mistake, to see that the bench finds it
// FAULT_FILE: word 0 what (see the localparams), word 1 at which beat
module faulty #(
  parameter int WIDTH = 8,
  parameter FAULT_FILE = ""
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
  localparam logic [15:0] Value = 1, Lost = 2, Extra = 3, Last = 4, Unstable = 5, Dropped = 6, Hang = 7, Kept = 8, Endless = 9;

  logic [15:0] fault [0:1];
  logic [15:0] beat_q;
  logic stalled_q, repeated_q, kept_q, here;  // kept_q has no reset

  initial if (FAULT_FILE != "") $readmemh(FAULT_FILE, fault);

  assign here = beat_q == fault[1];

  always_comb begin
    m_valid = s_valid;
    s_ready = m_ready;
    m_data = s_data;
    m_last = s_last;
    if (fault[0] == Kept) m_data[0] = s_data[0] ^ kept_q;
    if (here) begin
      case (fault[0])
        Value: m_data[0] = !s_data[0];
        Lost: begin
          m_valid = 1'b0;
          s_ready = 1'b1;
        end
        Extra: s_ready = m_ready && repeated_q;
        Last: m_last = !s_last;
        Unstable: m_data[0] = s_data[0] ^ stalled_q;
        Dropped: m_valid = s_valid && !stalled_q;
        Endless: begin
          m_valid = 1'b1;
          s_ready = 1'b0;
        end
        Hang: begin
          m_valid = 1'b0;
          s_ready = 1'b0;
        end
        default: ;
      endcase
    end
  end

  always_ff @(posedge clk) begin
    if (s_valid && s_ready) kept_q <= !kept_q;
    if (rst) begin
      beat_q <= '0;
      stalled_q <= 1'b0;
      repeated_q <= 1'b0;
    end else begin
      stalled_q <= m_valid && !m_ready;
      if (m_valid && m_ready) repeated_q <= !repeated_q && here;
      if (s_valid && s_ready) beat_q <= beat_q + 16'd1;
    end
  end
endmodule
