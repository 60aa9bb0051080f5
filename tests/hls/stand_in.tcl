# SPDX-License-Identifier: Apache-2.0
# Stands in for Vitis HLS: runs a Tcl script with commands of its name that write down how they are called and leave the files that they would leave.
# Arguments: the script. Environment: STAND_IN_DATA (folder with syn/ and sim/), STAND_IN_CALLS (file that gets the calls), STAND_IN_FAULT (what goes wrong).

set solution encoder_prj/solution1

proc note {args} {
    set file [open $::env(STAND_IN_CALLS) a]
    puts $file $args
    close $file
}

proc fault {name} { return [string equal $name $::env(STAND_IN_FAULT)] }

# The test bench's results: the golden ones, or with a wrong number.
proc results {name} {
    set file [open tb_data/tb_output_predictions.dat]
    set text [read $file]
    close $file
    if {[fault wrong_$name]} { regsub {\S+\s*$} $text "7\n" text }
    if {[fault short_$name]} { regsub {[^\n]*\n$} $text "" text }
    if {[fault no_$name]} return
    set file [open tb_data/${name}_results.log w]
    puts -nonewline $file $text
    close $file
}

foreach command {open_project set_top add_files open_solution config_compile set_part config_schedule create_clock set_clock_uncertainty} {
    proc $command {args} "note $command {*}\$args"
}

# Newer versions do not know the option; the script catches the error, the log keeps the line.
proc config_array_partition {args} {
    note config_array_partition {*}$args
    puts "ERROR: \[HLS 200-101\] config_array_partition: Unknown option '-maximum_size'."
    error "unknown option"
}

proc csim_design {args} {
    note csim_design {*}$args
    results csim
}

proc csynth_design {args} {
    note csynth_design {*}$args
    puts "INFO: \[HLS 200-10\] Analyzing design file 'firmware/encoder.cpp' ..."
    if {[fault compile]} {
        puts "firmware/nnet_utils/linear.h:42:9: error: no matching function for call to 'product'"
        puts "ERROR: \[HLS 200-70\] Compilation errors found"
        error "csynth_design failed"
    }
    if {[fault part]} { puts "ERROR: \[HLS 200-1023\] Part 'xc7z020clg400-1' is not installed." ; return }
    file mkdir $::solution
    file copy $::env(STAND_IN_DATA)/syn $::solution
    if {[fault no_report]} { file delete $::solution/syn/report/encoder_csynth.xml }
    if {[fault no_verilog]} return
    file mkdir $::solution/syn/verilog
    close [open $::solution/syn/verilog/encoder.v w]
}

proc cosim_design {args} {
    note cosim_design {*}$args
    file mkdir $::solution/sim/verilog
    file copy $::env(STAND_IN_DATA)/sim/report $::solution/sim
    set file [open $::solution/sim/verilog/encoder.tcl w]
    puts $file "log_wave -r /"
    close $file
    set file [open $::solution/sim/verilog/run_sim.tcl w]
    puts $file {note run_sim; cd ../../../..; results rtl_cosim}
    close $file
    if {[fault cosim_status]} {
        set file [open $::solution/sim/report/encoder_cosim.rpt]
        set text [read $file]
        close $file
        set file [open $::solution/sim/report/encoder_cosim.rpt w]
        puts $file [string map {Pass Fail} $text]
        close $file
    }
}

proc export_design {args} {
    note export_design {*}$args
    if {[fault no_ip]} return
    file mkdir $::solution/impl/ip
    close [open $::solution/impl/export.zip w]
}

source [lindex $argv 0]
