// SPDX-License-Identifier: Apache-2.0
// fork_unit: stream_fork with three branches as three streams of their own names
module fork_unit #(
  parameter int WIDTH = 8
) (
  input  wire logic             clk,
  input  wire logic             rst,
  input  wire logic             s_valid,
  output logic                  s_ready,
  input  wire logic [WIDTH-1:0] s_data,
  input  wire logic             s_last,
  output logic                  m0_valid,
  input  wire logic             m0_ready,
  output logic [WIDTH-1:0]      m0_data,
  output logic                  m0_last,
  output logic                  m1_valid,
  input  wire logic             m1_ready,
  output logic [WIDTH-1:0]      m1_data,
  output logic                  m1_last,
  output logic                  m2_valid,
  input  wire logic             m2_ready,
  output logic [WIDTH-1:0]      m2_data,
  output logic                  m2_last
);
  stream_fork #(.N(3), .WIDTH(WIDTH)) dut (.clk, .rst, .s_valid, .s_ready, .s_data, .s_last,
    .m_valid({m2_valid, m1_valid, m0_valid}), .m_ready({m2_ready, m1_ready, m0_ready}), .m_data({m2_data, m1_data, m0_data}),
    .m_last({m2_last, m1_last, m0_last}));
endmodule
