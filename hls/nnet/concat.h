// SPDX-License-Identifier: Apache-2.0
// concat: each token (or vector) of b behind that of a, y[i] = a[i], b[i]
// Golden : hw/ops/concat.py (bit-exact)
// Stream : two streams of as many elements a beat -> one, II 1; a beat of one input is taken at a time, `last` is that of b
#ifndef BITLOOM_CONCAT_H_
#define BITLOOM_CONCAT_H_

#include "beat.h"

namespace bitloom {

template <class a_T, class b_T, class out_T, class CONFIG> void concat(hls::stream<a_T> &a, hls::stream<b_T> &b, hls::stream<out_T> &out) {
    static const unsigned beats = CONFIG::a_beats + CONFIG::b_beats;
    typename count<beats>::type beat = 0;
concat:
    for (unsigned i = 0; i < CONFIG::max_tokens * beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const bool second = beat >= CONFIG::a_beats;
        out_T y;
        bool last = false;
        if (second) {
            const b_T got = b.read();
            y.data = got.data;
            last = got.last;
        } else {
            y.data = a.read().data;
        }
        y.last = last;
        out.write(y);
        beat = beat == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        if (last)
            break;
    }
}

} // namespace bitloom
#endif
