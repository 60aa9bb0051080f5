# SPDX-License-Identifier: Apache-2.0
# The block design of Zynq-7000 and Zynq UltraScale+ boards: processing system, reset, AXI DMA, encoder.
# One clock: the processing system's. Names of cells are what the driver on the board looks for: encoder_0, axi_dma_0.

# With weights in external memory they come through a port and a SmartConnect of their own; a port narrower than the encoder's beats has a faster clock.

# Per flow: the processing system's IP, its clock and reset pins, its ports to the registers and to memory with their clock pins,
# the clock of a faster port for the weights, and the DMA's address width.
array set shell_zynq {
    ip processing_system7 clock FCLK_CLK0 reset FCLK_RESET0_N
    master M_AXI_GP0 master_clock M_AXI_GP0_ACLK memory S_AXI_HP0 memory_clock S_AXI_HP0_ACLK
    fast_clock FCLK_CLK1 address_bits 32
}
array set shell_mpsoc {
    ip zynq_ultra_ps_e clock pl_clk0 reset pl_resetn0
    master M_AXI_HPM0_FPD master_clock maxihpm0_fpd_aclk memory S_AXI_HP0_FPD memory_clock saxihp0_fpd_aclk
    fast_clock pl_clk1 address_bits 40
}

# What Zynq UltraScale+'s IP calls its ports to memory in its properties (PG201).
array set gp_of_port {S_AXI_HPC0_FPD 0 S_AXI_HPC1_FPD 1 S_AXI_HP0_FPD 2 S_AXI_HP1_FPD 3 S_AXI_HP2_FPD 4 S_AXI_HP3_FPD 5}

proc make_block_design {here} {
    global settings
    upvar #0 shell_$settings(flow) shell
    set_property ip_repo_paths [file normalize ip] [current_project]
    update_ip_catalog -rebuild
    create_bd_design system
    make_processing_system
    make_cells $shell(address_bits)
    connect_clocks $shell(clock) $shell(reset) $shell(master_clock) $shell(memory_clock)
    connect_buses $shell(master) $shell(memory)
    if {$settings(memory_mhz) > 0} {
        connect_weights
    }
    assign_bd_address
    validate_bd_design
    save_bd_design
    make_wrapper -files [get_files system.bd] -top -import
    set_property top system_wrapper [current_fileset]
    add_files -fileset constrs_1 [glob -directory [file join $here constraints] *.xdc]
}

# The newest version of an IP in the catalogue.
proc cell {name ip args} {
    set found [get_ipdefs -filter "VLNV =~ $ip:*"]
    if {[llength $found] == 0} {
        error "block_design: got no IP $ip in Vivado's catalogue, must be installed; add the device family to the installation"
    }
    set made [create_bd_cell -type ip -vlnv [lindex [lsort -dictionary $found] end] $name]
    if {[llength $args] > 0} {
        set_property -dict $args $made
    }
    return $made
}

# The weights' way from the processing system's memory. SmartConnect converts width, clock and, for Zynq-7000, AXI4 bursts to AXI3's of 16 beats (PG247).
proc connect_weights {} {
    global settings gp_of_port
    upvar #0 shell_$settings(flow) shell
    set port $settings(memory_port)
    set bits $settings(port_bits)
    set fast [expr {$settings(memory_mhz) > $settings(clock_mhz)}]
    if {$settings(flow) eq "zynq"} {
        set weights_clock ${port}_ACLK
        set properties [list CONFIG.PCW_USE_$port 1 CONFIG.PCW_${port}_DATA_WIDTH $bits]
        set second [list CONFIG.PCW_EN_CLK1_PORT 1 CONFIG.PCW_FPGA1_PERIPHERAL_FREQMHZ $settings(memory_mhz)]
    } else {
        set gp $gp_of_port($port)
        set weights_clock [string map {s_axi_ saxi} [string tolower $port]]_aclk
        set properties [list CONFIG.PSU__USE__S_AXI_GP$gp 1 CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH $bits]
        set second [list CONFIG.PSU__FPGA_PL1_ENABLE 1 CONFIG.PSU__CRL_APB__PL1_REF_CTRL__FREQMHZ $settings(memory_mhz)]
    }
    set_property -dict [concat $properties [expr {$fast ? $second : {}}]] [get_bd_cells ps]
    cell weights_bus xilinx.com:ip:smartconnect CONFIG.NUM_SI 1 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS [expr {1 + $fast}]
    connect_bd_net [get_bd_pins ps/$shell(clock)] [get_bd_pins weights_bus/aclk]
    set port_clock $shell(clock)
    if {$fast} {
        set port_clock $shell(fast_clock)
        connect_bd_net [get_bd_pins ps/$port_clock] [get_bd_pins weights_bus/aclk1]
    }
    connect_bd_net [get_bd_pins ps/$port_clock] [get_bd_pins ps/$weights_clock]
    connect_bd_net [get_bd_pins resets/peripheral_aresetn] [get_bd_pins weights_bus/aresetn]
    connect_bd_intf_net [get_bd_intf_pins encoder_0/m_axi] [get_bd_intf_pins weights_bus/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins weights_bus/M00_AXI] [get_bd_intf_pins ps/$port]
}

proc make_processing_system {} {
    global settings
    upvar #0 shell_$settings(flow) shell
    set ps [cell ps xilinx.com:ip:$shell(ip)]
    set preset [expr {[get_property board_part [current_project]] ne ""}]
    if {$settings(flow) eq "zynq"} {
        apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
            -config [list make_external {FIXED_IO, DDR} apply_board_preset $preset Master Disable Slave Disable] $ps
        set_property -dict [list CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_EN_CLK0_PORT 1 CONFIG.PCW_EN_RST0_PORT 1 \
            CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $settings(clock_mhz)] $ps
    } else {
        apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config [list apply_board_preset $preset] $ps
        set_property -dict [list CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0 CONFIG.PSU__USE__S_AXI_GP2 1 \
            CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $settings(clock_mhz)] $ps
    }
}

# A stream is never wider than its memory port (PG021). Buffers of the driver are aligned and whole beats: no realignment engine.
proc make_cells {address_bits} {
    global settings
    set in_memory [expr {max(64, $settings(in_bits))}]
    set out_memory [expr {max(64, $settings(out_bits))}]
    cell encoder_0 bitloom:encoder:encoder_ip
    cell axi_dma_0 xilinx.com:ip:axi_dma CONFIG.c_include_sg 0 CONFIG.c_sg_include_stscntrl_strm 0 CONFIG.c_sg_length_width 26 \
        CONFIG.c_addr_width $address_bits CONFIG.c_include_mm2s 1 CONFIG.c_include_s2mm 1 \
        CONFIG.c_include_mm2s_dre 0 CONFIG.c_m_axi_mm2s_data_width $in_memory CONFIG.c_m_axis_mm2s_tdata_width $settings(in_bits) \
        CONFIG.c_mm2s_burst_size 16 \
        CONFIG.c_include_s2mm_dre 0 CONFIG.c_m_axi_s2mm_data_width $out_memory CONFIG.c_s_axis_s2mm_tdata_width $settings(out_bits) \
        CONFIG.c_s2mm_burst_size 16
    cell registers_bus xilinx.com:ip:smartconnect CONFIG.NUM_SI 1 CONFIG.NUM_MI 2 CONFIG.NUM_CLKS 1
    cell memory_bus xilinx.com:ip:smartconnect CONFIG.NUM_SI 2 CONFIG.NUM_MI 1 CONFIG.NUM_CLKS 1
    cell resets xilinx.com:ip:proc_sys_reset
}

proc connect_clocks {clock reset master_clock memory_clock} {
    set pins [list ps/$master_clock ps/$memory_clock resets/slowest_sync_clk registers_bus/aclk memory_bus/aclk encoder_0/aclk \
        axi_dma_0/s_axi_lite_aclk axi_dma_0/m_axi_mm2s_aclk axi_dma_0/m_axi_s2mm_aclk]
    foreach pin $pins {
        connect_bd_net [get_bd_pins ps/$clock] [get_bd_pins $pin]
    }
    connect_bd_net [get_bd_pins ps/$reset] [get_bd_pins resets/ext_reset_in]
    foreach pin {registers_bus/aresetn memory_bus/aresetn encoder_0/aresetn axi_dma_0/axi_resetn} {
        connect_bd_net [get_bd_pins resets/peripheral_aresetn] [get_bd_pins $pin]
    }
}

proc connect_buses {master memory} {
    foreach {from to} [list \
        ps/$master registers_bus/S00_AXI \
        registers_bus/M00_AXI encoder_0/s_axi \
        registers_bus/M01_AXI axi_dma_0/S_AXI_LITE \
        axi_dma_0/M_AXI_MM2S memory_bus/S00_AXI \
        axi_dma_0/M_AXI_S2MM memory_bus/S01_AXI \
        memory_bus/M00_AXI ps/$memory \
        axi_dma_0/M_AXIS_MM2S encoder_0/s_axis \
        encoder_0/m_axis axi_dma_0/S_AXIS_S2MM] {
        connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
    }
}
