// SPDX-License-Identifier: Apache-2.0
// window: what token_window, window_max and window_mean share: of a sentence of T tokens ceil(T / stride) windows of `kernel` tokens, each `dilation` from the next
// Golden : hw/parts/window.py
// Stream : token stream -> token stream, II 1. Line buffers: a window leaves with the token `behind` its first one, when all that it has are there, and whether
//          another one follows is known; `lag`: how many tokens come in front of its last one till then. Nothing comes behind a sentence, so that one of n
//          tokens takes at most (n + behind) * channels / lanes cycles
// MADE   : out_T of(tap, there), of the last token of a window, tap[0], and those before it; whether the sentence has them
#ifndef BITLOOM_WINDOW_H_
#define BITLOOM_WINDOW_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class out_T, class MADE, class CONFIG> void window(hls::stream<in_T> &in, hls::stream<out_T> &out) {
#pragma HLS INLINE
    static const unsigned kernel = CONFIG::kernel, behind = CONFIG::behind, stride = CONFIG::stride, beats = CONFIG::channels / in_T::size;
    static const unsigned words = CONFIG::dilation * beats, late = CONFIG::lag ? CONFIG::lag * beats : 1;
    static const unsigned reach = CONFIG::lag + (kernel - 1) * CONFIG::dilation, most = reach > behind ? reach : behind;
    typedef nnet::array<typename in_T::value_type, in_T::size> word_T;
    word_T first[late], line[kernel - 1][words]; // delays by `lag` tokens, and each of the others by `dilation`
#pragma HLS ARRAY_PARTITION variable=line complete dim=1
#pragma HLS AGGREGATE variable=first
#pragma HLS AGGREGATE variable=line
#pragma HLS DEPENDENCE variable=first type=inter direction=RAW distance=late true
#pragma HLS DEPENDENCE variable=line type=inter direction=RAW distance=words true
    typename count<late>::type first_place = 0;
    typename count<words>::type place = 0;
    typename count<beats>::type beat = 0;
    typename count<most + 1>::type seen = 0;    // tokens in front of the one that comes, as far as they matter
    typename count<behind + 1>::type after = 0; // tokens behind the sentence
    typename count<stride>::type phase = 0;
    bool ended = false;
window:
    for (unsigned i = 0; i < (CONFIG::max_tokens + behind) * beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        in_T x;
        x.last = false;
        if (!ended)
            x = in.read();
        word_T tap[kernel];
        tap[0] = CONFIG::lag ? first[first_place] : x.data;
        first[first_place] = x.data;
        bool there[kernel];
        for (unsigned back = 0; back < kernel; back++) {
#pragma HLS UNROLL
            const unsigned distance = CONFIG::lag + back * CONFIG::dilation;
            there[back] = seen >= distance && after <= distance;
            if (back > 0) {
                tap[back] = line[back - 1][place];
                line[back - 1][place] = tap[back - 1];
            }
        }
        const bool token_done = beat == beats - 1, over = ended || x.last, gives = seen >= behind && phase == 0;
        out_T y = MADE::of(tap, there);
        y.last = gives && token_done && over && after + stride > behind;
        if (gives)
            out.write(y);
        if (token_done) {
            if (seen >= behind)
                phase = phase == stride - 1 ? typename count<stride>::type(0) : typename count<stride>::type(phase + 1);
            if (seen != most)
                seen++;
            if (over && after != behind)
                after++;
        }
        ended = over;
        beat = token_done ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        place = place == words - 1 ? typename count<words>::type(0) : typename count<words>::type(place + 1);
        first_place = first_place == late - 1 ? typename count<late>::type(0) : typename count<late>::type(first_place + 1);
        if (y.last)
            break;
    }
}

} // namespace bitloom
#endif
