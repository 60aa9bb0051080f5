// SPDX-License-Identifier: Apache-2.0
// token_mean: y[c] = clip((S[c] * r + 2**(shift-1)) >> shift), S[c] = sum of x[i][c] over the T tokens i of a sentence, r = floor(2**recip_bits / T)
// Golden : hw/ops/token_mean.py (bit-exact; ties towards +inf)
// Stream : token stream -> one vector of one element a beat: see pool.h; in front of them the cycles of a division
#ifndef BITLOOM_TOKEN_MEAN_H_
#define BITLOOM_TOKEN_MEAN_H_

#include "pool.h"

namespace bitloom {

template <class code_T, class out_code_T, class CONFIG> struct mean_of {
    typedef ap_int<CONFIG::sum_bits> held_T;
    typedef ap_uint<CONFIG::recip_bits + 1> factor_T;
    static held_T join(const held_T &held, const code_T &x) {
#pragma HLS INLINE
        return held + x;
    }
    template <class tokens_T> static factor_T factor(const tokens_T &tokens) { return (factor_T(1) << CONFIG::recip_bits) / tokens; }
    static out_code_T code(const held_T &held, const factor_T &factor) {
#pragma HLS INLINE
        const ap_int<CONFIG::sum_bits + CONFIG::recip_bits + 2> scaled = held * factor;
        return clip<out_code_T>(round_shift<CONFIG::shift>(scaled));
    }
};

template <class in_T, class out_T, class CONFIG> void token_mean(hls::stream<in_T> &in, hls::stream<out_T> &out) {
#pragma HLS DATAFLOW
    pool<in_T, out_T, mean_of<typename in_T::value_type, typename out_T::value_type, CONFIG>, CONFIG>(in, out);
}

} // namespace bitloom
#endif
