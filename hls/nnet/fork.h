// SPDX-License-Identifier: Apache-2.0
// fork: one stream for two to four readers. A beat moves when every branch's FIFO has room for it.
#ifndef BITLOOM_FORK_H_
#define BITLOOM_FORK_H_

#include "beat.h"

namespace bitloom {

template <class T, class CONFIG> void fork(hls::stream<T> &in, hls::stream<T> &a, hls::stream<T> &b) {
fork2:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const T got = in.read();
        a.write(got);
        b.write(got);
        if (ends(got))
            break;
    }
}

template <class T, class CONFIG> void fork(hls::stream<T> &in, hls::stream<T> &a, hls::stream<T> &b, hls::stream<T> &c) {
fork3:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const T got = in.read();
        a.write(got);
        b.write(got);
        c.write(got);
        if (ends(got))
            break;
    }
}

template <class T, class CONFIG>
void fork(hls::stream<T> &in, hls::stream<T> &a, hls::stream<T> &b, hls::stream<T> &c, hls::stream<T> &d) {
fork4:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const T got = in.read();
        a.write(got);
        b.write(got);
        c.write(got);
        d.write(got);
        if (ends(got))
            break;
    }
}

} // namespace bitloom
#endif
