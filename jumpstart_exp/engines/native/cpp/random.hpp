// The counter-based streams of jumpstart_exp.randomness, to the bit.
#pragma once

#include <cstdint>

namespace jumpstart {
namespace INSTRUCTION_SET {

enum class Stream : std::uint32_t {
    dropout = 1,
    tie_unit_above = 3,
    tie_unit_below = 4,
    tie_point_above = 5,
    tie_point_below = 6,
    tie_layer_above = 7,
    tie_layer_below = 8,
};

// Philox4x32-10 (Salmon et al., 2011), in place.
inline void philox4x32(std::uint32_t (&c)[4], std::uint32_t key0, std::uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t(0xD2511F53) * c[0], product1 = std::uint64_t(0xCD9E8D57) * c[2];
        const std::uint32_t c1 = c[1], c3 = c[3];
        c[0] = std::uint32_t(product1 >> 32) ^ c1 ^ key0;
        c[1] = std::uint32_t(product1);
        c[2] = std::uint32_t(product0 >> 32) ^ c3 ^ key1;
        c[3] = std::uint32_t(product0);
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

// The four words of `COUNT` points from `start`, those beyond the last as the last; a loop over points per round is
// what compilers turn into vectors.
template <int COUNT>
inline void philox_of_points(std::uint32_t block, int start, int last, std::uint32_t layer, std::uint32_t epoch,
                             std::uint32_t key0, std::uint32_t key1, std::uint32_t (&words)[4][COUNT]) {
    std::uint64_t c0[COUNT], c1[COUNT], c2[COUNT], c3[COUNT];
    for (int i = 0; i < COUNT; ++i) {
        c0[i] = block;
        c1[i] = std::uint64_t(start + i < last ? start + i : last);
        c2[i] = layer;
        c3[i] = epoch;
    }
    for (int round = 0; round < 10; ++round) {
        for (int i = 0; i < COUNT; ++i) {
            const std::uint64_t product0 = std::uint64_t(0xD2511F53) * std::uint32_t(c0[i]);
            const std::uint64_t product1 = std::uint64_t(0xCD9E8D57) * std::uint32_t(c2[i]);
            c0[i] = (product1 >> 32) ^ c1[i] ^ key0;
            c2[i] = (product0 >> 32) ^ c3[i] ^ key1;
            c1[i] = std::uint32_t(product1);
            c3[i] = std::uint32_t(product0);
        }
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    for (int i = 0; i < COUNT; ++i) {
        words[0][i] = std::uint32_t(c0[i]);
        words[1][i] = std::uint32_t(c1[i]);
        words[2][i] = std::uint32_t(c2[i]);
        words[3][i] = std::uint32_t(c3[i]);
    }
}

// Numbers uniform on [−1, 1) from NumPy's Philox4x64-10 keyed by (seed, layer), whose counter starts at 1.
class WeightStream {
public:
    WeightStream(std::uint64_t seed, std::uint64_t layer) : key_{seed, layer} {}

    double next() {
        if (used_ == 4) refill();
        return 2.0 * (double(words_[used_++] >> 11) * 0x1p-53) - 1.0;
    }

private:
    std::uint64_t key_[2], counter_ = 0, words_[4] = {};
    int used_ = 4;

    void refill() {
        std::uint64_t c[4] = {++counter_, 0, 0, 0}, k0 = key_[0], k1 = key_[1];
        for (int round = 0; round < 10; ++round) {
            const unsigned __int128 product0 = (unsigned __int128)0xD2E7470EE14C6C93u * c[0];
            const unsigned __int128 product1 = (unsigned __int128)0xCA5A826395121157u * c[2];
            const std::uint64_t c1 = c[1], c3 = c[3];
            c[0] = std::uint64_t(product1 >> 64) ^ c1 ^ k0;
            c[1] = std::uint64_t(product1);
            c[2] = std::uint64_t(product0 >> 64) ^ c3 ^ k1;
            c[3] = std::uint64_t(product0);
            k0 += 0x9E3779B97F4A7C15u;
            k1 += 0xBB67AE8584CAA73Bu;
        }
        for (int i = 0; i < 4; ++i) words_[i] = c[i];
        used_ = 0;
    }
};

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
