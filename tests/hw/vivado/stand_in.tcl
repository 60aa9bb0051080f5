# SPDX-License-Identifier: Apache-2.0
# Stands in for Vivado: runs a script of its commands in batch mode, checks each call against stand_in_tables.tcl,
# keeps the block design and checks it, and leaves reports and results where Vivado does.
# Environment: STAND_IN_DATA folder of reports, STAND_IN_CALLS file of the calls, STAND_IN_FAULT what goes wrong, STAND_IN_BOARDS installed board files

source [file join [file dirname [info script]] stand_in_tables.tcl]
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
        set short [string range $name 7 end]
        if {[info exists cells($objects)] && $value == 1 && [dict exists $::optional $short]} {
            lassign [dict get $::optional $short] ip more_interfaces more_pins
            lappend ::interfaces($ip) {*}$more_interfaces
            lappend ::pins($ip) {*}$more_pins
        }
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
    if {[regexp "X_INTERFACE_INFO = \"\[^\"]* $name (CLK|RST)\"|\\y${name}_(tvalid|arvalid)\\y" [top_text]]} {
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
    if {$kind eq "plain" && $cells($cell) eq "smartconnect" && $pin eq "aclk1" && $properties($cell,CONFIG.NUM_CLKS) == 2} {
        return in
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
proc do_get_bd_cells {options plain} {
    if {![info exists ::cells([lindex $plain 0])]} {
        wrong "get_bd_cells: no cell $plain"
    }
    return [lindex $plain 0]
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
            if {$properties($cell,CONFIG.NUM_CLKS) == 2 && ![info exists nets($cell/aclk1)]} {
                wrong "validate_bd_design: nothing drives $cell/aclk1"
            }
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
    if {[regexp {\ym_axi_arvalid\y} $::ip_text]} {
        lappend ::interfaces(encoder_ip) m_axi master
    }
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
