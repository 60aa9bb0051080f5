# SPDX-License-Identifier: Apache-2.0
# Synthesis and implementation of a project, its reports, and the files that a board needs.

proc build_bitstream {jobs} {
    run_to_end synth_1 $jobs
    run_to_end impl_1 $jobs -to_step write_bitstream
    open_run impl_1
    write_reports
    copy_one [file join vivado encoder.runs impl_1 *.bit] [file join output encoder.bit]
}

# wait_on_run does not fail with the run.
proc run_to_end {run jobs args} {
    launch_runs $run -jobs $jobs {*}$args
    wait_on_run $run
    set status [get_property STATUS [get_runs $run]]
    if {[get_property PROGRESS [get_runs $run]] ne "100%" || [string match -nocase *error* $status]} {
        error "$run: got status '$status', must be complete; its log is in [file join vivado encoder.runs $run runme.log]"
    }
}

proc write_reports {} {
    report_utilization -file [file join reports utilization.rpt]
    report_timing_summary -file [file join reports timing.rpt]
}

# The block design's description, which PYNQ reads beside the bitstream, and the platform for other software.
proc export_hardware {} {
    # Where it lies depends on the version (encoder.srcs or encoder.gen).
    copy_one [file join vivado encoder.* sources_1 bd system hw_handoff system.hwh] [file join output encoder.hwh]
    write_hw_platform -fixed -include_bit -force -file [file join output encoder.xsa]
}

proc copy_one {pattern target} {
    set found [glob -nocomplain $pattern]
    if {[llength $found] == 0} {
        error "got no $pattern, must be written by Vivado"
    }
    file copy -force [lindex [lsort $found] end] $target
}
