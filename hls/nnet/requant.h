// SPDX-License-Identifier: Apache-2.0
// requant: y = clip((acc * mult + 2**(shift-1)) >> shift); ties towards +inf
// Golden : hw/ops/requant.py (bit-exact)
// Stream : any stream -> the same kind, II 1; mult per channel (n_mult = channels) or one for the tensor (n_mult = 1)
#ifndef BITLOOM_REQUANT_H_
#define BITLOOM_REQUANT_H_

#include "beat.h"

namespace bitloom {

template <class out_T, class acc_T, class CONFIG, class... ROUND>
out_T requant_code(const acc_T &acc, const typename CONFIG::mult_t &mult, const ROUND *...rounds) {
#pragma HLS INLINE
    const ap_int<width<acc_T>::value + width<typename CONFIG::mult_t>::value + 1> scaled = acc * mult;
    return rounded<out_T, CONFIG>(scaled, rounds...);
}

template <class in_T, class out_T, class CONFIG, class... ROUND>
void requant(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::mult_t mult[CONFIG::n_mult], const ROUND *...rounds) {
    static const unsigned beats = CONFIG::n_mult > 1 ? CONFIG::n_mult / in_T::size : 1; // of a token
    const unsigned lanes = CONFIG::n_mult > 1 ? in_T::size : 1;
#pragma HLS ARRAY_RESHAPE variable=mult cyclic factor=lanes
    typename count<beats>::type word = 0;
requant:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T acc = in.read();
        out_T y;
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            y.data[e] = requant_code<typename out_T::value_type, typename in_T::value_type, CONFIG>(
                acc.data[e], mult[CONFIG::n_mult > 1 ? unsigned(word * in_T::size + e) : 0], rounds...);
        }
        mark_like(acc, y);
        out.write(y);
        word = word == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(word + 1);
        if (ends(acc))
            break;
    }
}

// io_parallel: [n_elements], channels innermost
template <class in_T, class out_T, class CONFIG>
void requant(in_T in[CONFIG::n_elements], out_T out[CONFIG::n_elements], const typename CONFIG::mult_t mult[CONFIG::n_mult]) {
    for (unsigned i = 0; i < CONFIG::n_elements; i++) {
#pragma HLS UNROLL
        out[i] = requant_code<out_T, in_T, CONFIG>(in[i], mult[i % CONFIG::n_mult]);
    }
}

} // namespace bitloom
#endif
