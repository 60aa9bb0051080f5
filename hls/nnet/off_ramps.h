// SPDX-License-Identifier: Apache-2.0
// off_ramps: behind each turn, whether the sentence leaves: margin >= threshold[turn] and run >= patience, or it was the last turn
//            margin: the largest logit less the largest of the other labels; run: off-ramps in a row with the same best label
// Golden : hw/ops/off_ramps.py (bit-exact)
// Stream : the logits of one off-ramp (one vector) -> the same where the sentence leaves, else nothing; says which
#ifndef BITLOOM_OFF_RAMPS_H_
#define BITLOOM_OFF_RAMPS_H_

#include "beat.h"

namespace bitloom {

template <class CONFIG> struct off_ramp { // of a sentence: what the off-ramp in front said
    typename count<CONFIG::channels>::type best;
    typename count<CONFIG::turns + 1>::type run;
};

template <class in_T, class out_T, class CONFIG>
bool off_ramps(hls::stream<in_T> &in, hls::stream<out_T> &out, off_ramp<CONFIG> &before, unsigned turn,
               const typename CONFIG::threshold_t threshold[CONFIG::n_threshold]) {
    typedef typename in_T::value_type logit_T;
    in_T held[CONFIG::max_beats];
    logit_T top = range<logit_T>::low(), second = range<logit_T>::low();
    typename count<CONFIG::channels>::type best = 0;
compare:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1
        const in_T got = in.read();
        held[i] = got;
        for (unsigned e = 0; e < in_T::size; e++) { // behind the labels a beat may be filled up
#pragma HLS UNROLL
            const unsigned label = i * in_T::size + e;
            const logit_T logit = got.data[e];
            if (label == 0) {
                top = logit;
            } else if (label < CONFIG::labels && logit > top) {
                second = top;
                top = logit;
                best = label;
            } else if (label < CONFIG::labels && logit > second) {
                second = logit;
            }
        }
    }
    const bool agrees = turn > 0 && best == before.best;
    before.run = agrees ? typename count<CONFIG::turns + 1>::type(before.run + 1) : typename count<CONFIG::turns + 1>::type(1);
    before.best = best;
    const ap_int<width<logit_T>::value + 1> margin = top - second;
    const bool last = turn == CONFIG::turns - 1;
    const bool leaves = last || (margin >= threshold[last ? 0 : turn] && before.run >= CONFIG::patience);
give:
    for (unsigned i = 0; i < CONFIG::max_beats; i++) {
#pragma HLS PIPELINE II=1
        if (leaves)
            out.write(held[i]);
    }
    return leaves;
}

} // namespace bitloom
#endif
