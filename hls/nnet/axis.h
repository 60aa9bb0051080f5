// SPDX-License-Identifier: Apache-2.0
// axis: the encoder's AXI4-Stream ports. Elements are extended to whole bytes outside; inside they have the graph's widths.
#ifndef BITLOOM_AXIS_H_
#define BITLOOM_AXIS_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class out_T, class CONFIG> void from_axis(hls::stream<in_T> &in, hls::stream<out_T> &out) {
from_axis:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T word = in.read();
        out_T made;
        for (unsigned e = 0; e < out_T::size; e++) {
#pragma HLS UNROLL
            made.data[e] = typename out_T::value_type(word.data[e]);
        }
        made.last = word.last;
        out.write(made);
        if (made.last)
            break;
    }
}

template <class in_T, class out_T, class CONFIG> void to_axis(hls::stream<in_T> &in, hls::stream<out_T> &out) {
to_axis:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T got = in.read();
        out_T word;
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            word.data[e] = got.data[e];
        }
        word.keep = -1;
        word.strb = -1;
        word.last = got.last;
        out.write(word);
        if (got.last)
            break;
    }
}

} // namespace bitloom
#endif
