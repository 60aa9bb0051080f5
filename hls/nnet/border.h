// SPDX-License-Identifier: Apache-2.0
// border: how many tokens the first sentence of a pair has: those in front of the first token whose lowest bit (of channel 0) is set, else all
// Golden : hw/ops/border.py (bit-exact)
// Stream : token stream of marked sums -> one number a sentence, as soon as it is known; II 1
#ifndef BITLOOM_BORDER_H_
#define BITLOOM_BORDER_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class out_T, class CONFIG> void border(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    static const unsigned beats = CONFIG::channels / in_T::size;
    typedef typename out_T::value_type tokens_T;
    typename count<beats>::type beat = 0;
    tokens_T tokens = 0; // whole ones
    bool told = false;
border:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T x = in.read();
        const bool begins = beat == 0 && x.data[0][0];
        out_T y;
        y.data[0] = begins ? tokens : tokens_T(tokens + 1);
        y.last = true;
        if (!told && (begins || x.last))
            out.write(y);
        told = told || begins;
        if (beat == beats - 1)
            tokens++;
        beat = beat == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
        if (x.last)
            break;
    }
}

} // namespace bitloom
#endif
