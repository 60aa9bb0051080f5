// SPDX-License-Identifier: Apache-2.0
// upsample: y[i] = clip((a[i] * mult_a + b[i / stride] * mult_b + 2**(shift-1)) >> shift): a residual sum whose second addend has a token for each `stride` of the
//           first one's
// Golden : hw/ops/upsample.py (bit-exact; ties towards +inf)
// Stream : two token streams -> token stream, II 1; a beat of b is taken with that of the first of its tokens of a, and kept for the others
#ifndef BITLOOM_UPSAMPLE_H_
#define BITLOOM_UPSAMPLE_H_

#include "add.h"

namespace bitloom {

template <class a_T, class b_T, class out_T, class CONFIG> void upsample(hls::stream<a_T> &a, hls::stream<b_T> &b, hls::stream<out_T> &out) {
    static const unsigned beats = CONFIG::channels / a_T::size, stride = CONFIG::stride;
    b_T token[beats];
#pragma HLS AGGREGATE variable=token
#pragma HLS DEPENDENCE variable=token type=inter direction=RAW distance=beats true
    typename count<beats>::type beat = 0;
    typename count<stride>::type phase = 0;
upsample:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const a_T left = a.read();
        b_T right;
        if (phase == 0) {
            right = b.read();
            token[beat] = right;
        } else {
            right = token[beat];
        }
        out_T y;
        for (unsigned e = 0; e < a_T::size; e++) {
#pragma HLS UNROLL
            y.data[e] = add_code<typename out_T::value_type, typename a_T::value_type, typename b_T::value_type, CONFIG>(left.data[e], right.data[e]);
        }
        y.last = left.last;
        out.write(y);
        if (beat == beats - 1)
            phase = phase == stride - 1 ? typename count<stride>::type(0) : typename count<stride>::type(phase + 1);
        beat = beat == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        if (left.last)
            break;
    }
}

} // namespace bitloom
#endif
