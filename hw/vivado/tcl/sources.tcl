# SPDX-License-Identifier: Apache-2.0
# The project and its source files.

proc open_new_project {} {
    global settings
    create_project encoder vivado -part $settings(part) -force
    set_property target_language Verilog [current_project]
    # With a board file its preset sets the processing system up; without, the boot image on the card has done so already.
    if {$settings(board_files) ne ""} {
        set found [get_board_parts -quiet -latest_file_version $settings(board_files)]
        if {[llength $found] > 0} {
            set_property board_part [lindex $found 0] [current_project]
        } else {
            puts "bitloom: no board file matches $settings(board_files): the processing system keeps its defaults"
        }
    }
}

proc add_sources {here} {
    # In a project, Vivado orders the files itself. A .mem file is found by its bare name once it is a source.
    add_files -norecurse [lsort [glob -directory [file join $here src] *.sv *.v]]
    set memories [glob -nocomplain -directory [file join $here mem] *.mem]
    if {[llength $memories] > 0} {
        add_files -norecurse [lsort $memories]
    }
}
