// SPDX-License-Identifier: Apache-2.0
// token_window: each token with its neighbours, y[i][c * kernel + k] = x[i + (k - (kernel-1)/2) * dilation][c], 0 beyond the sentence's ends
// Golden : hw/ops/token_window.py (bit-exact)
// Stream : token stream -> token stream of kernel times as many elements a beat, II 1. Line buffers: a token leaves when the last one beside it comes; behind a
//          sentence come zeros, so that one of n tokens takes (n + kernel/2 * dilation) * channels / lanes cycles
#ifndef BITLOOM_TOKEN_WINDOW_H_
#define BITLOOM_TOKEN_WINDOW_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class out_T, class CONFIG> void token_window(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    static const unsigned kernel = CONFIG::kernel, beats = CONFIG::channels / in_T::size, words = CONFIG::dilation * beats;
    static const unsigned behind = kernel / 2 * CONFIG::dilation, reach = (kernel - 1) * CONFIG::dilation;
    typedef nnet::array<typename in_T::value_type, in_T::size> word_T;
    word_T line[kernel - 1][words]; // each delays by `dilation` tokens
#pragma HLS ARRAY_PARTITION variable=line complete dim=1
#pragma HLS AGGREGATE variable=line
#pragma HLS DEPENDENCE variable=line type=inter direction=RAW distance=words true
    typename count<words>::type place = 0;
    typename count<beats>::type beat = 0;
    typename count<reach + 1>::type seen = 0;    // tokens in front of the one that comes, as far as they matter
    typename count<behind + 1>::type after = 0; // tokens behind the sentence
    bool ended = false;
token_window:
    for (unsigned i = 0; i < (CONFIG::max_tokens + behind) * beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        in_T x;
        if (ended) {
            for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
                x.data[e] = 0;
            }
            x.last = false;
        } else {
            x = in.read();
        }
        out_T y;
        word_T tap = x.data; // of the newest token, then of those before it
        for (unsigned back = 0; back < kernel; back++) {
#pragma HLS UNROLL
            const bool there = seen >= back * CONFIG::dilation;
            for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
                y.data[e * kernel + kernel - 1 - back] = there ? tap[e] : typename in_T::value_type(0);
            }
            if (back < kernel - 1) {
                const word_T older = line[back < kernel - 1 ? back : 0][place];
                line[back < kernel - 1 ? back : 0][place] = tap;
                tap = older;
            }
        }
        const bool token_done = beat == beats - 1;
        y.last = token_done && after == behind;
        if (seen >= behind)
            out.write(y);
        if (token_done && seen != reach)
            seen++;
        if (token_done && (ended || x.last) && after != behind)
            after++;
        ended = ended || x.last;
        beat = token_done ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        place = place == words - 1 ? typename count<words>::type(0) : typename count<words>::type(place + 1);
        if (y.last)
            break;
    }
}

} // namespace bitloom
#endif
