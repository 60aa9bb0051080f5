// SPDX-License-Identifier: Apache-2.0
// operator_csim: feeds one operator of hls/nnet from a file of numbers and writes down what it gives. tests/csim_bench.py writes and reads the files.
// File   : little-endian int64. A stream is: its beats, then for each beat its elements (lane 0 first) and `last`, of rows plus 2 at the end of a sentence.
#ifndef BITLOOM_OPERATOR_CSIM_H_
#define BITLOOM_OPERATOR_CSIM_H_

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "beat.h"

template <class T, unsigned N> void set_marks(bitloom::beat<T, N> &made, long long marks) { made.last = marks; }
template <class T, unsigned N> void set_marks(bitloom::row_beat<T, N> &made, long long marks) {
    made.last = marks & 1;
    made.end = marks & 2;
}
template <class T, unsigned N> long long marks(const bitloom::beat<T, N> &got) { return got.last; }
template <class T, unsigned N> long long marks(const bitloom::row_beat<T, N> &got) { return got.last + 2 * got.end; }

struct Numbers {
    std::vector<long long> in, out;
    size_t at = 0;

    long long next() {
        if (at == in.size())
            std::exit(3); // the two sides do not agree on the format
        return in[at++];
    }

    template <class beat_T> void feed(hls::stream<beat_T> &stream) {
        for (long long beats = next(); beats > 0; beats--) {
            beat_T made;
            for (unsigned e = 0; e < beat_T::size; e++)
                made.data[e] = typename beat_T::value_type(next());
            set_marks(made, next());
            stream.write(made);
        }
    }

    template <class beat_T> void drain(hls::stream<beat_T> &stream) {
        out.push_back(stream.size());
        while (!stream.empty()) {
            const beat_T got = stream.read();
            for (unsigned e = 0; e < beat_T::size; e++)
                out.push_back(got.data[e].to_int64());
            out.push_back(marks(got));
        }
    }

    // On the heap and of just that size, so that the address sanitizer sees a read past the end.
    template <class T> std::vector<T> array(size_t size) {
        std::vector<T> made(size);
        for (T &value : made)
            value = T(next());
        return made;
    }

    template <class T> void write(const std::vector<T> &values) {
        for (const T &value : values)
            out.push_back(value.to_int64());
    }
};


inline void load(const char *path, std::vector<long long> &values) {
    FILE *file = std::fopen(path, "rb");
    long long value;
    while (file && std::fread(&value, sizeof value, 1, file) == 1)
        values.push_back(value);
    if (!file || std::fclose(file))
        std::exit(2);
}

inline void save(const char *path, const std::vector<long long> &values) {
    FILE *file = std::fopen(path, "wb");
    if (!file || std::fwrite(values.data(), sizeof(long long), values.size(), file) != values.size() || std::fclose(file))
        std::exit(2);
}

#endif
