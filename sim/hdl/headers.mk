# SPDX-License-Identifier: Apache-2.0
# Behind Verilator's makefile: its compiler and flags, as a precompiled header serves no others.
%.gch: %
	$(CXX) $(OPT_FAST) $(CXXFLAGS) $(CPPFLAGS) -x c++-header $< -o $@
