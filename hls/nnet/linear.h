// SPDX-License-Identifier: Apache-2.0
// linear: acc = W x + b, exact, as an MVAU folded by PE x SIMD
// Golden : hw/ops/linear.py (bit-exact)
// Stream : token (or one-vector) stream -> token stream of accumulators; a token takes max(in_features / lanes in,
//          out_features / pe * max(in_features / simd, pe / lanes out)) cycles, like hw/rtl/linear.sv
// Layout : weight[((fold * steps + step) * pe + p) * simd + s] of channel fold * pe + p and input step * simd + s: one ROM word a cycle.
//          One-bit weights: 0 is -1, 1 is +1
// Coding : with a codebook, weight is an index. Of two values (CONFIG::two): codebook {smaller, step to the larger}, of each channel (CONFIG::each) or of
//          all; the inputs of the larger one are added, and what they are worth is multiplied once a channel, as in hw/rtl/two_values.sv
#ifndef BITLOOM_LINEAR_H_
#define BITLOOM_LINEAR_H_

#include "beat.h"

namespace bitloom {

// A codebook's constants; they are not there where a layer has none.
template <class CONFIG, class... BOOK> struct coding { // products with the weights themselves
    template <class bias_T> static bias_T first(const bias_T &bias) { return bias; }
    template <class w_T, class x_T> static auto term(const w_T &weight, const x_T &x) -> decltype(product(weight, x)) { return product(weight, x); }
    template <class acc_T, class bias_T> static acc_T worth(const acc_T &sum, const acc_T &, unsigned, const bias_T *) { return sum; }
};

template <bool TWO, class CONFIG> struct coded { // products with the codebook's entries
    template <class bias_T> static bias_T first(const bias_T &bias) { return bias; }
    template <class w_T, class x_T, class book_T> static auto term(const w_T &index, const x_T &x, const book_T *book) -> decltype(product(book[0], x)) {
#pragma HLS INLINE
        return product(book[index], x);
    }
    template <class acc_T, class bias_T, class book_T> static acc_T worth(const acc_T &sum, const acc_T &, unsigned, const bias_T *, const book_T *) {
        return sum;
    }
};

template <class CONFIG> struct coded<true, CONFIG> { // sums of inputs
    template <class bias_T> static bias_T first(const bias_T &) { return 0; }
    template <class w_T, class x_T, class book_T> static ap_int<width<x_T>::value + 1> term(const w_T &index, const x_T &x, const book_T *) {
#pragma HLS INLINE
        const ap_int<width<x_T>::value + 1> value = x;
        return index ? value : ap_int<width<x_T>::value + 1>(0);
    }
    template <class acc_T, class bias_T, class book_T>
    static acc_T worth(const acc_T &sum, const acc_T &total, unsigned channel, const bias_T *bias, const book_T *book) {
#pragma HLS INLINE
        const unsigned at = CONFIG::each ? 2 * channel : 0;
        return acc_T(book[at] * total + book[at + 1] * sum + bias[channel]);
    }
};

template <class CONFIG, class book_T> struct coding<CONFIG, book_T> : coded<CONFIG::two, CONFIG> {};

// One step of one fold: pe sums grow by simd products each, total by the inputs. word: of the weight memory.
template <class acc_T, class x_T, class CONFIG, class... BOOK>
void multiply_add(acc_T acc[CONFIG::pe], acc_T &total, const x_T &x, bool starts, unsigned fold, unsigned word, const typename CONFIG::weight_t *weight,
                  const typename CONFIG::bias_t *bias, const BOOK *...book) {
#pragma HLS INLINE
    typedef coding<CONFIG, BOOK...> own;
    acc_T inputs = starts ? acc_T(0) : total;
    for (unsigned s = 0; s < CONFIG::simd; s++) {
#pragma HLS UNROLL
        inputs += x[s];
    }
    total = inputs;
    for (unsigned p = 0; p < CONFIG::pe; p++) {
#pragma HLS UNROLL
        acc_T sum = starts ? acc_T(own::first(bias[fold * CONFIG::pe + p])) : acc[p];
        for (unsigned s = 0; s < CONFIG::simd; s++) {
#pragma HLS UNROLL
            sum += own::term(weight[(word * CONFIG::pe + p) * CONFIG::simd + s], x[s], book...);
        }
        acc[p] = sum;
    }
}

template <class in_T, class out_T, class CONFIG, class... BOOK>
void mvau(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::weight_t weight[CONFIG::n_weight],
          const typename CONFIG::bias_t bias[CONFIG::n_bias], const BOOK *...book) {
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
    typedef typename out_T::value_type acc_T;
    out_T acc, made;
    acc_T total = 0;
#pragma HLS ARRAY_PARTITION variable=acc.data.data complete
#pragma HLS ARRAY_PARTITION variable=made.data.data complete
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
        multiply_add<acc_T, nnet::array<typename in_T::value_type, CONFIG::simd>, CONFIG>(acc.data.data, total, x.data, step == 0, fold, word, weight,
                                                                                          bias, book...);
        const bool token_done = step == steps - 1 && fold == folds - 1;
        if (step == steps - 1) {
            for (unsigned p = 0; p < CONFIG::pe; p++) {
#pragma HLS UNROLL
                made.data[p] = coding<CONFIG, BOOK...>::worth(acc.data[p], total, fold * CONFIG::pe + p, bias, book...);
            }
            made.last = x.last && fold == folds - 1;
            out.write(made);
            fold = fold == folds - 1 ? typename count<folds>::type(0) : typename count<folds>::type(fold + 1);
        }
        step = step == steps - 1 ? typename count<steps>::type(0) : typename count<steps>::type(step + 1);
        word = token_done ? typename count<folds * steps>::type(0) : typename count<folds * steps>::type(word + 1);
        if (token_done && x.last)
            break;
    }
}

template <class in_T, class out_T, class CONFIG, class... BOOK>
void linear(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::weight_t weight[CONFIG::n_weight],
            const typename CONFIG::bias_t bias[CONFIG::n_bias], const BOOK *...book) {
#pragma HLS DATAFLOW
    typedef beat<typename in_T::value_type, CONFIG::simd> x_T;
    typedef beat<typename out_T::value_type, CONFIG::pe> acc_T;
    const unsigned token_words = 2 * (CONFIG::in_features / CONFIG::simd);
    hls::stream<x_T> words("words");
    hls::stream<acc_T> sums("sums");
#pragma HLS STREAM variable=words depth=token_words
#pragma HLS STREAM variable=sums depth=2
    widen<in_T, x_T, CONFIG::max_tokens * CONFIG::in_features / in_T::size>(in, words);
    mvau<x_T, acc_T, CONFIG>(words, sums, weight, bias, book...);
    narrow<acc_T, out_T, CONFIG::max_tokens * CONFIG::out_features / out_T::size>(sums, out);
}

// io_parallel: [tokens, in_features] -> [tokens, out_features]
template <class in_T, class out_T, class CONFIG, class... BOOK>
void linear(in_T in[CONFIG::max_tokens * CONFIG::in_features], out_T out[CONFIG::max_tokens * CONFIG::out_features],
            const typename CONFIG::weight_t weight[CONFIG::n_weight], const typename CONFIG::bias_t bias[CONFIG::n_bias], const BOOK *...book) {
    static const unsigned steps = CONFIG::in_features / CONFIG::simd, folds = CONFIG::out_features / CONFIG::pe;
    const unsigned weight_words = CONFIG::pe * CONFIG::simd, bias_words = CONFIG::pe;
#pragma HLS ARRAY_RESHAPE variable=weight cyclic factor=weight_words
#pragma HLS ARRAY_RESHAPE variable=bias cyclic factor=bias_words
    for (unsigned t = 0; t < CONFIG::max_tokens; t++) {
        for (unsigned fold = 0; fold < folds; fold++) {
            out_T acc[CONFIG::pe], total = 0;
            for (unsigned step = 0; step < steps; step++) {
#pragma HLS PIPELINE II=1
                multiply_add<out_T, in_T *, CONFIG>(acc, total, in + t * CONFIG::in_features + step * CONFIG::simd, step == 0, fold,
                                                     fold * steps + step, weight, bias, book...);
            }
            for (unsigned p = 0; p < CONFIG::pe; p++) {
#pragma HLS UNROLL
                const unsigned channel = fold * CONFIG::pe + p;
                out[t * CONFIG::out_features + channel] = coding<CONFIG, BOOK...>::worth(acc[p], total, channel, bias, book...);
            }
        }
    }
}

} // namespace bitloom
#endif
