// SPDX-License-Identifier: Apache-2.0
// scores: acc[i,h,j] = sum_d q[i,h,d] k[j,h,d] over the keys that a query sees: around it, or of its own sentence of a pair (CONFIG::segment)
// Golden : hw/ops/scores.py (bit-exact)
// Stream : two token streams (queries, keys), with pairs one number a sentence (its border) -> row stream of accumulators. The keys of a sentence fill a ping-pong buffer while the
//          sentence before is attended; a row of n keys takes n * dim / simd cycles, like hw/rtl/scores.sv
#ifndef BITLOOM_SCORES_H_
#define BITLOOM_SCORES_H_

#include "beat.h"

namespace bitloom {

// A sentence's words into a buffer, and how many tokens they are.
template <class word_T, class tokens_T, unsigned WORDS, unsigned MAX_TOKENS>
void store(hls::stream<word_T> &in, nnet::array<typename word_T::value_type, word_T::size> bank[MAX_TOKENS * WORDS], hls::stream<tokens_T> &tokens) {
    typename count<WORDS>::type word = 0;
    tokens_T stored = 0;
store:
    for (unsigned i = 0; i < MAX_TOKENS * WORDS; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const word_T got = in.read();
        bank[i] = got.data;
        if (word == WORDS - 1)
            stored++;
        word = word == WORDS - 1 ? typename count<WORDS>::type(0) : typename count<WORDS>::type(word + 1);
        if (got.last)
            break;
    }
    tokens.write(stored);
}

// The keys that a query sees, `first` .. `final` of the sentence's tokens (hw/keys.py); begins with the first query. border: tokens of a pair's first sentence.
template <class tokens_T, class CONFIG> struct seen_keys {
    tokens_T tokens, border, query, first, final;
    seen_keys(const tokens_T &tokens, const tokens_T &border = 0) : tokens(tokens), border(border), query(0), first(0), final(tokens - 1) {
        if (CONFIG::ahead < CONFIG::max_tokens - 1 && tokens - 1 > CONFIG::ahead)
            final = CONFIG::ahead;
        if (CONFIG::segment && border != 0)
            final = border - 1;
    }
    bool at_last_query() const { return query == tokens - 1; }
    void next_query() {
#pragma HLS INLINE
        query++;
        if (CONFIG::segment && query == border) {
            first = border;
            final = tokens - 1;
        }
        if (CONFIG::back < CONFIG::max_tokens - 1 && query > CONFIG::back)
            first++;
        if (CONFIG::ahead < CONFIG::max_tokens - 1 && final != tokens - 1)
            final++;
    }
};

// The border of this sentence, where keys depend on one.
template <class tokens_T> tokens_T read_border() { return 0; }
template <class tokens_T, class b_T> tokens_T read_border(hls::stream<b_T> &border) { return border.read().data[0]; }

template <class q_T, class k_T, class out_T, class tokens_T, class CONFIG, class... b_T>
void attend(hls::stream<q_T> &q, nnet::array<typename k_T::value_type, k_T::size> bank[CONFIG::max_tokens * CONFIG::channels / k_T::size],
            hls::stream<tokens_T> &length, hls::stream<out_T> &out, hls::stream<b_T> &...border) {
    static const unsigned steps = CONFIG::channels / CONFIG::heads / CONFIG::simd, groups = CONFIG::heads / CONFIG::side;
    typedef typename out_T::value_type acc_T;
    seen_keys<tokens_T, CONFIG> seen(length.read(), read_border<tokens_T>(border...));
    q_T query[steps]; // the query's part for the heads side by side: read for the first key, kept for the others
#pragma HLS AGGREGATE variable=query
#pragma HLS DEPENDENCE variable=query type=inter direction=RAW distance=steps true
    acc_T acc[CONFIG::side];
#pragma HLS ARRAY_PARTITION variable=acc complete
    tokens_T key = 0;
    typename count<groups>::type group = 0;
    typename count<steps>::type step = 0;
attend:
    for (unsigned i = 0; i < CONFIG::max_tokens * groups * CONFIG::max_tokens * steps; i++) {
#pragma HLS PIPELINE II=1 style=flp
        q_T x;
        if (key == seen.first) {
            x = q.read();
            query[step] = x;
        } else {
            x = query[step];
        }
        const nnet::array<typename k_T::value_type, k_T::size> y = bank[(key * groups + group) * steps + step];
        out_T made;
        for (unsigned h = 0; h < CONFIG::side; h++) {
#pragma HLS UNROLL
            acc[h] = step == 0 ? acc_T(0) : acc[h];
            for (unsigned s = 0; s < CONFIG::simd; s++) {
#pragma HLS UNROLL
                acc[h] += x.data[s * CONFIG::side + h] * y[s * CONFIG::side + h];
            }
            made.data[h] = acc[h];
        }
        const bool row_done = step == steps - 1 && key == seen.final;
        const bool token_done = row_done && group == groups - 1;
        const bool done = token_done && seen.at_last_query();
        if (step == steps - 1) {
            made.last = row_done;
            made.end = done;
            out.write(made);
        }
        if (row_done)
            group = token_done ? typename count<groups>::type(0) : typename count<groups>::type(group + 1);
        if (token_done)
            seen.next_query();
        if (step == steps - 1)
            key = row_done ? seen.first : tokens_T(key + 1);
        step = step == steps - 1 ? typename count<steps>::type(0) : typename count<steps>::type(step + 1);
        if (done)
            break;
    }
}

template <class q_T, class k_T, class out_T, class CONFIG, class... b_T>
void products_of_heads(hls::stream<q_T> &q, hls::stream<k_T> &k, hls::stream<out_T> &out, hls::stream<b_T> &...border) {
#pragma HLS INLINE
    static const unsigned word = CONFIG::side * CONFIG::simd;
    typedef beat<typename q_T::value_type, word> query_T;
    typedef beat<typename k_T::value_type, word> key_T;
    typedef typename count<CONFIG::max_tokens + 1>::type tokens_T;
    static const unsigned words = CONFIG::channels / word;
    const unsigned query_words = 2 * words;
    hls::stream<query_T> queries("queries");
    hls::stream<key_T> keys("keys");
    hls::stream<tokens_T> tokens("tokens");
#pragma HLS STREAM variable=queries depth=query_words
#pragma HLS STREAM variable=keys depth=2
#pragma HLS STREAM variable=tokens depth=2
    nnet::array<typename k_T::value_type, word> bank[CONFIG::max_tokens * words];
#pragma HLS AGGREGATE variable=bank
#pragma HLS BIND_STORAGE variable=bank type=ram_s2p impl=bram
    widen<k_T, key_T, CONFIG::max_tokens * CONFIG::channels / k_T::size>(k, keys);
    store<key_T, tokens_T, words, CONFIG::max_tokens>(keys, bank, tokens);
    widen<q_T, query_T, CONFIG::max_tokens * CONFIG::channels / q_T::size>(q, queries);
    attend<query_T, key_T, out_T, tokens_T, CONFIG>(queries, bank, tokens, out, border...);
}

template <class q_T, class k_T, class out_T, class CONFIG> void scores(hls::stream<q_T> &q, hls::stream<k_T> &k, hls::stream<out_T> &out) {
#pragma HLS DATAFLOW
    products_of_heads<q_T, k_T, out_T, CONFIG>(q, k, out);
}

template <class q_T, class k_T, class b_T, class out_T, class CONFIG>
void scores(hls::stream<q_T> &q, hls::stream<k_T> &k, hls::stream<b_T> &border, hls::stream<out_T> &out) {
#pragma HLS DATAFLOW
    products_of_heads<q_T, k_T, out_T, CONFIG>(q, k, out, border);
}

} // namespace bitloom
#endif
