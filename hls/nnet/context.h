// SPDX-License-Identifier: Apache-2.0
// context: acc[i,h,d] = sum_j p[i,h,j] v[j,h,d] over the keys j that a query sees; of a pair, the first row's length is that of its first sentence
// Golden : hw/ops/context.py (bit-exact)
// Stream : row stream (probabilities) and token stream (values) -> token stream of accumulators. The values of a sentence fill a ping-pong
//          buffer while the sentence before is weighted; the rows of `side` heads, interleaved in the streams, take max(their length, side * pe / lanes) * dim / pe cycles, like hw/rtl/context_op.sv
#ifndef BITLOOM_CONTEXT_H_
#define BITLOOM_CONTEXT_H_

#include "scores.h"

namespace bitloom {

template <class p_T, class v_T, class out_T, class tokens_T, class CONFIG>
void weigh(hls::stream<p_T> &p, nnet::array<v_T, out_T::size> bank[CONFIG::max_tokens * CONFIG::channels / out_T::size], hls::stream<tokens_T> &length,
           hls::stream<out_T> &out) {
    static const unsigned folds = CONFIG::channels / CONFIG::heads / CONFIG::pe, groups = CONFIG::heads / CONFIG::side;
    seen_keys<tokens_T, CONFIG> seen(length.read());
    p_T row[CONFIG::max_tokens]; // read in the first fold, kept for the others; a row of one key is kept in `latest`
#pragma HLS AGGREGATE variable=row
#pragma HLS DEPENDENCE variable=row type=inter direction=RAW distance=2 true
    p_T latest;
    out_T acc;
#pragma HLS ARRAY_PARTITION variable=acc.data.data complete
    tokens_T key = 0;
    typename count<groups>::type group = 0;
    typename count<folds>::type fold = 0;
weigh:
    for (unsigned i = 0; i < CONFIG::max_tokens * groups * folds * CONFIG::max_tokens; i++) {
#pragma HLS PIPELINE II=1 style=flp
        p_T weight;
        if (fold == 0) {
            weight = p.read();
            if (CONFIG::segment && weight.last && seen.query == 0) {
                seen.final = key;
                seen.border = key + 1;
            }
            row[key] = weight;
            latest = weight;
        } else {
            weight = seen.first == seen.final ? latest : row[key];
        }
        const nnet::array<v_T, out_T::size> value = bank[(key * groups + group) * folds + fold];
        for (unsigned e = 0; e < out_T::size; e++) {
#pragma HLS UNROLL
            acc.data[e] = (key == seen.first ? typename out_T::value_type(0) : acc.data[e]) + weight.data[e % CONFIG::side] * value[e];
        }
        const bool fold_done = key == seen.final, row_done = fold_done && fold == folds - 1;
        const bool token_done = row_done && group == groups - 1;
        acc.last = token_done && seen.at_last_query();
        if (fold_done)
            out.write(acc);
        if (fold_done)
            fold = row_done ? typename count<folds>::type(0) : typename count<folds>::type(fold + 1);
        if (row_done)
            group = token_done ? typename count<groups>::type(0) : typename count<groups>::type(group + 1);
        if (token_done)
            seen.next_query();
        key = fold_done ? seen.first : tokens_T(key + 1);
        if (acc.last)
            break;
    }
}

template <class p_T, class v_T, class out_T, class CONFIG> void context(hls::stream<p_T> &p, hls::stream<v_T> &v, hls::stream<out_T> &out) {
#pragma HLS DATAFLOW
    static const unsigned word = CONFIG::side * CONFIG::pe;
    typedef beat<typename v_T::value_type, word> value_T;
    typedef beat<typename out_T::value_type, word> acc_T;
    typedef typename count<CONFIG::max_tokens + 1>::type tokens_T;
    static const unsigned words = CONFIG::channels / word;
    hls::stream<value_T> values("values");
    hls::stream<tokens_T> tokens("tokens");
    hls::stream<acc_T> sums("sums");
#pragma HLS STREAM variable=values depth=2
#pragma HLS STREAM variable=tokens depth=2
#pragma HLS STREAM variable=sums depth=2
    nnet::array<typename v_T::value_type, word> bank[CONFIG::max_tokens * words];
#pragma HLS AGGREGATE variable=bank
#pragma HLS BIND_STORAGE variable=bank type=ram_s2p impl=bram
    widen<v_T, value_T, CONFIG::max_tokens * CONFIG::channels / v_T::size>(v, values);
    store<value_T, tokens_T, words, CONFIG::max_tokens>(values, bank, tokens);
    weigh<p_T, typename v_T::value_type, acc_T, tokens_T, CONFIG>(p, bank, tokens, sums);
    narrow<acc_T, out_T, CONFIG::max_tokens * CONFIG::channels / out_T::size>(sums, out);
}

} // namespace bitloom
#endif
