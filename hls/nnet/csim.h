// SPDX-License-Identifier: Apache-2.0
// csim: how hls4ml's bridge and test bench put arrays of numbers on the encoder's streams and read them back. C simulation only.
// Format : an array holds one sentence in full length; behind the sentence's own numbers it is filled up with NaN, on both sides.
//          The functions are overloads of hls4ml's own (nnet_helpers.h) for the types of beat.h.
#ifndef BITLOOM_CSIM_H_
#define BITLOOM_CSIM_H_
#ifndef __SYNTHESIS__

#include "beat.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace nnet {

extern bool trace_enabled;
extern std::map<std::string, void *> *trace_outputs;
extern size_t trace_type_size;

// What C simulation does with a code wider than `long`: there is none, the widest accumulator has 53 bits.
template <class code_T> double code_value(const code_T &code) { return double(code.to_int64()); }

// One sentence: beats until the first NaN.
template <class iterator_T, class T, unsigned N> void write_sentence(iterator_T src, size_t size, hls::stream<hls::axis<array<T, N>, 0, 0, 0>> &dst) {
    size_t values = 0;
    while (values < size && !std::isnan(double(src[values])))
        values++;
    for (size_t i = 0; i < values; i += N) {
        hls::axis<array<T, N>, 0, 0, 0> word;
        for (size_t e = 0; e < N; e++)
            word.data[e] = T((long long)src[i + e]);
        word.keep = -1;
        word.strb = -1;
        word.last = i + N >= values;
        dst.write(word);
    }
}

template <class srcType, class dstType, size_t SIZE, class T, unsigned N>
void convert_data(srcType *src, hls::stream<hls::axis<array<T, N>, 0, 0, 0>> &dst) {
    write_sentence(src, SIZE, dst);
}

// Beats up to TLAST; what is behind it stays in the stream, which complains about it.
template <class srcType, class dstType, size_t SIZE, class T, unsigned N>
void convert_data(hls::stream<hls::axis<array<T, N>, 0, 0, 0>> &src, dstType *dst) {
    std::fill(dst, dst + SIZE, std::numeric_limits<dstType>::quiet_NaN());
    bool ended = false;
    for (size_t i = 0; i + N <= SIZE && !ended && !src.empty(); i += N) {
        const hls::axis<array<T, N>, 0, 0, 0> word = src.read();
        for (size_t e = 0; e < N; e++)
            dst[i + e] = dstType(code_value(word.data[e]));
        ended = word.last;
    }
    if (!ended)
        std::cout << "WARNING: Hls::stream 'm_axis' ends without TLAST" << std::endl;
}

template <class src_T, class dst_T, size_t OFFSET, size_t SIZE, class T, unsigned N>
void copy_data(std::vector<src_T> src, hls::stream<hls::axis<array<T, N>, 0, 0, 0>> &dst) {
    write_sentence(src.cbegin() + OFFSET, SIZE, dst);
}

template <class data_T, size_t SIZE, class T, unsigned N> void fill_zero(hls::stream<hls::axis<array<T, N>, 0, 0, 0>> &data) {
    write_sentence(std::vector<float>(SIZE, 0).cbegin(), SIZE, data);
}

template <class res_T, size_t SIZE, class T, unsigned N>
void print_result(hls::stream<hls::axis<array<T, N>, 0, 0, 0>> &result, std::ostream &out, bool keep = false) {
    for (size_t beats = result.size(); beats > 0; beats--) {
        const hls::axis<array<T, N>, 0, 0, 0> word = result.read();
        for (size_t e = 0; e < N; e++)
            out << word.data[e] << " ";
        if (keep)
            result.write(word);
    }
    out << std::endl;
}

template <class save_T, class beat_T> void save_beats(hls::stream<beat_T> &data, save_T *ptr, size_t size) {
    std::fill(ptr, ptr + size, std::numeric_limits<save_T>::quiet_NaN());
    const size_t beats = data.size();
    for (size_t i = 0; i < beats; i++) {
        const beat_T got = data.read();
        for (size_t e = 0; e < beat_T::size && i * beat_T::size + e < size; e++)
            ptr[i * beat_T::size + e] = save_T(code_value(got.data[e]));
        data.write(got);
    }
}

// A tap: the stream's values as they are, for ModelGraph.trace.
template <class beat_T> void save_stream(hls::stream<beat_T> &data, const char *layer_name, size_t size) {
    if (!trace_enabled || !trace_outputs || trace_outputs->count(layer_name) == 0)
        return;
    void *ptr = (*trace_outputs)[layer_name];
    if (trace_type_size == sizeof(float))
        save_beats(data, (float *)ptr, size);
    else
        save_beats(data, (double *)ptr, size);
}

template <class data_T, class T, unsigned N> void save_layer_output(hls::stream<bitloom::beat<T, N>> &data, const char *layer_name, size_t size) {
    save_stream(data, layer_name, size);
}
template <class data_T, class T, unsigned N> void save_layer_output(hls::stream<bitloom::row_beat<T, N>> &data, const char *layer_name, size_t size) {
    save_stream(data, layer_name, size);
}

// Taps of layers that are used in turn: by tensor and turn, of the latest sentence.
typedef std::map<std::pair<std::string, unsigned>, std::vector<double>> turns_T;
inline turns_T &turns() {
    static turns_T kept;
    return kept;
}

template <class beat_T> void save_turn(hls::stream<beat_T> &data, const char *name, unsigned turn) {
    if (!trace_enabled || !trace_outputs)
        return;
    std::vector<double> &values = turns()[std::make_pair(std::string(name), turn)];
    values.assign(data.size() * beat_T::size, 0.0);
    save_beats(data, values.data(), values.size());
}

} // namespace nnet

// What such a tap saw, once: -1 if nothing came by since it was asked before, else how many values, of which `most` are copied.
extern "C" inline __attribute__((used)) long long bitloom_turn(const char *name, unsigned turn, double *values, long long most) {
    const nnet::turns_T::iterator found = nnet::turns().find(std::make_pair(std::string(name), turn));
    if (found == nnet::turns().end())
        return -1;
    const long long size = found->second.size();
    std::copy(found->second.begin(), found->second.begin() + std::min(size, most), values);
    nnet::turns().erase(found);
    return size;
}

#endif
#endif
