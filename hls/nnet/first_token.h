// SPDX-License-Identifier: Apache-2.0
// first_token: the sentence's first token; the others are dropped
// Golden : hw/ops/first_token.py (bit-exact)
// Stream : token stream -> one vector of one element a beat, `last` on its final element
#ifndef BITLOOM_FIRST_TOKEN_H_
#define BITLOOM_FIRST_TOKEN_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class out_T, class CONFIG> void first_token(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    in_T word;
    typename count<in_T::size>::type lane = 0;
first_token:
    for (unsigned i = 0; i < CONFIG::channels; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (lane == 0)
            word = in.read();
        out_T made;
        made.data[0] = word.data[lane];
        made.last = i == CONFIG::channels - 1;
        out.write(made);
        lane = lane == in_T::size - 1 ? typename count<in_T::size>::type(0) : typename count<in_T::size>::type(lane + 1);
    }
    bool more = !word.last;
drop:
    for (unsigned i = 0; i < (CONFIG::max_tokens - 1) * CONFIG::channels / in_T::size; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (!more)
            break;
        more = !in.read().last;
    }
}

} // namespace bitloom
#endif
