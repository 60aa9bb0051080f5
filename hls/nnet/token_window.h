// SPDX-License-Identifier: Apache-2.0
// token_window: tokens with their neighbours, y[i][c * kernel + k] = x[i * stride + (k - (kernel-1)/2) * dilation + (stride-1)/2][c], 0 beyond the sentence's ends
// Golden : hw/ops/token_window.py (bit-exact)
// Stream : token stream -> token stream of kernel times as many elements a beat: see window.h
#ifndef BITLOOM_TOKEN_WINDOW_H_
#define BITLOOM_TOKEN_WINDOW_H_

#include "window.h"

namespace bitloom {

template <class out_T, class CONFIG> struct side_by_side {
    template <class word_T> static out_T of(const word_T tap[CONFIG::kernel], const bool there[CONFIG::kernel]) {
#pragma HLS INLINE
        out_T y;
        for (unsigned e = 0; e < word_T::size; e++) {
#pragma HLS UNROLL
            for (unsigned back = 0; back < CONFIG::kernel; back++) {
#pragma HLS UNROLL
                y.data[(e + 1) * CONFIG::kernel - 1 - back] = there[back] ? tap[back][e] : typename word_T::value_type(0);
            }
        }
        return y;
    }
};

template <class in_T, class out_T, class CONFIG> void token_window(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    window<in_T, out_T, side_by_side<out_T, CONFIG>, CONFIG>(in, out);
}

} // namespace bitloom
#endif
