// SPDX-License-Identifier: Apache-2.0
// linear: acc = W x + b, exact, as an MVAU folded by PE x SIMD
// Golden : hw/ops/linear.py (bit-exact)
// Stream : token (or one-vector) stream -> token stream of accumulators; a token takes max(in_features / lanes in,
//          out_features / pe * max(in_features / simd, pe / lanes out)) cycles, like hw/rtl/linear.sv
// Layout : weight[((fold * steps + step) * pe + p) * simd + s] of channel fold * pe + p and input step * simd + s: one ROM word a cycle.
//          One-bit weights: 0 is -1, 1 is +1
#ifndef BITLOOM_LINEAR_H_
#define BITLOOM_LINEAR_H_

#include "beat.h"

namespace bitloom {

// One step of one fold: pe sums grow by simd products each. word: of the weight memory.
template <class acc_T, class x_T, class CONFIG>
void multiply_add(acc_T acc[CONFIG::pe], const x_T &x, bool starts, unsigned fold, unsigned word, const typename CONFIG::weight_t *weight,
                  const typename CONFIG::bias_t *bias) {
#pragma HLS INLINE
    for (unsigned p = 0; p < CONFIG::pe; p++) {
#pragma HLS UNROLL
        acc_T sum = starts ? acc_T(bias[fold * CONFIG::pe + p]) : acc[p];
        for (unsigned s = 0; s < CONFIG::simd; s++) {
#pragma HLS UNROLL
            sum += product(weight[(word * CONFIG::pe + p) * CONFIG::simd + s], x[s]);
        }
        acc[p] = sum;
    }
}

template <class in_T, class out_T, class CONFIG>
void mvau(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::weight_t weight[CONFIG::n_weight],
          const typename CONFIG::bias_t bias[CONFIG::n_bias]) {
    static const unsigned steps = CONFIG::in_features / CONFIG::simd, folds = CONFIG::out_features / CONFIG::pe;
    const unsigned weight_words = CONFIG::pe * CONFIG::simd, bias_words = CONFIG::pe;
#pragma HLS ARRAY_RESHAPE variable=weight cyclic factor=weight_words
#pragma HLS ARRAY_RESHAPE variable=bias cyclic factor=bias_words
    if (CONFIG::block_ram) {
#pragma HLS BIND_STORAGE variable=weight type=rom_1p impl=bram
    }
    in_T token[steps]; // filled in the first fold, read again in the others
#pragma HLS AGGREGATE variable=token
#pragma HLS BIND_STORAGE variable=token type=ram_s2p impl=lutram
#pragma HLS DEPENDENCE variable=token type=inter direction=RAW distance=steps true
    out_T acc;
#pragma HLS ARRAY_PARTITION variable=acc.data.data complete
    typename count<steps>::type step = 0;
    typename count<folds>::type fold = 0;
    typename count<folds * steps>::type word = 0;
mvau:
    for (unsigned i = 0; i < CONFIG::max_tokens * folds * steps; i++) {
#pragma HLS PIPELINE II=1 style=flp
        in_T x;
        if (fold == 0) {
            x = in.read();
            token[step] = x;
        } else {
            x = token[step];
        }
        multiply_add<typename out_T::value_type, nnet::array<typename in_T::value_type, CONFIG::simd>, CONFIG>(acc.data.data, x.data, step == 0, fold,
                                                                                                               word, weight, bias);
        const bool token_done = step == steps - 1 && fold == folds - 1;
        if (step == steps - 1) {
            acc.last = x.last && fold == folds - 1;
            out.write(acc);
            fold = fold == folds - 1 ? typename count<folds>::type(0) : typename count<folds>::type(fold + 1);
        }
        step = step == steps - 1 ? typename count<steps>::type(0) : typename count<steps>::type(step + 1);
        word = token_done ? typename count<folds * steps>::type(0) : typename count<folds * steps>::type(word + 1);
        if (token_done && x.last)
            break;
    }
}

template <class in_T, class out_T, class CONFIG>
void linear(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::weight_t weight[CONFIG::n_weight],
            const typename CONFIG::bias_t bias[CONFIG::n_bias]) {
#pragma HLS DATAFLOW
    typedef beat<typename in_T::value_type, CONFIG::simd> x_T;
    typedef beat<typename out_T::value_type, CONFIG::pe> acc_T;
    const unsigned token_words = 2 * (CONFIG::in_features / CONFIG::simd);
    hls::stream<x_T> words("words");
    hls::stream<acc_T> sums("sums");
#pragma HLS STREAM variable=words depth=token_words
#pragma HLS STREAM variable=sums depth=2
    widen<in_T, x_T, CONFIG::max_tokens * CONFIG::in_features / in_T::size>(in, words);
    mvau<x_T, acc_T, CONFIG>(words, sums, weight, bias);
    narrow<acc_T, out_T, CONFIG::max_tokens * CONFIG::out_features / out_T::size>(sums, out);
}

// io_parallel: [tokens, in_features] -> [tokens, out_features]
template <class in_T, class out_T, class CONFIG>
void linear(in_T in[CONFIG::max_tokens * CONFIG::in_features], out_T out[CONFIG::max_tokens * CONFIG::out_features],
            const typename CONFIG::weight_t weight[CONFIG::n_weight], const typename CONFIG::bias_t bias[CONFIG::n_bias]) {
    static const unsigned steps = CONFIG::in_features / CONFIG::simd, folds = CONFIG::out_features / CONFIG::pe;
    const unsigned weight_words = CONFIG::pe * CONFIG::simd, bias_words = CONFIG::pe;
#pragma HLS ARRAY_RESHAPE variable=weight cyclic factor=weight_words
#pragma HLS ARRAY_RESHAPE variable=bias cyclic factor=bias_words
    for (unsigned t = 0; t < CONFIG::max_tokens; t++) {
        for (unsigned fold = 0; fold < folds; fold++) {
            out_T acc[CONFIG::pe];
            for (unsigned step = 0; step < steps; step++) {
#pragma HLS PIPELINE II=1
                multiply_add<out_T, in_T *, CONFIG>(acc, in + t * CONFIG::in_features + step * CONFIG::simd, step == 0, fold, fold * steps + step,
                                                     weight, bias);
            }
            for (unsigned p = 0; p < CONFIG::pe; p++) {
#pragma HLS UNROLL
                out[t * CONFIG::out_features + fold * CONFIG::pe + p] = acc[p];
            }
        }
    }
}

} // namespace bitloom
#endif
