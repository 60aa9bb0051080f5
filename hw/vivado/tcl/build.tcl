# SPDX-License-Identifier: Apache-2.0
# Builds the project beside this file, in the current folder: vivado -mode batch -source build.tcl [-tclargs JOBS]
# Made: vivado/ (the project, which Vivado's window opens too), ip/ (the packaged IP), reports/, output/
set here [file dirname [file normalize [info script]]]
source [file join $here settings.tcl]
foreach name {sources package_ip block_design out_of_context runs} {
    source [file join $here tcl $name.tcl]
}
set jobs [expr {[llength $argv] > 0 ? [lindex $argv 0] : 2}]
if {![string is integer -strict $jobs] || $jobs < 1} {
    error "build.tcl: JOBS: got '$jobs', must be a number from 1 on"
}

# A memory file that is not found is only a critical warning, and leaves a ROM of zeros: a wrong encoder.
set_msg_config -id {Synth 8-4445} -new_severity {ERROR}
file mkdir reports output

switch $settings(flow) {
    zynq - mpsoc {
        package_ip $here
        open_new_project
        make_block_design $here
        build_bitstream $jobs
        export_hardware
    }
    uart {
        open_new_project
        add_sources $here
        set_property top $settings(top) [current_fileset]
        add_files -fileset constrs_1 [glob -directory [file join $here constraints] *.xdc]
        build_bitstream $jobs
    }
    out_of_context {
        build_out_of_context $here
    }
    default {
        error "build.tcl: flow: got '$settings(flow)', must be zynq, mpsoc, uart or out_of_context"
    }
}
puts "bitloom: done"
