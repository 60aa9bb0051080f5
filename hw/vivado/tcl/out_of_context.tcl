# SPDX-License-Identifier: Apache-2.0
# Synthesis, placement and routing of the IP alone, without a project: what it takes and how fast it is, but no bitstream.

proc build_out_of_context {here} {
    global settings
    read_verilog -sv [lsort [glob -directory [file join $here src] *.sv]]
    read_verilog [lsort [glob -directory [file join $here src] *.v]]
    set memories [glob -nocomplain -directory [file join $here mem] *.mem]
    if {[llength $memories] > 0} {
        read_mem [lsort $memories]
    }
    read_xdc [glob -directory [file join $here constraints] *.xdc]
    synth_design -top $settings(top) -part $settings(part) -mode out_of_context
    opt_design
    place_design
    phys_opt_design
    route_design
    write_reports
    write_checkpoint -force [file join output encoder_ip.dcp]
}
