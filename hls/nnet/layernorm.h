// SPDX-License-Identifier: Apache-2.0
// layernorm: d = H x - S1, s = isqrt(H S2 - S1**2 + eps), R = floor(2**k / s), u = (d R + half(k-F)) >> (k-F),
//            y = clip((u gamma + beta + half(n)) >> n)
// Golden : hw/ops/layernorm.py (bit-exact; S1, S2 are the sums of x and of its squares over the H = features channels)
// Layout : a token has `channels` elements; behind its H channels come zeros, whose gamma and beta are 0
// Stream : token stream -> token stream; three processes, each on a token of its own: sums, root and reciprocal, scaling.
//          In steady state a token takes max(H / lanes, digits of root and quotient)
#ifndef BITLOOM_LAYERNORM_H_
#define BITLOOM_LAYERNORM_H_

#include "beat.h"

namespace bitloom {

template <class CONFIG> struct moments { // of a token
    ap_int<CONFIG::sum_bits> total;
    ap_uint<CONFIG::variance_bits> variance; // H**2 times it
    bool last;
};
template <class CONFIG> struct rescale {
    ap_int<CONFIG::sum_bits> total;
    ap_uint<CONFIG::recip_width> recip;
};

// floor(sqrt(v)), a digit a cycle.
template <int W> ap_uint<(W + 1) / 2> isqrt(const ap_uint<W> &v) {
    ap_uint<(W + 1) / 2> root = 0;
    ap_uint<(W + 1) / 2 + 2> rest = 0;
isqrt:
    for (int digit = (W + 1) / 2 - 1; digit >= 0; digit--) {
#pragma HLS PIPELINE II=1
        const ap_uint<2> next = v >> (2 * digit);
        const ap_uint<(W + 1) / 2 + 3> grown = (ap_uint<(W + 1) / 2 + 3>(rest) << 2) | next;
        const ap_uint<(W + 1) / 2 + 3> trial = (ap_uint<(W + 1) / 2 + 3>(root) << 2) | 1;
        root = (root << 1) | ap_uint<1>(grown >= trial);
        rest = grown >= trial ? ap_uint<(W + 1) / 2 + 3>(grown - trial) : grown;
    }
    return root;
}

template <class in_T, class CONFIG> void sums(hls::stream<in_T> &in, hls::stream<in_T> &held, hls::stream<moments<CONFIG>> &out) {
    static const unsigned beats = CONFIG::channels / in_T::size;
    typename count<beats>::type word = 0;
    ap_int<CONFIG::sum_bits> total = 0;
    ap_uint<CONFIG::square_bits> squares = 0;
sums:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const in_T x = in.read();
        held.write(x);
        if (word == 0) {
            total = 0;
            squares = 0;
        }
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            total += x.data[e];
            squares += x.data[e] * x.data[e];
        }
        if (word == beats - 1) {
            moments<CONFIG> made;
            made.total = total;
            made.variance = ap_uint<CONFIG::size_bits>(CONFIG::features) * squares - total * total;
            made.last = x.last;
            out.write(made);
        }
        word = word == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(word + 1);
        if (x.last)
            break;
    }
}

// eps and k of CONFIG; or by turn, roots = {eps, k beyond CONFIG::recip_least}
template <class CONFIG> ap_uint<CONFIG::recip_width> reciprocal_root(const ap_uint<CONFIG::variance_bits> &variance, alike roots = alike()) {
    const ap_uint<CONFIG::variance_bits> sum = variance + ap_uint<CONFIG::eps_bits>(CONFIG::eps);
    return power_of_two<CONFIG>(roots) / isqrt(sum);
}
template <class CONFIG, class root_T> ap_uint<CONFIG::recip_width> reciprocal_root(const ap_uint<CONFIG::variance_bits> &variance, const root_T *roots) {
    const ap_uint<CONFIG::variance_bits> sum = variance + ap_uint<CONFIG::eps_bits>(roots[0]);
    return power_of_two<CONFIG>(roots + 1) / isqrt(sum);
}

template <class CONFIG, class ROOTS> void reciprocal_roots(hls::stream<moments<CONFIG>> &in, hls::stream<rescale<CONFIG>> &out, ROOTS roots) {
reciprocal_roots:
    for (unsigned i = 0; i < CONFIG::max_tokens; i++) {
        const moments<CONFIG> got = in.read();
        rescale<CONFIG> made;
        made.total = got.total;
        made.recip = reciprocal_root<CONFIG>(got.variance, roots);
        out.write(made);
        if (got.last)
            break;
    }
}

// d R by the fraction bits that it has too many, as CONFIG says, or by turn, rounds = {.., k beyond CONFIG::recip_least}
template <class CONFIG, int W> ap_int<CONFIG::u_bits> normal(const ap_int<W> &scaled, alike) {
#pragma HLS INLINE
    return round_shift<CONFIG::recip_bits - CONFIG::frac_bits>(scaled);
}
template <class CONFIG, int W, class round_T> ap_int<CONFIG::u_bits> normal(const ap_int<W> &scaled, const round_T *rounds) {
#pragma HLS INLINE
    return round_shift<CONFIG::recip_least - CONFIG::frac_bits, CONFIG::recip_bits - CONFIG::recip_least>(scaled, rounds[3]);
}

template <class out_T, class in_T, class CONFIG, class ROUNDS>
out_T normal_code(const in_T &x, const ap_int<CONFIG::sum_bits> &total, const ap_uint<CONFIG::recip_width> &recip,
                  const typename CONFIG::gamma_t &gamma, const typename CONFIG::beta_t &beta, ROUNDS rounds) {
#pragma HLS INLINE
    const ap_int<CONFIG::sum_bits + 1> d = ap_uint<CONFIG::size_bits>(CONFIG::features) * x - total;
    const ap_int<CONFIG::sum_bits + CONFIG::recip_width + 2> scaled = d * recip;
    const ap_int<CONFIG::affine_bits> y = normal<CONFIG>(scaled, rounds) * gamma + beta;
    return rounded<out_T, CONFIG>(y, rounds);
}

template <class in_T, class out_T, class CONFIG, class ROUNDS>
void scale(hls::stream<in_T> &held, hls::stream<rescale<CONFIG>> &recips, hls::stream<out_T> &out, const typename CONFIG::gamma_t gamma[CONFIG::n_gamma],
           const typename CONFIG::beta_t beta[CONFIG::n_beta], ROUNDS rounds) {
    static const unsigned beats = CONFIG::channels / in_T::size;
    const unsigned lanes = in_T::size;
#pragma HLS ARRAY_RESHAPE variable=gamma cyclic factor=lanes
#pragma HLS ARRAY_RESHAPE variable=beta cyclic factor=lanes
    typename count<beats>::type word = 0;
    rescale<CONFIG> token;
scale:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        if (word == 0)
            token = recips.read();
        const in_T x = held.read();
        out_T y;
        for (unsigned e = 0; e < in_T::size; e++) {
#pragma HLS UNROLL
            const unsigned channel = word * in_T::size + e;
            y.data[e] = normal_code<typename out_T::value_type, typename in_T::value_type, CONFIG>(x.data[e], token.total, token.recip, gamma[channel],
                                                                                                   beta[channel], rounds);
        }
        y.last = x.last;
        out.write(y);
        word = word == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(word + 1);
        if (x.last)
            break;
    }
}

template <class in_T, class out_T, class CONFIG, class ROUNDS, class ROOTS>
void normal_tokens(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::gamma_t gamma[CONFIG::n_gamma],
                   const typename CONFIG::beta_t beta[CONFIG::n_beta], ROUNDS rounds, ROOTS roots) {
#pragma HLS INLINE
    const unsigned held_beats = 4 * (CONFIG::channels / in_T::size);
    hls::stream<in_T> held("held");
    hls::stream<moments<CONFIG>> found("moments");
    hls::stream<rescale<CONFIG>> recips("recips");
#pragma HLS STREAM variable=held depth=held_beats
#pragma HLS STREAM variable=found depth=2
#pragma HLS STREAM variable=recips depth=2
    sums<in_T, CONFIG>(in, held, found);
    reciprocal_roots<CONFIG>(found, recips, roots);
    scale<in_T, out_T, CONFIG>(held, recips, out, gamma, beta, rounds);
}

template <class in_T, class out_T, class CONFIG>
void layernorm(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::gamma_t gamma[CONFIG::n_gamma],
               const typename CONFIG::beta_t beta[CONFIG::n_beta]) {
#pragma HLS DATAFLOW
    normal_tokens<in_T, out_T, CONFIG>(in, out, gamma, beta, alike(), alike());
}

// By turn
template <class in_T, class out_T, class CONFIG>
void layernorm(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::gamma_t gamma[CONFIG::n_gamma],
               const typename CONFIG::beta_t beta[CONFIG::n_beta], const typename CONFIG::roots_t roots[CONFIG::n_roots],
               const typename CONFIG::rounds_t rounds[CONFIG::n_rounds]) {
#pragma HLS DATAFLOW
    normal_tokens<in_T, out_T, CONFIG>(in, out, gamma, beta, rounds, roots);
}

// io_parallel: [tokens, channels]
template <class in_T, class out_T, class CONFIG>
void layernorm(in_T in[CONFIG::max_tokens * CONFIG::channels], out_T out[CONFIG::max_tokens * CONFIG::channels],
               const typename CONFIG::gamma_t gamma[CONFIG::n_gamma], const typename CONFIG::beta_t beta[CONFIG::n_beta]) {
    for (unsigned t = 0; t < CONFIG::max_tokens; t++) {
        const in_T *x = in + t * CONFIG::channels;
        ap_int<CONFIG::sum_bits> total = 0;
        ap_uint<CONFIG::square_bits> squares = 0;
        for (unsigned c = 0; c < CONFIG::channels; c++) {
#pragma HLS UNROLL
            total += x[c];
            squares += x[c] * x[c];
        }
        const ap_uint<CONFIG::variance_bits> variance = ap_uint<CONFIG::size_bits>(CONFIG::features) * squares - total * total;
        const ap_uint<CONFIG::recip_width> recip = reciprocal_root<CONFIG>(variance);
        for (unsigned c = 0; c < CONFIG::channels; c++) {
#pragma HLS UNROLL
            out[t * CONFIG::channels + c] = normal_code<out_T, in_T, CONFIG>(x[c], total, recip, gamma[c], beta[c], alike());
        }
    }
}

} // namespace bitloom
#endif
