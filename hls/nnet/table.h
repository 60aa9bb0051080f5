// SPDX-License-Identifier: Apache-2.0
// table: y = table[x - xmin], any function of one code of up to 10 bits
// Golden : hw/ops/table.py (bit-exact)
// Stream : any token stream -> the same kind, II 1
#ifndef BITLOOM_TABLE_H_
#define BITLOOM_TABLE_H_

#include "beat.h"

namespace bitloom {

// The place of a code in a table that begins at the smallest one.
template <int W> ap_uint<W> table_index(const ap_int<W> &x) {
#pragma HLS INLINE
    return ap_uint<W>(x) ^ (ap_uint<W>(1) << (W - 1));
}
template <int W> ap_uint<W> table_index(const ap_uint<W> &x) {
#pragma HLS INLINE
    return x;
}

template <class in_T, class out_T, class CONFIG>
void table(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::table_t table[CONFIG::n_table]) {
table:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T x = in.read();
        out_T y;
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            y.data[e] = table[table_index(x.data[e])];
        }
        y.last = x.last;
        out.write(y);
        if (x.last)
            break;
    }
}

// io_parallel: [n_elements]
template <class in_T, class out_T, class CONFIG>
void table(in_T in[CONFIG::n_elements], out_T out[CONFIG::n_elements], const typename CONFIG::table_t table[CONFIG::n_table]) {
    for (unsigned i = 0; i < CONFIG::n_elements; i++) {
#pragma HLS UNROLL
        out[i] = table[table_index(in[i])];
    }
}

} // namespace bitloom
#endif
