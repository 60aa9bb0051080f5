// SPDX-License-Identifier: Apache-2.0
// lstm: acc = W [x_t, h] + b; z = clip((acc * mult + half(shift)) >> shift); i, f, g, o = tables of z;
//       c = clip(((f c << keep) + (i g << write) + half(cell_shift)) >> cell_shift); u = clip((c + half(tanh_shift)) >> tanh_shift);
//       h = clip((o tanh[u] + half(out_shift)) >> out_shift); forward, or backward from the last token on; all h, or the last one
// Golden : hw/ops/lstm.py (bit-exact; ties towards +inf)
// Stream : token stream -> token stream in the order of the tokens, or one vector. Three processes, each on a sentence of its own: its tokens are stored, its
//          steps computed, its states given out. A sentence's steps wait for each other (the RTL takes several in turn, hw/rtl/lstm.sv): each takes
//          4 * hidden / pe * (in_features + hidden) / simd cycles for the products, hidden / lanes for the cells, and twice the depth of a pipeline
// Layout : weight[((fold * steps + step) * pe + p) * simd + s] of row fold * pe + p (channel by channel, its gates i, f, g, o side by side) and input
//          step * simd + s, x first, then h; bias and mult by row. One-bit weights: 0 is -1, 1 is +1
#ifndef BITLOOM_LSTM_H_
#define BITLOOM_LSTM_H_

#include "requant.h"
#include "scores.h"
#include "table.h"

namespace bitloom {

// The types inside, and how often.
template <class CONFIG> struct lstm_of {
    static const unsigned gates = 4, x_words = CONFIG::in_features / CONFIG::simd, steps = (CONFIG::in_features + CONFIG::hidden) / CONFIG::simd;
    static const unsigned folds = gates * CONFIG::hidden / CONFIG::pe;
    static const int kept_bits = CONFIG::act_bits + CONFIG::cell_bits + CONFIG::keep + 1, made_bits = 2 * CONFIG::act_bits + CONFIG::write + 1;
    typedef ap_int<CONFIG::acc_bits> acc_T;
    typedef ap_int<CONFIG::gate_bits> gate_T;
    typedef ap_int<CONFIG::cell_bits> cell_T;
    typedef ap_int<CONFIG::operand_bits> operand_T;
};

// One channel: its new cell state, and h. sum: of its gates i, f, g, o, without bias
template <class h_T, class CONFIG>
h_T lstm_cell(const typename lstm_of<CONFIG>::acc_T sum[4], typename lstm_of<CONFIG>::cell_T &cell, unsigned row, const typename CONFIG::bias_t *bias,
              const typename CONFIG::mult_t *mult, const typename CONFIG::input_t *input, const typename CONFIG::forget_t *forget,
              const typename CONFIG::candidate_t *candidate, const typename CONFIG::output_t *output, const typename CONFIG::tanh_t *tanh) {
#pragma HLS INLINE
    typedef lstm_of<CONFIG> own;
    typename own::gate_T z[own::gates];
    for (unsigned k = 0; k < own::gates; k++) {
#pragma HLS UNROLL
        z[k] = requant_code<typename own::gate_T, typename own::acc_T, CONFIG>(sum[k] + bias[row + k], mult[row + k]);
    }
    const ap_int<own::kept_bits> kept = ap_int<own::kept_bits>(forget[table_index(z[1])] * cell) << CONFIG::keep;
    const ap_int<own::made_bits> made = ap_int<own::made_bits>(input[table_index(z[0])] * candidate[table_index(z[2])]) << CONFIG::write;
    cell = clip<typename own::cell_T>(round_shift<CONFIG::cell_shift>(kept + made));
    const ap_int<CONFIG::tanh_bits> u = clip<ap_int<CONFIG::tanh_bits>>(round_shift<CONFIG::tanh_shift>(cell));
    const ap_int<2 * CONFIG::act_bits + 1> out = output[table_index(z[3])] * tanh[table_index(u)];
    return clip<h_T>(round_shift<CONFIG::out_shift>(out));
}

// All products of a step, fold by fold.
template <class x_T, class h_T, class CONFIG>
void lstm_sums(const x_T *token, const h_T h[CONFIG::hidden], typename lstm_of<CONFIG>::acc_T sums[4 * CONFIG::hidden],
               const typename CONFIG::weight_t weight[CONFIG::n_weight]) {
    typedef lstm_of<CONFIG> own;
    typename own::acc_T acc[CONFIG::pe];
#pragma HLS ARRAY_PARTITION variable=acc complete
    typename count<own::steps>::type step = 0;
    typename count<own::folds>::type fold = 0;
lstm_sums:
    for (unsigned i = 0; i < own::folds * own::steps; i++) {
#pragma HLS PIPELINE II=1
        const bool is_h = step >= own::x_words;
        const x_T x = token[is_h ? 0 : unsigned(step)];
        for (unsigned p = 0; p < CONFIG::pe; p++) {
#pragma HLS UNROLL
            typename own::acc_T sum = step == 0 ? typename own::acc_T(0) : acc[p];
            for (unsigned s = 0; s < CONFIG::simd; s++) {
#pragma HLS UNROLL
                const typename own::operand_T operand =
                    is_h ? typename own::operand_T(h[(step - own::x_words) * CONFIG::simd + s]) : typename own::operand_T(x[s]);
                sum += product(weight[(i * CONFIG::pe + p) * CONFIG::simd + s], operand);
            }
            acc[p] = sum;
            sums[fold * CONFIG::pe + p] = sum; // the last one stays
        }
        const bool fold_done = step == own::steps - 1;
        step = fold_done ? typename count<own::steps>::type(0) : typename count<own::steps>::type(step + 1);
        if (fold_done && fold != own::folds - 1)
            fold++;
    }
}

template <class x_T, class state_T, class tokens_T, class CONFIG>
void recur(x_T bank[CONFIG::max_tokens * lstm_of<CONFIG>::x_words], hls::stream<tokens_T> &length,
           state_T states[(CONFIG::every ? CONFIG::max_tokens : 1) * CONFIG::hidden / state_T::size], hls::stream<tokens_T> &given,
           const typename CONFIG::weight_t weight[CONFIG::n_weight], const typename CONFIG::bias_t bias[CONFIG::n_bias],
           const typename CONFIG::mult_t mult[CONFIG::n_mult], const typename CONFIG::input_t input[CONFIG::n_input],
           const typename CONFIG::forget_t forget[CONFIG::n_forget], const typename CONFIG::candidate_t candidate[CONFIG::n_candidate],
           const typename CONFIG::output_t output[CONFIG::n_output], const typename CONFIG::tanh_t tanh[CONFIG::n_tanh]) {
    typedef lstm_of<CONFIG> own;
    typedef typename state_T::value_type h_T;
    static const unsigned lanes = state_T::size, beats = CONFIG::hidden / lanes;
    const unsigned weight_words = CONFIG::pe * CONFIG::simd, rows = own::gates * state_T::size, words = CONFIG::simd, sum_words = CONFIG::pe,
                   cell_words = state_T::size;
#pragma HLS ARRAY_RESHAPE variable=weight cyclic factor=weight_words
#pragma HLS ARRAY_RESHAPE variable=bias cyclic factor=rows
#pragma HLS ARRAY_RESHAPE variable=mult cyclic factor=rows
    if (CONFIG::block_ram) {
#pragma HLS BIND_STORAGE variable=weight type=rom_1p impl=bram
    }
    h_T h[CONFIG::hidden];
    typename own::cell_T cell[CONFIG::hidden];
    typename own::acc_T sums[own::gates * CONFIG::hidden];
#pragma HLS ARRAY_PARTITION variable=h cyclic factor=words
#pragma HLS ARRAY_PARTITION variable=cell cyclic factor=cell_words
#pragma HLS ARRAY_PARTITION variable=sums cyclic factor=sum_words
blank:
    for (unsigned c = 0; c < CONFIG::hidden / lanes; c++) {
#pragma HLS PIPELINE II=1
        for (unsigned e = 0; e < state_T::size; e++) {
#pragma HLS UNROLL
            h[c * lanes + e] = 0;
            cell[c * lanes + e] = 0;
        }
    }
    const tokens_T tokens = length.read();
recur:
    for (unsigned t = 0; t < CONFIG::max_tokens; t++) {
        const tokens_T at = CONFIG::backward ? tokens_T(tokens - 1 - t) : tokens_T(t);
        lstm_sums<x_T, h_T, CONFIG>(bank + at * own::x_words, h, sums, weight);
    cells:
        for (unsigned c = 0; c < CONFIG::hidden / lanes; c++) {
#pragma HLS PIPELINE II=1
            state_T made;
            for (unsigned e = 0; e < state_T::size; e++) {
#pragma HLS UNROLL
                const unsigned channel = c * lanes + e;
                made[e] = lstm_cell<h_T, CONFIG>(sums + own::gates * channel, cell[channel], own::gates * channel, bias, mult, input, forget, candidate,
                                                 output, tanh);
                h[channel] = made[e];
            }
            states[(CONFIG::every ? unsigned(at) * beats : 0) + c] = made;
        }
        if (t == tokens - 1)
            break;
    }
    given.write(CONFIG::every ? tokens : tokens_T(1));
}

// What is in a buffer, token by token.
template <class word_T, class out_T, class tokens_T, unsigned WORDS, unsigned MAX_TOKENS>
void give(word_T bank[MAX_TOKENS * WORDS], hls::stream<tokens_T> &tokens, hls::stream<out_T> &out) {
    const tokens_T count = tokens.read();
give:
    for (unsigned i = 0; i < MAX_TOKENS * WORDS; i++) {
#pragma HLS PIPELINE II=1 style=flp
        out_T made;
        made.data = bank[i];
        made.last = i == count * WORDS - 1;
        out.write(made);
        if (made.last)
            break;
    }
}

template <class in_T, class out_T, class CONFIG>
void lstm(hls::stream<in_T> &in, hls::stream<out_T> &out, const typename CONFIG::weight_t weight[CONFIG::n_weight],
          const typename CONFIG::bias_t bias[CONFIG::n_bias], const typename CONFIG::mult_t mult[CONFIG::n_mult],
          const typename CONFIG::input_t input[CONFIG::n_input], const typename CONFIG::forget_t forget[CONFIG::n_forget],
          const typename CONFIG::candidate_t candidate[CONFIG::n_candidate], const typename CONFIG::output_t output[CONFIG::n_output],
          const typename CONFIG::tanh_t tanh[CONFIG::n_tanh]) {
#pragma HLS DATAFLOW
    typedef beat<typename in_T::value_type, CONFIG::simd> x_T;
    typedef nnet::array<typename in_T::value_type, CONFIG::simd> word_T;
    typedef nnet::array<typename out_T::value_type, out_T::size> state_T;
    typedef typename count<CONFIG::max_tokens + 1>::type tokens_T;
    static const unsigned x_words = CONFIG::in_features / CONFIG::simd, beats = CONFIG::hidden / out_T::size, kept = CONFIG::every ? CONFIG::max_tokens : 1;
    hls::stream<x_T> words("words");
    hls::stream<tokens_T> stored("stored"), given("given");
#pragma HLS STREAM variable=words depth=2
#pragma HLS STREAM variable=stored depth=2
#pragma HLS STREAM variable=given depth=2
    word_T bank[CONFIG::max_tokens * x_words];
    state_T states[kept * beats];
#pragma HLS AGGREGATE variable=bank
#pragma HLS AGGREGATE variable=states
#pragma HLS BIND_STORAGE variable=bank type=ram_s2p impl=bram
#pragma HLS BIND_STORAGE variable=states type=ram_s2p impl=bram
    widen<in_T, x_T, CONFIG::max_tokens * CONFIG::in_features / in_T::size>(in, words);
    store<x_T, tokens_T, x_words, CONFIG::max_tokens>(words, bank, stored);
    recur<word_T, state_T, tokens_T, CONFIG>(bank, stored, states, given, weight, bias, mult, input, forget, candidate, output, tanh);
    give<state_T, out_T, tokens_T, beats, kept>(states, given, out);
}

} // namespace bitloom
#endif
