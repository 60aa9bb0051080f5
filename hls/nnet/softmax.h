// SPDX-License-Identifier: Apache-2.0
// softmax: e = E[max - x], S = sum e, r = floor(2**k / S), p = clip((e r + 2**(n-1)) >> n)
// Golden : hw/ops/softmax.py (bit-exact)
// Stream : row stream -> row stream, each lane a row of its own; four processes, each on a row of its own: largest code, exponentials and sum, reciprocal, products.
//          In steady state a row takes max(its length, cycles of the divider)
#ifndef BITLOOM_SOFTMAX_H_
#define BITLOOM_SOFTMAX_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class CONFIG> void largest(hls::stream<in_T> &in, hls::stream<in_T> &held, hls::stream<nnet::array<typename in_T::value_type, in_T::size>> &top) {
    nnet::array<typename in_T::value_type, in_T::size> high;
#pragma HLS ARRAY_PARTITION variable=high.data complete
    bool starts = true;
largest:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T x = in.read();
        for (unsigned l = 0; l < in_T::size; l++) {
#pragma HLS UNROLL
            if (starts || x.data[l] > high[l])
                high[l] = x.data[l];
        }
        held.write(x);
        if (x.last)
            top.write(high);
        starts = x.last;
        if (ends(x))
            break;
    }
}

template <class in_T, class e_T, class sum_T, class CONFIG>
void exponentials(hls::stream<in_T> &held, hls::stream<nnet::array<typename in_T::value_type, in_T::size>> &top, hls::stream<e_T> &terms, hls::stream<sum_T> &sums,
                  const typename CONFIG::exp_table_t exp_table[CONFIG::n_exp_table]) {
    nnet::array<typename in_T::value_type, in_T::size> high;
#pragma HLS ARRAY_PARTITION variable=high.data complete
    sum_T sum;
#pragma HLS ARRAY_PARTITION variable=sum.data.data complete
    bool starts = true;
exponentials:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (starts)
            high = top.read();
        const in_T x = held.read();
        e_T e;
        for (unsigned l = 0; l < in_T::size; l++) {
#pragma HLS UNROLL
            const ap_uint<width<typename in_T::value_type>::value> below = high[l] - x.data[l];
            e.data[l] = exp_table[below];
            sum.data[l] = (starts ? typename sum_T::value_type(0) : sum.data[l]) + e.data[l];
        }
        mark_like(x, e);
        terms.write(e);
        sum.last = ends(x);
        if (x.last)
            sums.write(sum);
        starts = x.last;
        if (ends(x))
            break;
    }
}

template <class sum_T, class recip_T, class CONFIG, class K> void reciprocals(hls::stream<sum_T> &sums, hls::stream<recip_T> &recips, K k) {
reciprocals:
    for (unsigned i = 0; i < CONFIG::max_tokens * CONFIG::heads; i++) {
        const sum_T sum = sums.read();
        const ap_uint<CONFIG::recip_bits + 1> one = power_of_two<CONFIG>(k);
        recip_T made;
        for (unsigned l = 0; l < sum_T::size; l++) {
#pragma HLS UNROLL
            made[l] = one / sum.data[l];
        }
        recips.write(made);
        if (sum.last)
            break;
    }
}

template <class e_T, class recip_T, class out_T, class CONFIG, class ROUNDS>
void normalise(hls::stream<e_T> &terms, hls::stream<recip_T> &recips, hls::stream<out_T> &out, ROUNDS rounds) {
    recip_T recip;
#pragma HLS ARRAY_PARTITION variable=recip.data complete
    bool starts = true;
normalise:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (starts)
            recip = recips.read();
        const e_T e = terms.read();
        out_T p;
        for (unsigned l = 0; l < out_T::size; l++) {
#pragma HLS UNROLL
            const ap_int<width<typename e_T::value_type>::value + CONFIG::recip_width + 1> scaled = e.data[l] * recip[l];
            p.data[l] = rounded<typename out_T::value_type, CONFIG>(scaled, rounds);
        }
        mark_like(e, p);
        out.write(p);
        starts = e.last;
        if (ends(e))
            break;
    }
}

template <class in_T, class out_T, class CONFIG, class ROUNDS, class K>
void probabilities(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::exp_table_t exp_table[CONFIG::n_exp_table], ROUNDS rounds,
                   K k) {
#pragma HLS INLINE
    typedef row_beat<typename CONFIG::exp_table_t, in_T::size> e_T;
    typedef beat<ap_uint<CONFIG::sum_bits>, in_T::size> sum_T;
    typedef nnet::array<ap_uint<CONFIG::recip_width>, in_T::size> recip_T;
    typedef nnet::array<typename in_T::value_type, in_T::size> top_T;
    const unsigned rows = 2 * CONFIG::max_tokens;
    hls::stream<in_T> held("held");
    hls::stream<top_T> top("top");
    hls::stream<e_T> terms("terms");
    hls::stream<sum_T> sums("sums");
    hls::stream<recip_T> recips("recips");
#pragma HLS STREAM variable=held depth=rows
#pragma HLS STREAM variable=top depth=2
#pragma HLS STREAM variable=terms depth=rows
#pragma HLS STREAM variable=sums depth=2
#pragma HLS STREAM variable=recips depth=2
    largest<in_T, CONFIG>(in, held, top);
    exponentials<in_T, e_T, sum_T, CONFIG>(held, top, terms, sums, exp_table);
    reciprocals<sum_T, recip_T, CONFIG>(sums, recips, k);
    normalise<e_T, recip_T, out_T, CONFIG>(terms, recips, out, rounds);
}

template <class in_T, class out_T, class CONFIG>
void softmax(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::exp_table_t exp_table[CONFIG::n_exp_table]) {
#pragma HLS DATAFLOW
    probabilities<in_T, out_T, CONFIG>(in, out, exp_table, alike(), alike());
}

// By turn: recips = {k beyond CONFIG::recip_least}
template <class in_T, class out_T, class CONFIG>
void softmax(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::exp_table_t exp_table[CONFIG::n_exp_table],
             const typename CONFIG::rounds_t rounds[CONFIG::n_rounds], const typename CONFIG::recips_t recips[CONFIG::n_recips]) {
#pragma HLS DATAFLOW
    probabilities<in_T, out_T, CONFIG>(in, out, exp_table, rounds, recips);
}

} // namespace bitloom
#endif
