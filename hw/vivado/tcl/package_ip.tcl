# SPDX-License-Identifier: Apache-2.0
# Packages encoder_ip (src/, mem/) as an IP in ip/.

proc package_ip {here} {
    global settings
    create_project package_encoder ip_project -part $settings(part) -force
    set_property target_language Verilog [current_project]
    add_sources $here
    set_property top encoder_ip [current_fileset]
    update_compile_order -fileset sources_1
    ipx::package_project -root_dir ip -vendor bitloom -library encoder -taxonomy /UserIP -import_files -force
    set core [ipx::current_core]
    set_property name encoder_ip $core
    set_property version 1.0 $core
    set_property display_name {bitloom encoder} $core
    set_property description {Integer BERT encoder: AXI4-Stream in and out, AXI4-Lite registers} $core
    # Interfaces come from the ports' names and the clock's attributes in encoder_ip.v; a changed name shall not go unnoticed.
    set expected {s_axis m_axis s_axi aclk aresetn}
    if {$settings(memory_mhz) > 0} {
        lappend expected m_axi
    }
    foreach interface $expected {
        if {[llength [ipx::get_bus_interfaces $interface -of_objects $core]] == 0} {
            error "package_ip: got no interface '$interface', must be inferred from the ports of encoder_ip.v; look at their names"
        }
    }
    # The frequency is that of the clock it is connected to.
    set_property ipi_drc {ignore_freq_hz true} $core
    set_property core_revision 1 $core
    ipx::create_xgui_files $core
    ipx::update_checksums $core
    if {[ipx::check_integrity $core] eq "0"} {
        error "package_ip: the IP packager found the core in ip/ not whole; its messages are above"
    }
    ipx::save_core $core
    close_project
}
