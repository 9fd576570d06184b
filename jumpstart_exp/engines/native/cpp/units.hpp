// Units that follow from others (Farkas layers), and units that begin anew (ReDo).
#pragma once

#include "network.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

// With z = Wx of the other units, the last unit's pre-activation is −mean(z) + max(−mean(their biases), its own bias):
// an affine map whose weights are minus the others' mean.
template <class T>
void Network<T>::bind_last_unit(const Block<T>& block) {
    const int others = block.free_rows();
    T* const last = block.values + others * block.row_stride();
    for (int c = 0; c < block.columns; ++c) {
        T sum = 0;
        for (int r = 0; r < others; ++r) sum += block.values[r * block.row_stride() + c];
        last[c] = -sum / T(others);
    }
    T biases = 0;
    for (int r = 0; r < others; ++r) biases += block.values[block.bias_of_row(r)];
    const T bound = -biases / T(others), own = block.values[block.own_bias_offset()];
    last[block.columns] = own > bound ? own : bound;
}

template <class T>
void Network<T>::bind_all() {
    for (int l = 0; l < spec_.depth; ++l) bind(blocks_[l]);
}

template <class T>
void Network<T>::bind(const Block<T>& block) {
    if (block.is_farkas) bind_last_unit(block);
    if (block.is_fixup) bind_fixup(block);
}

template <class T>
void Network<T>::share_gradient(const Block<T>& block, T* gradient) {
    if (block.is_farkas) share_last_gradient(block, gradient);
    if (block.is_fixup) share_fixup_gradient(block, gradient);
}

// m·W(x + b₁) + b₂ as an affine map: the weights mW, and of every unit the bias m·b₁·ΣW + b₂; m is 1 but in a block's last
// layer.
template <class T>
void Network<T>::bind_fixup(const Block<T>& block) {
    const T* const numbers = block.values + block.numbers_offset();
    const T factor = block.has_multiplier ? numbers[2] : T(1);
    for (int r = 0; r < block.rows; ++r) {
        const T* const from = block.values + r * block.row_stride();
        T* const to = block.effective + r * block.row_stride();
        T sum = 0;
        for (int c = 0; c < block.columns; ++c) {
            sum += from[c];
            to[c] = factor * from[c];
        }
        to[block.columns] = factor * numbers[0] * sum + numbers[1];
    }
}

template <class T>
void Network<T>::share_fixup_gradient(const Block<T>& block, T* gradient) {
    const T* const numbers = block.values + block.numbers_offset();
    T* const to_numbers = gradient + block.numbers_offset();
    const T factor = block.has_multiplier ? numbers[2] : T(1);
    T before = 0, after = 0, of_factor = 0;
    for (int r = 0; r < block.rows; ++r) {
        const T* const weights = block.values + r * block.row_stride();
        T* const own = gradient + r * block.row_stride();
        const T of_bias = own[block.columns];
        T sum = 0;
        for (int c = 0; c < block.columns; ++c) {
            sum += weights[c];
            of_factor += own[c] * weights[c];
            own[c] = factor * (own[c] + of_bias * numbers[0]);
        }
        before += of_bias * factor * sum;
        after += of_bias;
        of_factor += of_bias * numbers[0] * sum;
        own[block.columns] = T(0);
    }
    to_numbers[0] = before;
    to_numbers[1] = after;
    if (block.has_multiplier) to_numbers[2] = of_factor;
}

// What reaches the last unit's weights and bias goes to those that they follow from; where its own bias and the others'
// mean are equal each has half.
template <class T>
void Network<T>::share_last_gradient(const Block<T>& block, T* gradient) {
    const int others = block.free_rows();
    T* const last = gradient + others * block.row_stride();
    for (int c = 0; c < block.columns; ++c) {
        const T share = last[c] / T(others);
        for (int r = 0; r < others; ++r) gradient[r * block.row_stride() + c] -= share;
        last[c] = T(0);
    }
    T biases = 0;
    for (int r = 0; r < others; ++r) biases += block.values[block.bias_of_row(r)];
    const T bound = -biases / T(others), own = block.values[block.own_bias_offset()];
    const T to_own = own > bound ? T(1) : own < bound ? T(0) : T(0.5), found = last[block.columns];
    for (int r = 0; r < others; ++r) gradient[block.bias_of_row(r)] -= (1 - to_own) * found / T(others);
    gradient[block.own_bias_offset()] = to_own * found;
    last[block.columns] = T(0);
}

// By the pre-activations of the step before: a unit whose mean activation is at most τ of its layer's mean takes fresh
// incoming weights, and outgoing ones of 0; the slots of both are 0.
template <class T>
void Network<T>::reset_dormant(const double* fresh) {
    const int stride = train_.layout.stride, count = train_.layout.count, width = spec_.width;
    T* const sizes = norm_scale_;  // room that nothing else needs now
    for (int l = 0; l < spec_.depth; ++l) {
        T all = 0;
        for (int unit = 0; unit < width; ++unit) {
            T sum = 0;
            for (int s = 0; s < positions_; ++s) {
                const T* row = hidden_[l].pre + std::size_t(unit * positions_ + s) * stride;
                for (int p = 0; p < count; ++p) sum += row[p] > T(0) ? row[p] : T(0);
            }
            sizes[unit] = sum / T(count * positions_);
            all += sizes[unit];
        }
        const T least = T(spec_.reset_tau) * (all / T(width) + T(1e-9));
        for (int unit = 0; unit < width; ++unit) dormant_[l * width + unit] = sizes[unit] <= least;
    }
    const int slots = slots_of(spec_);
    const auto put = [&](const Block<T>& block, int offset, T value) {
        block.values[offset] = value;
        for (int slot = 0; slot < slots; ++slot) block.slot(slot)[offset] = T(0);
    };
    each_parameter([&](int l, int offset) {
        const double value = *fresh++;
        if (l == spec_.depth || !dormant_[l * width + offset / blocks_[l].row_stride()]) return;
        put(blocks_[l], offset, T(value));
    });
    for (int l = 1; l <= spec_.depth; ++l)
        for (int column = 0; column < blocks_[l].columns; ++column)
            if (dormant_[(l - 1) * width + column / positions_])
                for (int r = 0; r < blocks_[l].rows; ++r) put(blocks_[l], r * blocks_[l].row_stride() + column, T(0));
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
