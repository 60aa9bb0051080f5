// SPDX-License-Identifier: Apache-2.0
// beat: what moves over the streams between the operators of an encoder, and the arithmetic that they share.
// Stream : a token stream has N elements a beat, tokens in order, `last` on the final beat of a sentence (of a one-vector stream: of the vector).
//          A row stream (scores, probabilities) has an element of each head side by side a beat, order token i, heads, token j over the keys that i sees;
//          `last` ends each row, `end` with it the sentence. One call of an operator works on one sentence.
// Outside: AXI4-Stream, hls::axis<nnet::array<ap_int<8 k>, N>>: elements extended to whole bytes, lane 0 lowest, TLAST ends the sentence.
// Pragmas: PIPELINE style=flp, so that a pipeline that waits for input still gives out what it holds (a stalled one could block a residual sum).
#ifndef BITLOOM_BEAT_H_
#define BITLOOM_BEAT_H_

#include "ap_int.h"
#include "hls_stream.h"
#include "nnet_types.h"

#if defined(__has_include)
#if __has_include("ap_axi_sdata.h")
#define BITLOOM_HAS_AXI_SDATA
#endif
#endif
#ifdef BITLOOM_HAS_AXI_SDATA
#include "ap_axi_sdata.h"
#else
// C simulation without Vitis, which brings this header: the part of it that is used here.
namespace hls {
template <class T, int USER, int ID, int DEST> struct axis {
    T data;
    ap_uint<1> last;
    ap_uint<sizeof(T)> keep, strb;
};
} // namespace hls
#endif

namespace bitloom {

template <class T, unsigned N> struct beat {
    typedef T value_type;
    static const unsigned size = N;
    nnet::array<T, N> data;
    bool last;
};

template <class T, unsigned N> struct row_beat {
    typedef T value_type;
    static const unsigned size = N;
    nnet::array<T, N> data;
    bool last, end;
};

// The end of a sentence; the marks of another beat.
template <class T, unsigned N> bool ends(const beat<T, N> &got) {
#pragma HLS INLINE
    return got.last;
}
template <class T, unsigned N> bool ends(const row_beat<T, N> &got) {
#pragma HLS INLINE
    return got.end;
}
template <class in_T, class T, unsigned N> void mark_like(const in_T &got, beat<T, N> &made) {
#pragma HLS INLINE
    made.last = got.last;
}
template <class in_T, class T, unsigned N> void mark_like(const in_T &got, row_beat<T, N> &made) {
#pragma HLS INLINE
    made.last = got.last;
    made.end = got.end;
}

// Bits of a counter that holds 0 .. N-1.
template <unsigned N> struct count_bits {
    static const int value = 1 + count_bits<(N + 1) / 2>::value;
};
template <> struct count_bits<2> {
    static const int value = 1;
};
template <> struct count_bits<1> {
    static const int value = 1;
};
template <unsigned N> struct count {
    typedef ap_uint<count_bits<N>::value> type;
};

template <class T> struct width;
template <int W> struct width<ap_int<W>> {
    static const int value = W;
};
template <int W> struct width<ap_uint<W>> {
    static const int value = W;
};

// The smallest and the largest code of a type.
template <class T> struct range;
template <int W> struct range<ap_int<W>> {
    static ap_int<W> high() { return ~(ap_int<W>(1) << (W - 1)); }
    static ap_int<W> low() { return ap_int<W>(1) << (W - 1); }
};
template <int W> struct range<ap_uint<W>> {
    static ap_uint<W> high() { return ~ap_uint<W>(0); }
    static ap_uint<W> low() { return 0; }
};

// floor(v / 2**SHIFT + 1/2): ties towards +inf (docs/numerics.md). The sum has room for the rounding term, which a long shift makes the larger one.
template <int SHIFT, int W> ap_int<(W > SHIFT ? W : SHIFT) + 1> round_shift(const ap_int<W> &v) {
#pragma HLS INLINE
    typedef ap_int<(W > SHIFT ? W : SHIFT) + 1> sum_T;
    sum_T rounding = 0;
    if (SHIFT > 0)
        rounding[SHIFT > 0 ? SHIFT - 1 : 0] = 1;
    return sum_T(v + rounding) >> SHIFT;
}

// Saturates to the range of OUT.
template <class OUT, int W> OUT clip(const ap_int<W> &v) {
#pragma HLS INLINE
    if (v > range<OUT>::high())
        return range<OUT>::high();
    if (v < range<OUT>::low())
        return range<OUT>::low();
    return OUT(v);
}

// The same where the shift differs from turn to turn: LEAST + more, with 0 <= more <= MORE.
template <int LEAST, int MORE, int W, class more_T> ap_int<(W > LEAST + MORE ? W : LEAST + MORE) + 1> round_shift(const ap_int<W> &v, const more_T &more) {
#pragma HLS INLINE
    typedef ap_int<(W > LEAST + MORE ? W : LEAST + MORE) + 1> sum_T;
    const int shift = LEAST + int(more);
    sum_T rounding = 0;
    if (shift > 0)
        rounding[shift - 1] = 1;
    return sum_T(v + rounding) >> shift;
}

// clip(round_shift(v)) with CONFIG's shift and the range of OUT; or with the limits and the shift of a turn, rounds = {least code, largest code, shift
// beyond CONFIG::shift, ...}. An operator of layers that are used in turn gets the memories of the turn that it is in.
struct alike {}; // in the place of such a memory where there is one turn
template <class OUT, class CONFIG, int W> OUT rounded(const ap_int<W> &v, alike = alike()) {
#pragma HLS INLINE
    return clip<OUT>(round_shift<CONFIG::shift>(v));
}
template <class OUT, class CONFIG, int W, class round_T> OUT rounded(const ap_int<W> &v, const round_T *rounds) {
#pragma HLS INLINE
    const ap_int<(W > CONFIG::shift + CONFIG::more ? W : CONFIG::shift + CONFIG::more) + 1> y = round_shift<CONFIG::shift, CONFIG::more>(v, rounds[2]);
    if (y > rounds[1])
        return OUT(rounds[1]);
    if (y < rounds[0])
        return OUT(rounds[0]);
    return OUT(y);
}

// 2**k of a reciprocal: k = CONFIG::recip_bits, or by turn CONFIG::recip_least + k[0].
template <class CONFIG> ap_uint<CONFIG::recip_bits + 1> power_of_two(alike) {
#pragma HLS INLINE
    return ap_uint<CONFIG::recip_bits + 1>(1) << CONFIG::recip_bits;
}
template <class CONFIG, class k_T> ap_uint<CONFIG::recip_bits + 1> power_of_two(const k_T *k) {
#pragma HLS INLINE
    return ap_uint<CONFIG::recip_bits + 1>(1) << (CONFIG::recip_least + int(k[0]));
}

// SIMD elements in one word from beats of fewer.
template <class in_T, class out_T, unsigned MAX_BEATS> void widen(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    static const unsigned lanes = in_T::size, parts = out_T::size / in_T::size;
    out_T word;
    typename count<parts>::type part = 0;
widen:
    for (unsigned i = 0; i < MAX_BEATS; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T got = in.read();
        for (unsigned e = 0; e < out_T::size - lanes; e++) { // a shift register: the first beat ends up in the lowest lanes
#pragma HLS UNROLL
            word.data[e] = word.data[e + lanes];
        }
        for (unsigned e = 0; e < lanes; e++) {
#pragma HLS UNROLL
            word.data[out_T::size - lanes + e] = got.data[e];
        }
        word.last = got.last;
        if (part == parts - 1)
            out.write(word);
        part = part == parts - 1 ? typename count<parts>::type(0) : typename count<parts>::type(part + 1);
        if (got.last)
            break;
    }
}

// Beats of fewer elements from wide words.
template <class in_T, class out_T, unsigned MAX_BEATS> void narrow(hls::stream<in_T> &in, hls::stream<out_T> &out) {
    static const unsigned lanes = out_T::size, parts = in_T::size / out_T::size;
    in_T word;
    typename count<parts>::type part = 0;
narrow:
    for (unsigned i = 0; i < MAX_BEATS; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (part == 0)
            word = in.read();
        out_T made;
        for (unsigned e = 0; e < lanes; e++) {
#pragma HLS UNROLL
            made.data[e] = word.data[e];
        }
        for (unsigned e = 0; e < in_T::size - lanes; e++) {
#pragma HLS UNROLL
            word.data[e] = word.data[e + lanes];
        }
        made.last = word.last && part == parts - 1;
        out.write(made);
        part = part == parts - 1 ? typename count<parts>::type(0) : typename count<parts>::type(part + 1);
        if (made.last)
            break;
    }
}

// The product of a weight code and an activation code; a weight of one bit stands for -1 and +1.
template <int W, class X> ap_int<W + width<X>::value + 1> product(const ap_int<W> &weight, const X &x) {
#pragma HLS INLINE
    return weight * x;
}
template <class X> ap_int<width<X>::value + 1> product(const ap_uint<1> &weight, const X &x) {
#pragma HLS INLINE
    const ap_int<width<X>::value + 1> value = x;
    return weight ? value : ap_int<width<X>::value + 1>(-value);
}

} // namespace bitloom
#endif
