// SPDX-License-Identifier: Apache-2.0
// add: y = clip((a * mult_a + b * mult_b + 2**(shift-1)) >> shift); ties towards +inf, one rounding
// Golden : hw/ops/add.py (bit-exact)
// Stream : two token streams -> token stream, II 1; beats are taken in pairs
#ifndef BITLOOM_ADD_H_
#define BITLOOM_ADD_H_

#include "beat.h"

namespace bitloom {

template <class out_T, class a_T, class b_T, class CONFIG> out_T add_code(const a_T &a, const b_T &b) {
#pragma HLS INLINE
    const ap_int<CONFIG::sum_bits> sum = a * ap_uint<CONFIG::mult_a_bits>(CONFIG::mult_a) + b * ap_uint<CONFIG::mult_b_bits>(CONFIG::mult_b);
    return rounded<out_T, CONFIG>(sum);
}

// By turn: rounds = {.., mult_b, mult_a}
template <class out_T, class a_T, class b_T, class CONFIG, class round_T> out_T add_code(const a_T &a, const b_T &b, const round_T *rounds) {
#pragma HLS INLINE
    const ap_int<CONFIG::sum_bits> sum = a * ap_uint<CONFIG::mult_a_bits>(rounds[4]) + b * ap_uint<CONFIG::mult_b_bits>(rounds[3]);
    return rounded<out_T, CONFIG>(sum, rounds);
}

template <class a_T, class b_T, class out_T, class CONFIG, class... ROUND>
void add(hls::stream<a_T> &a, hls::stream<b_T> &b, hls::stream<out_T> &out, const ROUND *...rounds) {
add:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const a_T left = a.read();
        const b_T right = b.read();
        out_T y;
        for (unsigned e = 0; e < a_T::size; e++) {
#pragma HLS UNROLL
            y.data[e] = add_code<typename out_T::value_type, typename a_T::value_type, typename b_T::value_type, CONFIG>(left.data[e], right.data[e],
                                                                                                                             rounds...);
        }
        y.last = left.last;
        out.write(y);
        if (left.last)
            break;
    }
}

// io_parallel: [n_elements]
template <class a_T, class b_T, class out_T, class CONFIG>
void add(a_T a[CONFIG::n_elements], b_T b[CONFIG::n_elements], out_T out[CONFIG::n_elements]) {
    for (unsigned i = 0; i < CONFIG::n_elements; i++) {
#pragma HLS UNROLL
        out[i] = add_code<out_T, a_T, b_T, CONFIG>(a[i], b[i]);
    }
}

} // namespace bitloom
#endif
