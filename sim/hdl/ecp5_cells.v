// SPDX-License-Identifier: Apache-2.0
// The ECP5's hard blocks as Yosys uses them: block RAM and multiplier. Its other cells have models in Yosys itself, these two have none there.
// Source : Lattice FPGA-TN-02204 (memory), FPGA-TN-02205 (sysDSP)
// Limits : rising clocks, no other registers of the multiplier than the product's; anything else stops the simulation. A block that is read and written
//          at one address in one cycle through two ports gives the old word.

// DP16KD: 1024 words of 18 bits. A word is two bytes of nine bits; widths below 9 leave the ninth alone. Width 36 is a pair of words: written through port A
// with the upper word on DIB, read through port B with the lower word on DOA.
module DP16KD #(
  parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18, parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
  parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC", parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
  parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL", parameter GSR = "ENABLED", parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB",
  parameter [319:0] INITVAL_00 = 0, parameter [319:0] INITVAL_01 = 0, parameter [319:0] INITVAL_02 = 0, parameter [319:0] INITVAL_03 = 0,
  parameter [319:0] INITVAL_04 = 0, parameter [319:0] INITVAL_05 = 0, parameter [319:0] INITVAL_06 = 0, parameter [319:0] INITVAL_07 = 0,
  parameter [319:0] INITVAL_08 = 0, parameter [319:0] INITVAL_09 = 0, parameter [319:0] INITVAL_0A = 0, parameter [319:0] INITVAL_0B = 0,
  parameter [319:0] INITVAL_0C = 0, parameter [319:0] INITVAL_0D = 0, parameter [319:0] INITVAL_0E = 0, parameter [319:0] INITVAL_0F = 0,
  parameter [319:0] INITVAL_10 = 0, parameter [319:0] INITVAL_11 = 0, parameter [319:0] INITVAL_12 = 0, parameter [319:0] INITVAL_13 = 0,
  parameter [319:0] INITVAL_14 = 0, parameter [319:0] INITVAL_15 = 0, parameter [319:0] INITVAL_16 = 0, parameter [319:0] INITVAL_17 = 0,
  parameter [319:0] INITVAL_18 = 0, parameter [319:0] INITVAL_19 = 0, parameter [319:0] INITVAL_1A = 0, parameter [319:0] INITVAL_1B = 0,
  parameter [319:0] INITVAL_1C = 0, parameter [319:0] INITVAL_1D = 0, parameter [319:0] INITVAL_1E = 0, parameter [319:0] INITVAL_1F = 0,
  parameter [319:0] INITVAL_20 = 0, parameter [319:0] INITVAL_21 = 0, parameter [319:0] INITVAL_22 = 0, parameter [319:0] INITVAL_23 = 0,
  parameter [319:0] INITVAL_24 = 0, parameter [319:0] INITVAL_25 = 0, parameter [319:0] INITVAL_26 = 0, parameter [319:0] INITVAL_27 = 0,
  parameter [319:0] INITVAL_28 = 0, parameter [319:0] INITVAL_29 = 0, parameter [319:0] INITVAL_2A = 0, parameter [319:0] INITVAL_2B = 0,
  parameter [319:0] INITVAL_2C = 0, parameter [319:0] INITVAL_2D = 0, parameter [319:0] INITVAL_2E = 0, parameter [319:0] INITVAL_2F = 0,
  parameter [319:0] INITVAL_30 = 0, parameter [319:0] INITVAL_31 = 0, parameter [319:0] INITVAL_32 = 0, parameter [319:0] INITVAL_33 = 0,
  parameter [319:0] INITVAL_34 = 0, parameter [319:0] INITVAL_35 = 0, parameter [319:0] INITVAL_36 = 0, parameter [319:0] INITVAL_37 = 0,
  parameter [319:0] INITVAL_38 = 0, parameter [319:0] INITVAL_39 = 0, parameter [319:0] INITVAL_3A = 0, parameter [319:0] INITVAL_3B = 0,
  parameter [319:0] INITVAL_3C = 0, parameter [319:0] INITVAL_3D = 0, parameter [319:0] INITVAL_3E = 0, parameter [319:0] INITVAL_3F = 0
) (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2, CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
         DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  localparam [64*320-1:0] INIT = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [35:0] di = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  reg [17:0] mem [0:1023];
  reg [17:0] a_q = 0, b_q = 0;
  reg [17:0] low_q = 0;
  integer i;

  initial begin
    for (i = 0; i < 1024; i = i + 1) mem[i] = INIT[(i / 16) * 320 + (i % 16) * 20 +: 18];
    if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB") $fatal(1, "DP16KD: falling clocks are not modelled");
    if (DATA_WIDTH_B == 36 && (REGMODE_A != "NOREG" || REGMODE_B != "NOREG")) $fatal(1, "DP16KD: registers of a pair of words are not modelled");
  end

  // Where an address lies in its word of 18 bits
  function integer place(input integer width, input [13:0] address);
    case (width)
      1: place = 9 * address[3] + address[2:0];
      2: place = 9 * address[3] + 2 * address[2:1];
      4: place = 9 * address[3] + 4 * address[2];
      9: place = 9 * address[3];
      default: place = 0;
    endcase
  endfunction

  function [17:0] written(input [17:0] old, input integer width, input [13:0] address, input [17:0] data);
    integer k;
    begin
      written = old;
      for (k = 0; k < 18; k = k + 1)
        if (k < width && (width < 18 || address[k / 9])) written[place(width, address) + k] = data[k];
    end
  endfunction

  function [17:0] taken(input [17:0] word, input integer width, input [13:0] address);
    taken = width >= 18 ? word : (word >> place(width, address)) & ((18'd1 << width) - 18'd1);
  endfunction

  wire [9:0] a_word = DATA_WIDTH_A == 36 ? {ada[13:5], 1'b0} : ada[13:4];
  wire [9:0] b_word = DATA_WIDTH_B == 36 ? {adb[13:5], 1'b0} : adb[13:4];

  always @(posedge CLKA) if (CEA) begin
    if (WEA) begin
      mem[a_word] <= written(mem[a_word], DATA_WIDTH_A == 36 ? 18 : DATA_WIDTH_A, ada, di[17:0]);
      if (DATA_WIDTH_A == 36) mem[a_word + 10'd1] <= written(mem[a_word + 10'd1], 18, ada >> 2, di[35:18]);
    end
    if (RSTA) a_q <= 0;
    else if (!WEA || WRITEMODE_A == "READBEFOREWRITE") a_q <= taken(mem[a_word], DATA_WIDTH_A, ada);
    else if (WRITEMODE_A == "WRITETHROUGH") a_q <= taken(written(mem[a_word], DATA_WIDTH_A, ada, di[17:0]), DATA_WIDTH_A, ada);
  end

  always @(posedge CLKB) if (CEB) begin
    if (WEB) mem[b_word] <= written(mem[b_word], DATA_WIDTH_B, adb, di[35:18]);
    if (RSTB) begin
      b_q <= 0;
      low_q <= 0;
    end else if (!WEB || WRITEMODE_B == "READBEFOREWRITE") begin
      // a pair: the lower word leaves on DOA
      b_q <= DATA_WIDTH_B == 36 ? mem[b_word + 10'd1] : taken(mem[b_word], DATA_WIDTH_B, adb);
      low_q <= mem[b_word];
    end else if (WRITEMODE_B == "WRITETHROUGH") b_q <= taken(written(mem[b_word], DATA_WIDTH_B, adb, di[35:18]), DATA_WIDTH_B, adb);
  end

  // Output registers: what was read goes on one cycle later
  reg [17:0] a_out_q = 0, b_out_q = 0;
  always @(posedge CLKA) if (OCEA) a_out_q <= RSTA ? 18'd0 : a_q;
  always @(posedge CLKB) if (OCEB) b_out_q <= RSTB ? 18'd0 : b_q;

  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} =
    DATA_WIDTH_B == 36 ? low_q : REGMODE_A == "OUTREG" ? a_out_q : a_q;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} =
    REGMODE_B == "OUTREG" ? b_out_q : b_q;
endmodule

// MULT18X18D: P = A * B, each operand signed where its SIGNED input is 1; with REG_OUTPUT_CLK, one cycle later
module MULT18X18D #(
  parameter REG_OUTPUT_CLK = "NONE", parameter REG_OUTPUT_CE = "CE0", parameter REG_OUTPUT_RST = "RST0"
) (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  wire signed [18:0] a = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire signed [18:0] b = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire signed [37:0] p = a * b;
  reg [35:0] p_q = 0;
  always @(posedge CLK0) if (CE0) p_q <= RST0 ? 36'd0 : p[35:0];
  initial if ((REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0") || REG_OUTPUT_CE != "CE0" || REG_OUTPUT_RST != "RST0")
    $fatal(1, "MULT18X18D: only the product's register with CLK0, CE0 and RST0 is modelled");
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REG_OUTPUT_CLK == "CLK0" ? p_q : p[35:0];
endmodule
