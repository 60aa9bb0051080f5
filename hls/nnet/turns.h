// SPDX-License-Identifier: Apache-2.0
// turns: what a sentence does between two passes through the hardware of layers that are used in turn (hls/turns.py writes the loop)
// Stream : token stream -> the same; a sentence, a beat a cycle
#ifndef BITLOOM_TURNS_H_
#define BITLOOM_TURNS_H_

#include "beat.h"

namespace bitloom {

template <unsigned MAX_BEATS, class T> void move(hls::stream<T> &in, hls::stream<T> &out) {
move:
    for (unsigned i = 0; i < MAX_BEATS; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const T got = in.read();
        out.write(got);
        if (ends(got))
            break;
    }
}

template <unsigned MAX_BEATS, class T> void drop(hls::stream<T> &in) {
drop:
    for (unsigned i = 0; i < MAX_BEATS; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (ends(in.read()))
            break;
    }
}

// What a turn is told of a pair: the border, or 0 where its queries see all keys.
template <class T> void tell(const T &border, bool everything, hls::stream<T> &out) {
    T told = border;
    if (everything)
        told.data[0] = 0;
    out.write(told);
}

} // namespace bitloom
#endif
