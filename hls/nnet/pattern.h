// SPDX-License-Identifier: Apache-2.0
// pattern: acc[i,h,d] = sum_o w[h,o] v[min(max(i + o, 0), T-1),h,d]: neighbours beyond the sentence are its first or last token
// Golden : hw/ops/pattern.py (bit-exact)
// Stream : token stream -> token stream of accumulators, II 1. Line buffers: a token leaves when the last one that it takes comes; behind a sentence its last
//          token is repeated, so that one of n tokens takes (n + reach) * channels / lanes cycles
// Layout : weight and neighbour[element * taps + tap]: neighbour o as reach - o; filled places have weights of 0
#ifndef BITLOOM_PATTERN_H_
#define BITLOOM_PATTERN_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class out_T, class CONFIG>
void pattern(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::weight_t weight[CONFIG::n_weight],
             const typename CONFIG::neighbour_t neighbour[CONFIG::n_neighbour]) {
    static const unsigned beats = CONFIG::channels / in_T::size, reach = CONFIG::reach, kernel = 2 * reach + 1, lines = reach ? 2 * reach : 1;
    const unsigned words = in_T::size * CONFIG::taps;
#pragma HLS ARRAY_RESHAPE variable=weight cyclic factor=words
#pragma HLS ARRAY_RESHAPE variable=neighbour cyclic factor=words
    typedef nnet::array<typename in_T::value_type, in_T::size> word_T;
    word_T line[lines][beats]; // each delays by a token; the first one of a sentence fills all
#pragma HLS ARRAY_PARTITION variable=line complete dim=1
#pragma HLS AGGREGATE variable=line
#pragma HLS DEPENDENCE variable=line type=inter direction=RAW distance=beats true
    typename count<beats>::type beat = 0;
    typename count<reach + 1>::type seen = 0, after = 0; // tokens in front of the one that comes, as far as they matter; behind the sentence
    bool starts = true, ended = false;
pattern:
    for (unsigned i = 0; i < (CONFIG::max_tokens + reach) * beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        in_T x;
        if (ended) {
            x.data = line[0][beat];
            x.last = false;
        } else {
            x = in.read();
        }
        word_T tap[kernel]; // the newest token, then those before it
        tap[0] = x.data;
        for (unsigned back = 1; back < kernel; back++) {
#pragma HLS UNROLL
            tap[back] = starts ? x.data : line[back - 1][beat];
            line[back - 1][beat] = tap[back - 1];
        }
        out_T y;
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            typename out_T::value_type sum = 0;
            for (unsigned t = 0; t < CONFIG::taps; t++) {
#pragma HLS UNROLL
                const unsigned at = (beat * in_T::size + e) * CONFIG::taps + t;
                sum += weight[at] * tap[neighbour[at]][e];
            }
            y.data[e] = sum;
        }
        const bool token_done = beat == beats - 1, over = ended || x.last;
        y.last = token_done && over && after == reach;
        if (seen == reach)
            out.write(y);
        if (token_done) {
            if (seen != reach)
                seen++;
            if (over && after != reach)
                after++;
            starts = false;
        }
        ended = over;
        beat = token_done ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        if (y.last)
            break;
    }
}

} // namespace bitloom
#endif
