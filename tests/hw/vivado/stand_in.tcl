# SPDX-License-Identifier: Apache-2.0
# Stands in for Vivado: runs a script of its commands in batch mode, checks each call against what Vivado takes (UG835, UG1118, UG994 and the IPs' guides),
# keeps the block design and checks it, and leaves reports and results where Vivado does.
# Environment: STAND_IN_DATA folder of reports, STAND_IN_CALLS file of the calls, STAND_IN_FAULT what goes wrong, STAND_IN_BOARDS installed board files

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
    processing_system7 {PCW_USE_M_AXI_GP0 PCW_USE_S_AXI_HP0 PCW_EN_CLK0_PORT PCW_EN_RST0_PORT PCW_FPGA0_PERIPHERAL_FREQMHZ}
    zynq_ultra_ps_e    {PSU__USE__M_AXI_GP0 PSU__USE__M_AXI_GP1 PSU__USE__M_AXI_GP2 PSU__USE__S_AXI_GP2 PSU__FPGA_PL0_ENABLE
                        PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ}
    axi_dma            {c_include_sg c_sg_include_stscntrl_strm c_sg_length_width c_addr_width c_include_mm2s c_include_s2mm c_include_mm2s_dre
                        c_include_s2mm_dre c_m_axi_mm2s_data_width c_m_axis_mm2s_tdata_width c_mm2s_burst_size c_m_axi_s2mm_data_width
                        c_s_axis_s2mm_tdata_width c_s2mm_burst_size}
    smartconnect       {NUM_SI NUM_MI NUM_CLKS}
}
set catalogue {xilinx.com:ip:processing_system7:5.5 xilinx.com:ip:processing_system7:5.10 xilinx.com:ip:zynq_ultra_ps_e:3.5 xilinx.com:ip:axi_dma:7.1
    xilinx.com:ip:smartconnect:1.0 xilinx.com:ip:proc_sys_reset:5.0}
set fault $env(STAND_IN_FAULT)
set project {}
set sources {}
array set properties {}
array set cells {}
array set nets {}
array set links {}

proc wrong {text} {
    error "stand-in: $text"
}

# Every command of the table: record, check the options, hand over to do_<command> if there is one.
proc dispatch {command args} {
    global known env
    set calls [open $env(STAND_IN_CALLS) a]
    puts $calls "$command $args"
    close $calls
    set options {}
    set plain {}
    for {set i 0} {$i < [llength $args]} {incr i} {
        set word [lindex $args $i]
        if {![string match -* $word] || [string is double -strict $word]} {
            lappend plain $word
        } elseif {![dict exists $known($command) $word]} {
            wrong "$command: no option $word"
        } elseif {[dict get $known($command) $word]} {
            incr i
            if {$i >= [llength $args]} {
                wrong "$command: no value for $word"
            }
            dict set options $word [lindex $args $i]
        } else {
            dict set options $word 1
        }
    }
    set handler do_[string map {:: _} $command]
    if {[info commands $handler] ne ""} {
        return [$handler $options $plain]
    }
    return $command
}
namespace eval ipx {}
foreach command [array names known] {
    interp alias {} $command {} dispatch $command
}

proc must_exist {files} {
    foreach file $files {
        if {![file isfile $file]} {
            wrong "got no file $file"
        }
    }
}

# --- project and sources
proc do_create_project {options plain} {
    global project sources properties
    lassign $plain name folder
    set project [dict create name $name folder $folder part [dict get $options -part]]
    set sources {}
    array unset properties
    set properties(project,board_part) {}
    file mkdir $folder
    return project
}
proc do_current_project {options plain} { return project }
proc do_current_fileset {options plain} { return fileset }
proc do_current_design {options plain} { return design }
proc do_add_files {options plain} {
    global sources
    foreach files $plain {
        must_exist $files
        lappend sources {*}$files
    }
}
proc do_read_verilog {options plain} { do_add_files {} $plain }
proc do_read_mem {options plain} { do_add_files {} $plain }
proc do_read_xdc {options plain} { do_add_files {} $plain }
proc do_get_files {options plain} { return [lindex $plain 0] }
proc do_get_board_parts {options plain} {
    global env
    return [lsearch -all -inline -glob $env(STAND_IN_BOARDS) [lindex $plain end]]
}
proc do_set_property {options plain} {
    global properties cells parameters env
    if {[dict exists $options -dict]} {
        set pairs [dict get $options -dict]
        set objects [lindex $plain 0]
    } else {
        lassign $plain name value objects
        set pairs [list $name $value]
    }
    if {$objects eq ""} {
        wrong "set_property: got no object for $pairs"
    }
    dict for {name value} $pairs {
        if {[info exists cells($objects)]} {
            if {![string match CONFIG.* $name] || [string range $name 7 end] ni $parameters($cells($objects))} {
                wrong "$cells($objects) has no property $name"
            }
        }
        if {$name eq "board_part" && $value ni $env(STAND_IN_BOARDS)} {
            wrong "no board part $value"
        }
        set properties($objects,$name) $value
    }
}
proc do_get_property {options plain} {
    global properties fault
    lassign $plain name object
    if {[info exists properties($object,$name)]} {
        return $properties($object,$name)
    }
    switch $name {
        PROGRESS { return [expr {$fault eq $object ? "35%" : "100%"}] }
        STATUS { return [expr {$fault eq $object ? "synth_design ERROR" : "$object Complete!"}] }
        default { wrong "no property $name of $object" }
    }
}

# --- the top's ports, memories and constraints, as synthesis sees them
proc top_text {} {
    global sources properties
    set top $properties(fileset,top)
    foreach file $sources {
        if {[file rootname [file tail $file]] eq $top} {
            set text [read [set in [open $file]]][close $in]
            if {[regexp "module $top\\y" $text]} {
                return $text
            }
        }
    }
    wrong "no source of the top $top"
}
proc do_get_ports {options plain} {
    set name [lindex $plain 0]
    if {$::properties(fileset,top) ne "system_wrapper" && ![regexp "\\y(input|output)\\y\[^;]*?\\y$name\\y" [top_text]]} {
        wrong "get_ports: the top has no port $name"
    }
    return $name
}
proc synthesize {} {
    global sources fault
    set memories {}
    foreach file $sources {
        if {[file extension $file] eq ".mem"} {
            lappend memories [file tail $file]
        }
    }
    foreach file $sources {
        if {[file extension $file] in {.sv .v}} {
            set text [read [set in [open $file]]][close $in]
            foreach {all name} [regexp -all -inline {"([^"\s]+\.(?:mem|hex))"} $text] {
                if {$name ni $memories || $fault eq "memory"} {
                    error "\[Synth 8-4445\] could not open \$readmem data file '$name'"
                }
            }
        }
    }
    foreach file $sources {
        if {[file extension $file] eq ".xdc"} {
            uplevel #0 [list source $file]
        }
    }
}

# --- the IP packager
proc do_ipx_package_project {options plain} {
    synthesize
    file mkdir [dict get $options -root_dir]
    return core
}
proc do_ipx_current_core {options plain} { return core }
proc do_ipx_check_integrity {options plain} { return [expr {$::fault ne "integrity"}] }
proc do_ipx_get_bus_interfaces {options plain} {
    set name [lindex $plain 0]
    if {[regexp "X_INTERFACE_INFO = \"\[^\"]* $name (CLK|RST)\"|\\y${name}_(tvalid|awvalid)\\y" [top_text]]} {
        return $name
    }
}
proc do_ipx_save_core {options plain} {
    global catalogue properties
    lappend catalogue bitloom:encoder:$properties(core,name):$properties(core,version)
}
proc do_close_project {options plain} { set ::project {} }

# --- the block design
proc do_get_ipdefs {options plain} {
    global catalogue fault
    if {![regexp {^VLNV =~ (\S+)$} [dict get $options -filter] all pattern]} {
        wrong "get_ipdefs: cannot read the filter [dict get $options -filter]"
    }
    return [expr {$fault eq "catalogue" ? {} : [lsearch -all -inline -glob $catalogue $pattern]}]
}
proc do_create_bd_cell {options plain} {
    global cells catalogue
    if {[dict get $options -vlnv] ni $catalogue || [dict get $options -vlnv] eq "xilinx.com:ip:processing_system7:5.5"} {
        wrong "create_bd_cell: [dict get $options -vlnv] is not the newest in the catalogue"
    }
    set cells([lindex $plain 0]) [lindex [split [dict get $options -vlnv] :] 2]
    return [lindex $plain 0]
}
proc do_apply_bd_automation {options plain} {
    if {![info exists ::cells([lindex $plain 0])]} {
        wrong "apply_bd_automation: no cell $plain"
    }
    if {[dict get [dict get $options -config] apply_board_preset] && $::properties(project,board_part) eq ""} {
        wrong "apply_bd_automation: no board part to take a preset from"
    }
}
proc side {kind table name} {
    global cells interfaces properties
    lassign [split $name /] cell pin
    if {![info exists cells($cell)]} {
        wrong "no cell $cell"
    }
    if {$kind eq "intf" && $cells($cell) eq "smartconnect"} {
        if {[regexp {^([SM])0?(\d+)_AXI$} $pin all way number] && $number < $properties($cell,CONFIG.NUM_${way}I)} {
            return [expr {$way eq "S" ? "slave" : "master"}]
        }
    } elseif {[dict exists [set ::${table}($cells($cell))] $pin]} {
        return [dict get [set ::${table}($cells($cell))] $pin]
    }
    wrong "$cells($cell) has no $kind pin $pin"
}
proc do_get_bd_pins {options plain} { side plain pins [lindex $plain 0]; return [lindex $plain 0] }
proc do_get_bd_intf_pins {options plain} { side intf interfaces [lindex $plain 0]; return [lindex $plain 0] }
proc do_connect_bd_net {options plain} {
    global nets
    lassign $plain from to
    if {[side plain pins $from] ne "out" || [side plain pins $to] ne "in" || [info exists nets($to)]} {
        wrong "connect_bd_net: $from cannot drive $to"
    }
    if {([string match -nocase *res* $from]) != ([string match -nocase *res* [lindex [split $to /] 1]])} {
        wrong "connect_bd_net: $from and $to are not both clocks or both resets"
    }
    set nets($to) $from
}
proc do_connect_bd_intf_net {options plain} {
    global links
    lassign $plain from to
    set sides "[side intf interfaces $from] [side intf interfaces $to]"
    if {$sides ni {{master slave} {stream_out stream_in}} || [info exists links($from)] || [info exists links($to)]} {
        wrong "connect_bd_intf_net: $from ([lindex $sides 0]) cannot go to $to ([lindex $sides 1])"
    }
    set links($from) $to
    set links($to) $from
}
proc do_validate_bd_design {options plain} {
    global cells pins interfaces nets links properties
    foreach {cell ip} [array get cells] {
        foreach {pin way} $pins($ip) {
            if {$way eq "in" && ![info exists nets($cell/$pin)]} {
                wrong "validate_bd_design: nothing drives $cell/$pin"
            }
        }
        if {$ip eq "smartconnect"} {
            set names {}
            for {set i 0} {$i < $properties($cell,CONFIG.NUM_SI)} {incr i} { lappend names [format S%02d_AXI $i] }
            for {set i 0} {$i < $properties($cell,CONFIG.NUM_MI)} {incr i} { lappend names [format M%02d_AXI $i] }
        } else {
            set names [dict keys $interfaces($ip)]
        }
        foreach name $names {
            if {![info exists links($cell/$name)]} {
                wrong "validate_bd_design: nothing at $cell/$name"
            }
        }
    }
    foreach way {mm2s s2mm} stream {c_m_axis_mm2s_tdata_width c_s_axis_s2mm_tdata_width} port {s_axis m_axis} {
        set width $properties(axi_dma_0,CONFIG.$stream)
        if {$properties(axi_dma_0,CONFIG.c_m_axi_${way}_data_width) < $width} {
            wrong "validate_bd_design: the DMA's stream is wider than its memory port"
        }
        if {![regexp "\\\[[expr {$width - 1}]:0\\] ${port}_tdata" $::ip_text]} {
            wrong "validate_bd_design: the encoder's $port has not $width bits"
        }
    }
}
proc do_create_bd_design {options plain} {
    # What the packager imported is what the cell has.
    set in [open [file join src encoder_ip.v]]
    set ::ip_text [read $in]
    close $in
}
proc do_make_wrapper {options plain} { return system_wrapper.v }

# --- runs and results
proc put {path text} {
    file mkdir [file dirname $path]
    set out [open $path w]
    puts $out $text
    close $out
}
proc do_launch_runs {options plain} {
    global project fault
    set run [lindex $plain 0]
    set folder [file join [dict get $project folder] [dict get $project name].runs $run]
    puts "launch_runs $run"
    if {$fault eq $run} {
        put [file join $folder runme.log] "INFO: started\nERROR: \[Synth 8-439\] module 'encoder' not found \[src/encoder_ip.v:55\]\nERROR: \[Common 17-69\] Command failed"
        return
    }
    if {$run eq "synth_1"} {
        synthesize
    }
    if {[dict exists $options -to_step] && [dict get $options -to_step] eq "write_bitstream" && $fault ne "no_bit"} {
        put [file join $folder $::properties(fileset,top).bit] "bitstream of [dict get $project part]"
    }
    if {$::properties(fileset,top) eq "system_wrapper" && $fault ne "no_hwh"} {
        put [file join [dict get $project folder] encoder.gen sources_1 bd system hw_handoff system.hwh] "<EDKSYSTEM/>"
    }
}
proc do_get_runs {options plain} { return [lindex $plain 0] }
proc do_synth_design {options plain} {
    puts "Command: synth_design"
    set ::properties(fileset,top) [dict get $options -top]
    synthesize
}
proc do_write_checkpoint {options plain} { put [lindex $plain end] checkpoint }
proc do_write_hw_platform {options plain} { put [dict get $options -file] platform }
proc report {options name} {
    global env fault
    if {$fault ne "no_$name"} {
        file copy -force [file join $env(STAND_IN_DATA) $name.rpt] [dict get $options -file]
    }
}
proc do_report_utilization {options plain} { report $options utilization }
proc do_report_timing_summary {options plain} { report $options timing }

# --- the program: vivado -mode batch -nojournal -log FILE -source FILE -tclargs ARGS
set given $argv
if {[lrange $given 0 3] ne "-mode batch -nojournal -log" || [lindex $given 5] ne "-source" || [lindex $given 7] ne "-tclargs"} {
    puts "ERROR: \[Common 17-165\] Too many positional options: $given"
    exit 1
}
puts "****** Vivado v2023.1 (64-bit), a stand-in"
set argv [lrange $given 8 end]
if {$fault eq "licence"} {
    puts "ERROR: \[Common 17-345\] A valid license was not found for feature 'Synthesis' and/or device 'xczu7ev'."
    exit 1
}
if {$fault eq "killed"} {
    exit 0
}
if {$fault eq "hang"} {
    put hung [pid]
    after 60000
}
if {[catch {uplevel #0 [list source [lindex $given 6]]} message]} {
    puts "ERROR: $message"
    exit 1
}
exit 0
