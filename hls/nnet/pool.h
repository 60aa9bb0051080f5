// SPDX-License-Identifier: Apache-2.0
// pool: what token_max and token_mean share: a sentence's tokens joined channel by channel, one vector of them given out
// Golden : hw/parts/pool.py
// Stream : token stream -> one vector of one element a beat, `last` on its final element. Two processes and a ping-pong buffer of one token: a sentence
//          of n tokens takes max(n * channels / lanes, channels) cycles, like hw/rtl/pool.sv
// POOL   : held_T, and what is joined: held_T join(held, x); factor_T, once a sentence: factor_T factor(tokens); out code(held, factor)
#ifndef BITLOOM_POOL_H_
#define BITLOOM_POOL_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class word_T, class tokens_T, class POOL, class CONFIG>
void gather(hls::stream<in_T> &in, word_T bank[CONFIG::channels / in_T::size], hls::stream<tokens_T> &tokens) {
    static const unsigned beats = CONFIG::channels / in_T::size;
#pragma HLS DEPENDENCE variable=bank type=inter direction=RAW distance=beats true
    typename count<beats>::type beat = 0;
    tokens_T taken = 0;
    word_T latest; // of one beat a token, what is joined next
gather:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T x = in.read();
        const word_T held = beats == 1 ? latest : bank[beat];
        word_T joined;
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            joined[e] = taken == 0 ? typename POOL::held_T(x.data[e]) : POOL::join(held[e], x.data[e]);
        }
        bank[beat] = joined;
        latest = joined;
        if (beat == beats - 1)
            taken++;
        beat = beat == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        if (x.last)
            break;
    }
    tokens.write(taken);
}

template <class word_T, class out_T, class tokens_T, class POOL, class CONFIG>
void give_one(word_T bank[CONFIG::channels / word_T::size], hls::stream<tokens_T> &tokens, hls::stream<out_T> &out) {
    const typename POOL::factor_T factor = POOL::factor(tokens.read());
    typename count<word_T::size>::type lane = 0;
    typename count<CONFIG::channels / word_T::size>::type beat = 0;
give_one:
    for (unsigned i = 0; i < CONFIG::channels; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const word_T word = bank[beat];
        out_T y;
        y.data[0] = POOL::code(word[lane], factor);
        y.last = i == CONFIG::channels - 1;
        out.write(y);
        const bool word_done = lane == word_T::size - 1;
        lane = word_done ? typename count<word_T::size>::type(0) : typename count<word_T::size>::type(lane + 1);
        if (word_done && !y.last)
            beat++;
    }
}

template <class in_T, class out_T, class POOL, class CONFIG> void pool(hls::stream<in_T> &in, hls::stream<out_T> &out) {
#pragma HLS INLINE
    typedef nnet::array<typename POOL::held_T, in_T::size> word_T;
    typedef typename count<CONFIG::max_tokens + 1>::type tokens_T;
    hls::stream<tokens_T> tokens("tokens");
#pragma HLS STREAM variable=tokens depth=2
    word_T bank[CONFIG::channels / in_T::size];
#pragma HLS AGGREGATE variable=bank
#pragma HLS BIND_STORAGE variable=bank type=ram_s2p impl=lutram
    gather<in_T, word_T, tokens_T, POOL, CONFIG>(in, bank, tokens);
    give_one<word_T, out_T, tokens_T, POOL, CONFIG>(bank, tokens, out);
}

} // namespace bitloom
#endif
