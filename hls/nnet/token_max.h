// SPDX-License-Identifier: Apache-2.0
// token_max: y[c] = max of x[i][c] over the tokens i of a sentence
// Golden : hw/ops/token_max.py (bit-exact)
// Stream : token stream -> one vector of one element a beat: see pool.h
#ifndef BITLOOM_TOKEN_MAX_H_
#define BITLOOM_TOKEN_MAX_H_

#include "pool.h"

namespace bitloom {

template <class code_T> struct largest_of {
    typedef code_T held_T;
    typedef bool factor_T;
    static held_T join(const held_T &held, const code_T &x) {
#pragma HLS INLINE
        return x > held ? x : held;
    }
    template <class tokens_T> static factor_T factor(const tokens_T &) { return true; }
    static code_T code(const held_T &held, const factor_T &) { return held; }
};

template <class in_T, class out_T, class CONFIG> void token_max(hls::stream<in_T> &in, hls::stream<out_T> &out) {
#pragma HLS DATAFLOW
    pool<in_T, out_T, largest_of<typename in_T::value_type>, CONFIG>(in, out);
}

} // namespace bitloom
#endif
