// SPDX-License-Identifier: Apache-2.0
// window_max: y[i][c] = the largest x[i * stride + k - (kernel-1)/2 + (stride-1)/2][c] of those that the sentence has, k = 0 .. kernel-1
// Golden : hw/ops/window_max.py (bit-exact)
// Stream : token stream -> token stream: see window.h
#ifndef BITLOOM_WINDOW_MAX_H_
#define BITLOOM_WINDOW_MAX_H_

#include "window.h"

namespace bitloom {

template <class out_T, class CONFIG> struct largest_beside {
    template <class word_T> static out_T of(const word_T tap[CONFIG::kernel], const bool there[CONFIG::kernel]) {
#pragma HLS INLINE
        out_T y;
        for (unsigned e = 0; e < word_T::size; e++) {
#pragma HLS UNROLL
            typename out_T::value_type high = range<typename out_T::value_type>::low();
            for (unsigned back = 0; back < CONFIG::kernel; back++) {
#pragma HLS UNROLL
                if (there[back] && tap[back][e] > high)
                    high = tap[back][e];
            }
            y.data[e] = high;
        }
        return y;
    }
};

template <class in_T, class out_T, class CONFIG> void window_max(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    window<in_T, out_T, largest_beside<out_T, CONFIG>, CONFIG>(in, out);
}

} // namespace bitloom
#endif
