// SPDX-License-Identifier: Apache-2.0
// window_mean: y[i][c] = clip((S * r[n] + 2**(shift-1)) >> shift), S = sum of the n tokens x[i * stride + k - (kernel-1)/2 + (stride-1)/2][c], k = 0 .. kernel-1,
//              that the sentence has, r[n] = floor(2**recip_bits / n)
// Golden : hw/ops/window_mean.py (bit-exact; ties towards +inf)
// Stream : token stream -> token stream: see window.h
#ifndef BITLOOM_WINDOW_MEAN_H_
#define BITLOOM_WINDOW_MEAN_H_

#include "window.h"

namespace bitloom {

template <class out_T, class CONFIG> struct mean_beside {
    template <class word_T> static out_T of(const word_T tap[CONFIG::kernel], const bool there[CONFIG::kernel]) {
#pragma HLS INLINE
        typename count<CONFIG::kernel + 1>::type tokens = 0;
        ap_uint<CONFIG::recip_bits + 1> recip = 0;
        for (unsigned back = 0; back < CONFIG::kernel; back++) {
#pragma HLS UNROLL
            tokens += there[back];
        }
        for (unsigned n = 1; n < CONFIG::kernel + 1; n++) { // constants
#pragma HLS UNROLL
            if (tokens == n)
                recip = (1ull << CONFIG::recip_bits) / n;
        }
        out_T y;
        for (unsigned e = 0; e < word_T::size; e++) {
#pragma HLS UNROLL
            ap_int<CONFIG::sum_bits> sum = 0;
            for (unsigned back = 0; back < CONFIG::kernel; back++) {
#pragma HLS UNROLL
                if (there[back])
                    sum += tap[back][e];
            }
            const ap_int<CONFIG::sum_bits + CONFIG::recip_bits + 2> scaled = sum * recip;
            y.data[e] = clip<typename out_T::value_type>(round_shift<CONFIG::shift>(scaled));
        }
        return y;
    }
};

template <class in_T, class out_T, class CONFIG> void window_mean(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    window<in_T, out_T, mean_beside<out_T, CONFIG>, CONFIG>(in, out);
}

} // namespace bitloom
#endif
