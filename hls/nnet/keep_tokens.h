// SPDX-License-Identifier: Apache-2.0
// keep_tokens: of n tokens the first one and those ceil(n keep / 256) - 1 others with the largest s[j] = sum_i sum_h p[i,h,j]; of equal s[j] the lower j
// Golden : hw/ops/keep_tokens.py (bit-exact)
// Stream : token stream and row stream (probabilities, of token i those of keys max(0, i - back) .. min(n, i + ahead + 1) - 1) -> token stream of those that stay, in
//          order. Four processes, each on a sentence of its own: tokens are stored, rows added up, a threshold found bit by bit, tokens given out.
//          A sentence takes max(rows, n * (sum_bits + 1), n * channels / lanes) cycles, like hw/rtl/keep_tokens.sv
#ifndef BITLOOM_KEEP_TOKENS_H_
#define BITLOOM_KEEP_TOKENS_H_

#include "scores.h"

namespace bitloom {

template <class p_T, class sum_T, class tokens_T, class CONFIG>
void receive(hls::stream<p_T> &p, sum_T received[CONFIG::max_tokens], hls::stream<tokens_T> &length) {
#pragma HLS DEPENDENCE variable=received type=inter direction=RAW distance=2 true
    tokens_T key = 0, first = 0, query = 0, tokens = 0;
    typename count<CONFIG::groups>::type group = 0;
    sum_T latest = 0; // of the element before: rows of one key
receive:
    for (unsigned i = 0; i < CONFIG::max_tokens * CONFIG::groups * CONFIG::max_tokens; i++) {
#pragma HLS PIPELINE II=1 style=flp
        const p_T got = p.read();
        const bool fresh = group == 0 && (query == 0 || key == query + CONFIG::ahead); // no row has had that key
        sum_T sum = fresh ? sum_T(0) : tokens == 1 ? latest : received[key];
        for (unsigned h = 0; h < p_T::size; h++) {
#pragma HLS UNROLL
            sum += got.data[h];
        }
        received[key] = sum;
        latest = sum;
        key++;
        if (got.last) {
            tokens = key;
            if (group == CONFIG::groups - 1) {
                if (query >= CONFIG::back)
                    first++;
                query++;
                group = 0;
            } else {
                group++;
            }
            key = first;
        }
        if (got.end)
            break;
    }
    length.write(tokens);
}

// The share that stays, in 256ths; by turn, keeps = {share}
template <class CONFIG> ap_uint<9> share() { return CONFIG::keep; }
template <class CONFIG, class keep_T> ap_uint<9> share(const keep_T *keeps) { return keeps[0]; }

// Which tokens stay, and the last of them: `level` is the largest sum that enough of those behind the first one have reached.
template <class sum_T, class tokens_T, class CONFIG, class... KEEP>
void choose(sum_T received[CONFIG::max_tokens], hls::stream<tokens_T> &length, bool stays[CONFIG::max_tokens], hls::stream<tokens_T> &chosen,
            const KEEP *...keeps) {
    static const unsigned passes = CONFIG::sum_bits + 1;
    const tokens_T tokens = length.read();
    const tokens_T others = tokens_T((ap_uint<width<tokens_T>::value + 9>(tokens) * share<CONFIG>(keeps...) + 255) >> 8) - 1;
    sum_T level = 0;
    tokens_T above = 0, equal = 0, at = 0, reached = 0, final = 0;
    typename count<passes>::type pass = 0;
choose:
    for (unsigned i = 0; i < CONFIG::max_tokens * passes; i++) {
#pragma HLS PIPELINE II=1
        const bool lists = pass == passes - 1;
        sum_T tried = level;
        if (!lists)
            tried[CONFIG::sum_bits - 1 - pass] = 1;
        const sum_T sum = received[at];
        const bool counts = at != 0 && sum >= tried;
        reached = (at == 0 ? tokens_T(0) : reached) + tokens_T(counts);
        if (lists) {
            const bool ties = at != 0 && sum == level && equal < tokens_T(others - above), stay = at == 0 || sum > level || ties;
            stays[at] = stay;
            if (stay)
                final = at;
            if (ties)
                equal++;
        }
        if (at == tokens - 1) {
            if (!lists && reached >= others)
                level = tried;
            else if (!lists)
                above = reached; // of those tried in vain the lowest one: just above the level
            if (lists)
                break;
            pass++;
            at = 0;
        } else {
            at++;
        }
    }
    chosen.write(final);
}

template <class word_T, class out_T, class tokens_T, class CONFIG>
void give_kept(word_T bank[CONFIG::max_tokens * CONFIG::channels / word_T::size], bool stays[CONFIG::max_tokens], hls::stream<tokens_T> &stored,
               hls::stream<tokens_T> &chosen, hls::stream<out_T> &out) {
    static const unsigned beats = CONFIG::channels / word_T::size;
    stored.read();
    const tokens_T final = chosen.read();
    tokens_T token = 0;
    typename count<beats>::type beat = 0;
give_kept:
    for (unsigned i = 0; i < CONFIG::max_tokens * beats; i++) {
#pragma HLS PIPELINE II=1 style=flp
        out_T y;
        y.data = bank[token * beats + beat];
        y.last = token == final && beat == beats - 1;
        if (stays[token])
            out.write(y);
        if (y.last)
            break;
        if (beat == beats - 1)
            token++;
        beat = beat == beats - 1 ? typename count<beats>::type(0) : typename count<beats>::type(beat + 1);
    }
}

template <class x_T, class p_T, class out_T, class CONFIG, class... KEEP>
void keep_tokens(hls::stream<x_T> &x, hls::stream<p_T> &p, hls::stream<out_T> &out, const KEEP *...keeps) {
#pragma HLS DATAFLOW
    typedef nnet::array<typename x_T::value_type, x_T::size> word_T;
    typedef ap_uint<CONFIG::sum_bits> sum_T;
    typedef typename count<CONFIG::max_tokens + 1>::type tokens_T;
    static const unsigned words = CONFIG::channels / x_T::size;
    hls::stream<tokens_T> stored("stored"), length("length"), chosen("chosen");
#pragma HLS STREAM variable=stored depth=2
#pragma HLS STREAM variable=length depth=2
#pragma HLS STREAM variable=chosen depth=2
    word_T bank[CONFIG::max_tokens * words];
#pragma HLS AGGREGATE variable=bank
#pragma HLS BIND_STORAGE variable=bank type=ram_s2p impl=bram
    sum_T received[CONFIG::max_tokens];
    bool stays[CONFIG::max_tokens];
#pragma HLS BIND_STORAGE variable=received type=ram_s2p impl=lutram
    store<x_T, tokens_T, words, CONFIG::max_tokens>(x, bank, stored);
    receive<p_T, sum_T, tokens_T, CONFIG>(p, received, length);
    choose<sum_T, tokens_T, CONFIG>(received, length, stays, chosen, keeps...);
    give_kept<word_T, out_T, tokens_T, CONFIG>(bank, stays, stored, chosen, out);
}

} // namespace bitloom
#endif
