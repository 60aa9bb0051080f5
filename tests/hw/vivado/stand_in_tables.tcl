# SPDX-License-Identifier: Apache-2.0
# What Vivado takes: its commands (UG835, UG1118, UG994) and the IPs of the block design (PG021, PG247, PG164, PG201, UG585).

# Command -> options: 1 takes a value, 0 is a flag.
array set known {
    create_project {-part 1 -force 0 -in_memory 0}        close_project {-quiet 0}
    add_files {-fileset 1 -norecurse 0 -quiet 0}          get_files {-quiet 0 -of_objects 1}
    read_verilog {-sv 0 -library 1}                       read_mem {-quiet 0}
    read_xdc {-mode 1 -unmanaged 0}                       set_property {-dict 1 -quiet 0 -name 1 -value 1 -objects 1}
    get_property {-quiet 0}                               current_project {-quiet 0}
    current_fileset {-quiet 0 -simset 0}                  current_design {-quiet 0}
    update_compile_order {-fileset 1}                     set_msg_config {-id 1 -new_severity 1 -severity 1 -suppress 0 -limit 1}
    get_board_parts {-quiet 0 -latest_file_version 0}     update_ip_catalog {-rebuild 0 -repo_path 1}
    ipx::package_project {-root_dir 1 -vendor 1 -library 1 -taxonomy 1 -import_files 0 -force 0 -module 1 -set_current 1}
    ipx::current_core {}                                  ipx::get_bus_interfaces {-of_objects 1 -quiet 0}
    ipx::create_xgui_files {}                             ipx::update_checksums {}
    ipx::check_integrity {-quiet 0}                       ipx::save_core {}
    create_bd_design {-dir 1}                             create_bd_cell {-type 1 -vlnv 1 -reference 1}
    get_ipdefs {-all 0 -filter 1 -quiet 0}                get_bd_cells {-quiet 0}
    get_bd_pins {-quiet 0 -of_objects 1}                  get_bd_intf_pins {-quiet 0 -of_objects 1}
    connect_bd_net {-net 1}                               connect_bd_intf_net {-boundary_type 1 -intf_net 1}
    apply_bd_automation {-rule 1 -config 1}               assign_bd_address {-offset 1 -range 1}
    validate_bd_design {-force 0}                         save_bd_design {}
    make_wrapper {-files 1 -top 0 -import 0 -fileset 1}   launch_runs {-jobs 1 -to_step 1 -scripts_only 0}
    wait_on_run {-timeout 1}                              get_runs {-quiet 0}
    open_run {-name 1}                                    synth_design {-top 1 -part 1 -mode 1 -flatten_hierarchy 1}
    opt_design {-directive 1}                             place_design {-directive 1}
    phys_opt_design {-directive 1}                        route_design {-directive 1}
    report_utilization {-file 1 -hierarchical 0}          report_timing_summary {-file 1 -delay_type 1 -max_paths 1}
    write_checkpoint {-force 0}                           write_hw_platform {-fixed 0 -include_bit 0 -force 0 -file 1}
    create_clock {-name 1 -period 1 -waveform 1}          get_ports {-quiet 0}
    set_false_path {-from 1 -to 1}
}
# Per IP: interfaces (name -> side; every one must be connected), clock and reset pins (name -> side; inputs must be driven), parameters.
array set interfaces {
    processing_system7 {M_AXI_GP0 master S_AXI_HP0 slave}
    zynq_ultra_ps_e    {M_AXI_HPM0_FPD master S_AXI_HP0_FPD slave}
    axi_dma            {S_AXI_LITE slave M_AXI_MM2S master M_AXI_S2MM master M_AXIS_MM2S stream_out S_AXIS_S2MM stream_in}
    proc_sys_reset     {}
    encoder_ip         {s_axi slave s_axis stream_in m_axis stream_out}
}
array set pins {
    processing_system7 {FCLK_CLK0 out FCLK_RESET0_N out M_AXI_GP0_ACLK in S_AXI_HP0_ACLK in}
    zynq_ultra_ps_e    {pl_clk0 out pl_resetn0 out maxihpm0_fpd_aclk in saxihp0_fpd_aclk in}
    axi_dma            {s_axi_lite_aclk in m_axi_mm2s_aclk in m_axi_s2mm_aclk in axi_resetn in}
    smartconnect       {aclk in aresetn in}
    proc_sys_reset     {slowest_sync_clk in ext_reset_in in peripheral_aresetn out interconnect_aresetn out}
    encoder_ip         {aclk in aresetn in}
}
array set parameters {
    processing_system7 {PCW_USE_M_AXI_GP0 PCW_USE_S_AXI_HP0 PCW_EN_CLK0_PORT PCW_EN_RST0_PORT PCW_FPGA0_PERIPHERAL_FREQMHZ
                        PCW_USE_S_AXI_HP1 PCW_S_AXI_HP1_DATA_WIDTH PCW_USE_S_AXI_HP2 PCW_S_AXI_HP2_DATA_WIDTH PCW_USE_S_AXI_HP3 PCW_S_AXI_HP3_DATA_WIDTH
                        PCW_EN_CLK1_PORT PCW_FPGA1_PERIPHERAL_FREQMHZ}
    zynq_ultra_ps_e    {PSU__USE__M_AXI_GP0 PSU__USE__M_AXI_GP1 PSU__USE__M_AXI_GP2 PSU__USE__S_AXI_GP2 PSU__FPGA_PL0_ENABLE
                        PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ
                        PSU__USE__S_AXI_GP0 PSU__SAXIGP0__DATA_WIDTH PSU__USE__S_AXI_GP1 PSU__SAXIGP1__DATA_WIDTH PSU__USE__S_AXI_GP3
                        PSU__SAXIGP3__DATA_WIDTH PSU__USE__S_AXI_GP4 PSU__SAXIGP4__DATA_WIDTH PSU__USE__S_AXI_GP5 PSU__SAXIGP5__DATA_WIDTH
                        PSU__FPGA_PL1_ENABLE PSU__CRL_APB__PL1_REF_CTRL__FREQMHZ}
    axi_dma            {c_include_sg c_sg_include_stscntrl_strm c_sg_length_width c_addr_width c_include_mm2s c_include_s2mm c_include_mm2s_dre
                        c_include_s2mm_dre c_m_axi_mm2s_data_width c_m_axis_mm2s_tdata_width c_mm2s_burst_size c_m_axi_s2mm_data_width
                        c_s_axis_s2mm_tdata_width c_s2mm_burst_size}
    smartconnect       {NUM_SI NUM_MI NUM_CLKS}
}
set catalogue {xilinx.com:ip:processing_system7:5.5 xilinx.com:ip:processing_system7:5.10 xilinx.com:ip:zynq_ultra_ps_e:3.5 xilinx.com:ip:axi_dma:7.1
    xilinx.com:ip:smartconnect:1.0 xilinx.com:ip:proc_sys_reset:5.0}
# What some projects add: property that is set -> IP, interfaces and pins that are there then (and not without).
set optional {
    PCW_USE_S_AXI_HP1    {processing_system7 {S_AXI_HP1 slave} {S_AXI_HP1_ACLK in}}
    PCW_USE_S_AXI_HP2    {processing_system7 {S_AXI_HP2 slave} {S_AXI_HP2_ACLK in}}
    PCW_USE_S_AXI_HP3    {processing_system7 {S_AXI_HP3 slave} {S_AXI_HP3_ACLK in}}
    PCW_EN_CLK1_PORT     {processing_system7 {} {FCLK_CLK1 out}}
    PSU__USE__S_AXI_GP0  {zynq_ultra_ps_e {S_AXI_HPC0_FPD slave} {saxihpc0_fpd_aclk in}}
    PSU__USE__S_AXI_GP1  {zynq_ultra_ps_e {S_AXI_HPC1_FPD slave} {saxihpc1_fpd_aclk in}}
    PSU__USE__S_AXI_GP4  {zynq_ultra_ps_e {S_AXI_HP2_FPD slave} {saxihp2_fpd_aclk in}}
    PSU__USE__S_AXI_GP5  {zynq_ultra_ps_e {S_AXI_HP3_FPD slave} {saxihp3_fpd_aclk in}}
    PSU__USE__S_AXI_GP3  {zynq_ultra_ps_e {S_AXI_HP1_FPD slave} {saxihp1_fpd_aclk in}}
    PSU__FPGA_PL1_ENABLE {zynq_ultra_ps_e {} {pl_clk1 out}}
}
