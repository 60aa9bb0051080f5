// SPDX-License-Identifier: Apache-2.0
// softmax: e = E[max - x], S = sum e, r = floor(2**k / S), p = clip((e r + 2**(n-1)) >> n)
// Golden : hw/ops/softmax.py (bit-exact)
// Stream : row stream -> row stream; four processes, each on a row of its own: largest code, exponentials and sum, reciprocal, products.
//          In steady state a row takes max(tokens, cycles of the divider)
#ifndef BITLOOM_SOFTMAX_H_
#define BITLOOM_SOFTMAX_H_

#include "beat.h"

namespace bitloom {

template <class in_T, class CONFIG> void largest(hls::stream<in_T> &in, hls::stream<in_T> &held, hls::stream<typename in_T::value_type> &top) {
    sentence<CONFIG::heads, CONFIG::max_tokens> read;
    typename in_T::value_type high = range<typename in_T::value_type>::low();
largest:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T x = in.read();
        if (x.data[0] > high)
            high = x.data[0];
        held.write(x);
        if (x.last) {
            top.write(high);
            high = range<typename in_T::value_type>::low();
        }
        if (read.ends(x.last))
            break;
    }
}

template <class in_T, class e_T, class sum_T, class CONFIG>
void exponentials(hls::stream<in_T> &held, hls::stream<typename in_T::value_type> &top, hls::stream<e_T> &terms, hls::stream<sum_T> &sums,
                  const typename CONFIG::exp_table_t exp_table[CONFIG::n_exp_table]) {
    sentence<CONFIG::heads, CONFIG::max_tokens> read;
    typename in_T::value_type high = 0;
    typename sum_T::value_type sum = 0;
    bool starts = true;
exponentials:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (starts)
            high = top.read();
        const in_T x = held.read();
        const ap_uint<width<typename in_T::value_type>::value> below = high - x.data[0];
        e_T e;
        e.data[0] = exp_table[below];
        e.last = x.last;
        sum = (starts ? typename sum_T::value_type(0) : sum) + e.data[0];
        terms.write(e);
        const bool done = read.ends(x.last);
        if (x.last) {
            sum_T total;
            total.data[0] = sum;
            total.last = done;
            sums.write(total);
        }
        starts = x.last;
        if (done)
            break;
    }
}

template <class sum_T, class recip_T, class CONFIG> void reciprocals(hls::stream<sum_T> &sums, hls::stream<recip_T> &recips) {
reciprocals:
    for (unsigned i = 0; i < CONFIG::max_tokens * CONFIG::heads; i++) {
        const sum_T sum = sums.read();
        const ap_uint<CONFIG::recip_bits + 1> one = ap_uint<CONFIG::recip_bits + 1>(1) << CONFIG::recip_bits;
        recips.write(recip_T(one / sum.data[0]));
        if (sum.last)
            break;
    }
}

template <class e_T, class recip_T, class out_T, class CONFIG>
void normalise(hls::stream<e_T> &terms, hls::stream<recip_T> &recips, hls::stream<out_T> &out) {
    sentence<CONFIG::heads, CONFIG::max_tokens> read;
    recip_T recip = 0;
    bool starts = true;
normalise:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (starts)
            recip = recips.read();
        const e_T e = terms.read();
        const ap_int<width<typename e_T::value_type>::value + width<recip_T>::value + 1> scaled = e.data[0] * recip;
        out_T p;
        p.data[0] = clip<typename out_T::value_type>(round_shift<CONFIG::shift>(scaled));
        p.last = e.last;
        out.write(p);
        starts = e.last;
        if (read.ends(e.last))
            break;
    }
}

template <class in_T, class out_T, class CONFIG>
void softmax(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::exp_table_t exp_table[CONFIG::n_exp_table]) {
#pragma HLS DATAFLOW
    typedef beat<typename CONFIG::exp_table_t, 1> e_T;
    typedef beat<ap_uint<CONFIG::sum_bits>, 1> sum_T;
    typedef ap_uint<CONFIG::recip_width> recip_T;
    const unsigned rows = 2 * CONFIG::max_tokens;
    hls::stream<in_T> held("held");
    hls::stream<typename in_T::value_type> top("top");
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
    reciprocals<sum_T, recip_T, CONFIG>(sums, recips);
    normalise<e_T, recip_T, out_T, CONFIG>(terms, recips, out);
}

} // namespace bitloom
#endif
