// The forward pass: activations, the constraints' extremes, the penalty, the census and the task loss.
#pragma once

#include <limits>

#include "network.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

template <class T>
template <int ROWS, int VECTORS>
FORCE_INLINE void Network<T>::finish_rows(V<T> (&values)[ROWS][VECTORS], int segment, int segment_step, int stride,
                                          int column, T* pre, T* out, bool with_extremes) {
    const std::size_t start = std::size_t(segment) * stride + column, row_step = std::size_t(segment_step) * stride;
    if (pre) {
        T* const rows = unread(pre + start);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v) store(rows + r * row_step + v * lanes<T>, values[r][v]);
        }
    }
    if (out) {
        T* const rows = unread(out + start);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v)
                store(rows + r * row_step + v * lanes<T>, larger<T>(V<T>{}, values[r][v]));
        }
    }
    if (!with_extremes) return;
    T* const unit_max = unread(unit_max_ + segment * lanes<T>);
    T* const unit_min = unread(unit_min_ + segment * lanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        V<T> high = values[r][0], low = values[r][0];
#pragma GCC unroll 8
        for (int v = 1; v < VECTORS; ++v) {
            high = larger<T>(high, values[r][v]);
            low = smaller<T>(low, values[r][v]);
        }
        const int place = r * segment_step * lanes<T>;
        if (column > 0) {
            high = larger<T>(high, load(unit_max + place));
            low = smaller<T>(low, load(unit_min + place));
        }
        store(unit_max + place, high);
        store(unit_min + place, low);
    }
    if (!constrained_.points) return;
    const std::size_t place = std::size_t(segment_step > 1 ? segment % segment_step : 0) * stride + column;
    T *const point_max = unread(point_max_ + place), *const point_min = unread(point_min_ + place);
    const bool first = segment < segment_step;
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) {
        V<T> high = values[0][v], low = values[0][v];
#pragma GCC unroll 8
        for (int r = 1; r < ROWS; ++r) {
            high = larger<T>(high, values[r][v]);
            low = smaller<T>(low, values[r][v]);
        }
        if (!first) {
            high = larger<T>(high, load(point_max + v * lanes<T>));
            low = smaller<T>(low, load(point_min + v * lanes<T>));
        }
        store(point_max + v * lanes<T>, high);
        store(point_min + v * lanes<T>, low);
    }
}

// Layer norm of all of a layer's units at some points.
template <class T>
template <int ROWS, int VECTORS>
FORCE_INLINE void Network<T>::normalise_rows(V<T> (&values)[ROWS][VECTORS], const Block<T>& block, int stride,
                                             int column, Hidden<T>* kept) {
    const T share = T(1) / T(ROWS), eps = T(spec_.norm_eps);
    const T* weight = block.values + block.norm_offset();
    const T* bias = weight + ROWS;
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) {
        V<T> sums[2] = {}, squares[2] = {};  // of every other unit: no long chain of additions
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) sums[r % 2] += values[r][v];
        const V<T> mean = rounded<T>((sums[0] + sums[1]) * share);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            values[r][v] -= mean;
            squares[r % 2] += values[r][v] * values[r][v];
        }
        const V<T> deviation = inverse_square_root<T>((squares[0] + squares[1]) * share + eps);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) values[r][v] *= deviation;
        if (kept) {
            store(kept->deviation + column + v * lanes<T>, deviation);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; ++r)
                store(kept->normalised + std::size_t(r) * stride + column + v * lanes<T>, values[r][v]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) values[r][v] = values[r][v] * weight[r] + bias[r];
    }
}

// Affine map of `in`; a hidden layer's goes on to `finish_rows`, scaled and shifted a row where `scale` is given,
// normalised, or joined with what a skip brings.
template <class T>
template <typename Network<T>::Rows ROWS_ARE>
void Network<T>::affine(const Set& set, const Block<T>& block, bool is_output, const T* in, T* pre, T* out,
                        const T* scale, const T* shift, bool with_extremes, Hidden<T>* kept, Skip skip) {
    const int stride = set.layout.stride, steps = is_output ? 1 : positions_;
    for (int s = 0; s < steps; ++s) {
        Product<T> product{block.weight(), block.row_stride(), 1, in, stride, block.columns};
        if (s == 1) product = {block.weight(), block.row_stride(), 2, in + stride, 2 * stride, block.columns / 2};
        multiply<T>(set.layout, block.rows, block.bias(), block.row_stride(), &product, 1,
                    [&](int row, int column, auto& sums) __attribute__((always_inline)) {
                        constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                        constexpr int VECTORS = sizeof(sums[0]) / sizeof(sums[0][0]);
                        if constexpr (ROWS_ARE == Rows::normed) {
                            const int here = as_unrelated(column);
                            normalise_rows(sums, block, stride, here, kept);
                            finish_rows<ROWS, VECTORS>(sums, 0, 1, stride, here, pre, out, with_extremes);
                            return;
                        }
                        if constexpr (ROWS_ARE == Rows::joined) {
                            const T* const input = skip.input;
                            const int here = as_unrelated(column);
#pragma GCC unroll 8
                            for (int r = 0; r < ROWS; ++r) {
                                const std::size_t start = std::size_t((row + r) * steps + s) * stride + here;
#pragma GCC unroll 8
                                for (int v = 0; v < VECTORS; ++v) {
                                    const V<T> branch = larger<T>(V<T>{}, sums[r][v]);
                                    const std::size_t place = start + v * lanes<T>;
                                    store(out + place, input ? load(input + place) + skip.factor * branch : branch);
                                }
                            }
                            finish_rows<ROWS, VECTORS>(sums, row * steps + s, steps, stride, here, pre, nullptr,
                                                       with_extremes);
                            return;
                        }
                        if (is_output) {
#pragma GCC unroll 8
                            for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
                                for (int v = 0; v < VECTORS; ++v)
                                    store(out + std::size_t(row + r) * stride + column + v * lanes<T>, sums[r][v]);
                            }
                            return;
                        }
                        if (scale) {
#pragma GCC unroll 8
                            for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
                                for (int v = 0; v < VECTORS; ++v)
                                    sums[r][v] = sums[r][v] * scale[row + r] + shift[row + r];
                            }
                        }
                        finish_rows<ROWS, VECTORS>(sums, row * steps + s, steps, stride, column, pre, out,
                                                   with_extremes);
                    });
    }
}

// Batch norm over points and positions: the affine map's rows in `pre` become normalised, weighted and shifted.
template <class T>
void Network<T>::normalise(const Set& set, const Block<T>& block, Hidden<T>& layer) {
    const int stride = set.layout.stride, length = positions_ * stride;
    const T count = T(set.layout.count) * T(positions_);
    const T* weight = block.values + block.norm_offset();
    const T* bias = weight + block.rows;
    for (int r = 0; r < block.rows; ++r) {
        T* row = layer.pre + std::size_t(r) * length;
        T* normalised = layer.normalised + std::size_t(r) * length;
        V<T> sum = {};
        for (int i = 0; i < length; i += lanes<T>) sum += load(row + i) * load(set.valid + i % stride);
        const T mean = horizontal_sum<T>(sum) / count;
        sum = V<T>{};
        for (int i = 0; i < length; i += lanes<T>) {
            const V<T> distance = (load(row + i) - mean) * load(set.valid + i % stride);
            sum += distance * distance;
        }
        const T squares = horizontal_sum<T>(sum), deviation = T(1) / std::sqrt(squares / count + T(spec_.norm_eps));
        for (int i = 0; i < length; i += lanes<T>) {
            const V<T> value = (load(row + i) - mean) * deviation;
            store(normalised + i, value);
            store(row + i, value * weight[r] + bias[r]);
        }
        layer.deviation[r] = deviation;
        const T share = T(spec_.norm_momentum);
        layer.running_mean[r] += share * (mean - layer.running_mean[r]);
        layer.running_variance[r] += share * (squares / (count - 1) - layer.running_variance[r]);
    }
}

// Layer norm over a point's units and positions: the affine map's rows in `pre` become normalised, weighted and shifted;
// the ReLU of them goes to `out` where it is given.
template <class T>
void Network<T>::normalise_points(const Set& set, const Block<T>& block, T* pre, T* out, Hidden<T>* kept) {
    const int stride = set.layout.stride;
    const T* weight = a_segment(block.values + block.norm_offset(), norm_scale_);
    const T* bias = a_segment(block.values + block.norm_offset() + block.rows, norm_shift_);
    in_columns(stride, [&](int column, auto width) __attribute__((always_inline)) {
        constexpr int COLUMNS = decltype(width)::value;
        const T share = T(1) / T(segments_), eps = T(spec_.norm_eps);
        V<T> mean[COLUMNS] = {}, deviation[COLUMNS] = {};
        for (int s = 0; s < segments_; ++s) {
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) mean[c] += load(pre + std::size_t(s) * stride + column + c * lanes<T>);
        }
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) mean[c] = rounded<T>(mean[c] * share);
        for (int s = 0; s < segments_; ++s) {
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) {
                const V<T> distance = load(pre + std::size_t(s) * stride + column + c * lanes<T>) - mean[c];
                deviation[c] += distance * distance;
            }
        }
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) {
            deviation[c] = inverse_square_root<T>(deviation[c] * share + eps);
            if (kept) store(kept->deviation + column + c * lanes<T>, deviation[c]);
        }
        for (int s = 0; s < segments_; ++s) {
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) {
                const std::size_t place = std::size_t(s) * stride + column + c * lanes<T>;
                const V<T> value = (load(pre + place) - mean[c]) * deviation[c];
                if (kept) store(kept->normalised + place, value);
                const V<T> shifted = value * weight[s] + bias[s];
                store(pre + place, shifted);
                if (out) store(out + place, larger<T>(V<T>{}, shifted));
            }
        }
    });
}

// The batch norm in evaluation mode: a factor a unit; what is to be added comes into `norm_shift_`.
template <class T>
const T* Network<T>::running_scale(const Block<T>& block, const Hidden<T>& layer) {
    for (int r = 0; r < spec_.width; ++r) {
        norm_scale_[r] =
            block.values[block.norm_offset() + r] / std::sqrt(layer.running_variance[r] + T(spec_.norm_eps));
        norm_shift_[r] =
            block.values[block.norm_offset() + block.rows + r] - layer.running_mean[r] * norm_scale_[r];
    }
    return norm_scale_;
}

// What `affine` does beside its product, on rows that a norm has changed: the ReLU where `out` is given, and extremes.
template <class T>
void Network<T>::scan(const Set& set, const T* pre, T* out, bool with_extremes) {
    const int stride = set.layout.stride;
    for (int segment = 0; segment < segments_; ++segment)
        for (int column = 0; column < stride; column += lanes<T>) {
            V<T> value[1][1] = {{load(pre + std::size_t(segment) * stride + column)}};
            finish_rows<1, 1>(value, segment, positions_, stride, column, nullptr, out, with_extremes);
        }
}

template <class T>
void Network<T>::drop(const Set& set, const T* in, int segments, const Hidden<T>& to, int layer, std::int64_t epoch,
                      T scale, std::uint64_t threshold) {
    constexpr int batch = 16;
    const int stride = set.layout.stride, last = set.layout.count - 1;
    for (int unit = 0; unit < segments; unit += 4) {
        const int units = segments - unit < 4 ? segments - unit : 4;
        for (int start = 0; start < stride; start += batch) {
            std::uint32_t words[4][batch];
            philox_of_points<batch>(unit / 4, start, last, std::uint32_t(layer), std::uint32_t(epoch), spec_.seed,
                                    std::uint32_t(Stream::dropout), words);
            const int points = stride - start < batch ? stride - start : batch;
            for (int u = 0; u < units; ++u) {
                const std::size_t place = std::size_t(unit + u) * stride + start;
                for (int p = 0; p < points; ++p)
                    to.dropped[place + p] = in[place + p] * (words[u][p] >= threshold ? scale : T(0));
                if (!to.kept) continue;
                for (int p = 0; p < points; ++p) to.kept[place + p] = words[u][p] >= threshold ? scale : T(0);
            }
        }
    }
}

template <class T>
void Network<T>::end_penalty() {
    penalty_ = double(horizontal_sum<T>(penalty_sums_));
    coefficient_constant_ = T(1);
    coefficient_slope_ = T(0);
    switch (spec_.aggregate) {
        case Aggregate::sum:
        case Aggregate::balanced:  // in its shares
            return;
        case Aggregate::mean:
            penalty_ /= constraints_;
            coefficient_constant_ = T(1 / constraints_);
            return;
        case Aggregate::l2:
            penalty_ = std::sqrt(penalty_);
            coefficient_constant_ = T(0);
            coefficient_slope_ = penalty_ > 0 ? T(1 / penalty_) : T(0);
            return;
        case Aggregate::sum_sq:
            coefficient_constant_ = T(0);
            coefficient_slope_ = T(2);
            return;
    }
}

// The extremes of some units from `unit`, reduced over their points, a unit a lane.
template <class T>
template <int COUNT>
FORCE_INLINE void Network<T>::extremes_of_units(int unit, V<T>& high, V<T>& low) {
    constexpr int count = COUNT < lanes<T> ? COUNT : lanes<T>;
    V<T> highs[count], lows[count];
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) {
        highs[i] = load(unit_max_ + (unit + i) * lanes<T>);
        lows[i] = load(unit_min_ + (unit + i) * lanes<T>);
    }
    high = reduced_rows<T, Larger, count>(highs);
    low = reduced_rows<T, Smaller, count>(lows);
}

// From the extremes of the layer in hand: the constraints' extremes, and what the layer adds to the penalty.
template <class T>
void Network<T>::finish_extremes(const Set& set, Hidden<T>& layer) {
    const int stride = set.layout.stride;
    const bool joined = positions_ == 2 && !per_position_, is_squared = squares();
    if (constrained_.layers) {
        V<T> high = load(unit_max_), low = load(unit_min_);
        for (int segment = 1; segment < segments_; ++segment) {
            high = larger<T>(high, load(unit_max_ + segment * lanes<T>));
            low = smaller<T>(low, load(unit_min_ + segment * lanes<T>));
        }
        layer.layer_high = reduced_rows<T, Larger, 1>(&high)[0];
        layer.layer_low = reduced_rows<T, Smaller, 1>(&low)[0];
        V<T> found = {};
        found[0] = violation(layer, layer_shares_, layer.layer_high, layer.layer_low);
        penalty_sums_ += counted(found, is_squared);
    }
    if (constrained_.units) {
        const int count = joined ? spec_.width : segments_;
        if (joined)
            for (int unit = 0; unit < count; ++unit) {
                const int both = 2 * unit * lanes<T>;
                store(unit_max_ + unit * lanes<T>, larger<T>(load(unit_max_ + both), load(unit_max_ + both + lanes<T>)));
                store(unit_min_ + unit * lanes<T>, smaller<T>(load(unit_min_ + both), load(unit_min_ + both + lanes<T>)));
            }
        Mask<T> any_violated = {};
        const Deficits deficits = deficits_of(layer, unit_shares_);
        V<T> sums = penalty_sums_;
        for (int unit = 0; unit < count; unit += lanes<T>) {
            V<T> high, low;
            if (count - unit <= 4) extremes_of_units<4>(unit, high, low);
            else extremes_of_units<lanes<T>>(unit, high, low);
            store(layer.unit_high + unit, high);
            store(layer.unit_low + unit, low);
            const Mask<T> real = lane_numbers<T>(LaneIndices<T>{}) < T(count - unit);
            sums += rounded<T>(counted(real ? deficits.violations(high, low) : V<T>{}, is_squared));
            any_violated |= real & (deficits.is_above(high) | deficits.is_below(low));
        }
        penalty_sums_ = sums;
        layer.unit_violated = any<T>(any_violated);
    }
    if (constrained_.points) {
        Mask<T> any_above = {}, any_below = {};
        const Deficits deficits = deficits_of(layer, point_shares_);
        T *const highest = layer.point_high, *const lowest = layer.point_low;
        V<T> sums = penalty_sums_;
        for (int i = 0; i < (joined ? 1 : positions_) * stride; i += lanes<T>) {
            V<T> high = load(point_max_ + i), low = load(point_min_ + i);
            if (joined) {
                high = larger<T>(high, load(point_max_ + stride + i));
                low = smaller<T>(low, load(point_min_ + stride + i));
                store(highest + i, high);
                store(lowest + i, low);
            }
            const Mask<T> valid = load(set.valid + (i < stride ? i : i - stride)) > T(0);
            sums += counted(valid ? deficits.violations(high, low) : V<T>{}, is_squared);
            any_above |= deficits.is_above(high);
            any_below |= deficits.is_below(low);
        }
        penalty_sums_ = sums;
        layer.point_above = any<T>(any_above);
        layer.point_below = any<T>(any_below);
    }
}

// Of a layer's pre-activations, its activations before a skip, and their derivatives (null where `pre` tells when they
// are 0). After the last layer `dead_at_some_layer_` is what its name says: until then it is of the layers so far.
template <class T>
void Network<T>::count_census(const Set& set, int layer, const T* pre, const T* activations, const T* slopes,
                              double* six) {
    constexpr double tau = 0.025, least = 1e-9;
    const int stride = set.layout.stride, count = set.layout.count, outputs = activation_.outputs;
    T *any_slope = tie_work_, *all_on = tie_work_ + stride, *sizes = norm_scale_;  // any slope of a point, …
    for (int i = 0; i < stride; ++i) any_slope[i] = T(0), all_on[i] = T(1);
    int dead_units = 0, linear_units = 0, dead_points = 0, linear_points = 0, dead_somewhere = 0, dormant_units = 0;
    double size_of_layer = 0, firing = 0;
    for (int unit = 0; unit < spec_.width; ++unit) {
        Mask<T> any_here = {}, any_off = {};
        V<T> size = {}, fires = {};
        for (int s = unit * positions_; s < (unit + 1) * positions_; ++s)
            for (int i = 0; i < stride; i += lanes<T>) {
                const std::size_t place = std::size_t(s) * stride + i;
                const V<T> g = load(pre + place), valid = load(set.valid + i);
                const Mask<T> on = g > T(0);
                const Mask<T> slope = slopes ? load(slopes + place) != T(0) : outputs == 2 ? g != T(0) : ~(g <= T(0));
                any_here |= slope;
                any_off |= ~on;
                fires += on ? valid : V<T>{};
                for (int o = 0; o < outputs; ++o)
                    size += magnitude<T>(load(activations + std::size_t(o) * segments_ * stride + place)) * valid;
                store(any_slope + i, slope ? broadcast<T>(T(1)) : load(any_slope + i));
                store(all_on + i, on ? load(all_on + i) : V<T>{});
            }
        dead_units += !any<T>(any_here);
        linear_units += !any<T>(any_off);
        sizes[unit] = horizontal_sum<T>(size);
        size_of_layer += double(sizes[unit]);
        firing += double(horizontal_sum<T>(fires));
    }
    const double each = double(count) * positions_, mean = size_of_layer / (each * spec_.width);
    for (int unit = 0; unit < spec_.width; ++unit) dormant_units += double(sizes[unit]) / each <= tau * (mean + least);
    for (int p = 0; p < count; ++p) {
        const bool dead = !(any_slope[p] > T(0));
        dead_points += dead;
        linear_points += all_on[p] > T(0);
        dead_so_far_[p] = dead || (layer > 0 && dead_so_far_[p]);
        dead_somewhere += dead_so_far_[p];
    }
    const auto known = [&](double number) { return spec_.is_smooth ? std::numeric_limits<double>::quiet_NaN() : number; };
    six[0] = known(double(dead_units) / spec_.width);
    six[1] = known(double(linear_units) / spec_.width);
    six[2] = known(double(dead_points) / count);
    six[3] = known(double(linear_points) / count);
    six[4] = double(dormant_units) / spec_.width;
    six[5] = firing / (each * spec_.width);
    dead_at_some_layer_ = known(double(dead_somewhere) / count);
}

// Logits of a set of points. Training keeps what the backward pass needs; training and the whole set measure the penalty.
template <class T>
void Network<T>::forward(const Set& set, Mode mode, T dropout_scale, std::uint64_t dropout_threshold,
                         std::int64_t epoch, double* census) {
    const bool training = mode == Mode::train || mode == Mode::relaxed, dropping = training && dropout_scale > 0;
    const bool with_extremes = mode == Mode::whole_set || (training && has_penalty_);
    const T* in = set.x;
    const T* skipped = nullptr;  // the input of the block in hand
    penalty_sums_ = V<T>{};
    for (int l = 0; l < spec_.depth; ++l) {
        if (stopped()) return;
        const Block<T>& block = blocks_[l];
        Hidden<T>& layer = hidden_[l];
        if (constrained_.points && (positions_ == 1 || per_position_)) {  // they are the constraints' own
            point_max_ = layer.point_high;
            point_min_ = layer.point_low;
        }
        // pre-activations and outputs: kept in the training, and of the whole training set while its census is taken
        T *out = activations_[l % 2], *pre = training || has_layer_norm_ ? layer.pre : nullptr;
        if (is_inlined_) {
            if (has_layer_norm_ && mode == Mode::evaluate) pre = out;
        } else if (mode == Mode::evaluate) {
            for (int i = 0; out == in || out == skipped; ++i) out = activations_[i];
            pre = out;
        } else {
            out = layer.outputs;
            pre = layer.pre;
        }
        if (dropping) {
            drop(set, in, l == 0 ? spec_.features : seen_, layer, l, epoch, dropout_scale, dropout_threshold);
            in = layer.dropped;
        }
        if (is_joined_) {
            Skip skip = {};
            if (ends_block(spec_, l))
                skip = {skipped, block.has_factor ? block.values[block.factor_offset()] : T(1)};
            affine<Rows::joined>(set, block, false, in, mode == Mode::evaluate ? nullptr : pre, out, nullptr, nullptr,
                                 with_extremes, nullptr, skip);
            if (census) {
                const std::size_t count = std::size_t(segments_) * set.layout.stride;
                activate_all<T>(spec_.activation, 0, pre, activations_[0], nullptr, count);
                count_census(set, l, pre, activations_[0], nullptr, census + 6 * l);
            }
            if (begins_block(spec_, l)) skipped = out;
            if (with_extremes && has_penalty_) finish_extremes(set, layer);
            in = out;
            continue;
        }
        const bool is_apart = has_layer_norm_ || (training && has_batch_norm_);  // the norm goes over rows of its own
        T* const rectified = is_inlined_ ? out : nullptr;
        if (normalises_in_registers(set)) {
            // without a penalty and dropout the backward pass has pre-activations from normalised ones
            const bool has_pre = census || (training && (has_penalty_ || dropping));
            affine<Rows::normed>(set, block, false, in, has_pre ? pre : nullptr, rectified, nullptr, nullptr,
                                 with_extremes, training ? &layer : nullptr);
        } else if (is_apart) {
            affine(set, block, false, in, pre, nullptr, nullptr, nullptr, false);
            if (has_layer_norm_) normalise_points(set, block, pre, rectified, training ? &layer : nullptr);
            else normalise(set, block, layer);
            if (with_extremes || (rectified && !has_layer_norm_)) scan(set, pre, rectified, with_extremes);
        } else {
            const T* scale = has_batch_norm_ ? running_scale(block, layer) : nullptr;
            affine(set, block, false, in, pre, rectified, scale, norm_shift_, with_extremes);
        }
        if (block.has_multiplier)
            for (int i = 0; i < segments_ * set.layout.stride; i += lanes<T>) store(pre + i, load(pre + i) + load(skipped + i));
        T* activations = out;
        if (!is_inlined_) {
            const std::size_t count = std::size_t(segments_) * set.layout.stride;
            if (block.has_factor && mode != Mode::evaluate) activations = layer.branch;
            T* const slopes = training || census ? layer.slopes : nullptr;
            activate_all<T>(spec_.activation, number_of(block), pre, activations, slopes, count);
        }
        if (census) count_census(set, l, pre ? pre : out, activations, layer.slopes, census + 6 * l);
        if (ends_block(spec_, l) && !block.is_fixup) {
            const T factor = block.has_factor ? block.values[block.factor_offset()] : T(1);
            for (int i = 0; i < segments_ * set.layout.stride; i += lanes<T>)
                store(out + i, load(skipped + i) + factor * load(activations + i));
        }
        if (begins_block(spec_, l)) skipped = out;
        if (with_extremes && has_penalty_) finish_extremes(set, layer);
        in = out;
        if (mode != Mode::relaxed || !layer.z) continue;
        switch (spec_.relax) {
            case Relax::activation: break;
            case Relax::pre_activation:
                activate_all<T>(spec_.activation, spec_.activation_number, layer.z, layer.handed, layer.z_slopes,
                                z_length(segments_));
        }
        in = layer.handed;
    }
    if (with_extremes) end_penalty();
    affine(set, blocks_[spec_.depth], true, in, nullptr, logits_, nullptr, nullptr, false);
}

// The task's mean loss over the points, the share of right predictions or R², and the loss's gradient: all by the points'
// weights, of which one that is 1 changes no bit.
template <class T>
typename Network<T>::Score Network<T>::score(const Set& set, bool with_loss, bool with_gradient) {
    switch (spec_.task) {
        case Task::classification: return score_classes(set, with_loss, with_gradient);
        case Task::regression: return score_numbers(set, with_gradient);
    }
    __builtin_trap();
}

template <class T>
typename Network<T>::Score Network<T>::score_classes(const Set& set, bool with_loss, bool with_gradient) {
    const int stride = set.layout.stride, count = set.layout.count;
    const T share = spec_.task_loss ? T(1) / T(count) : T(0);
    if (spec_.outputs == 1) {
        V<T> loss = {}, right = {};
        for (int i = 0; i < stride; i += lanes<T>) {
            const V<T> z = load(logits_ + i), label = load(set.label + i), weight = load(set.weight + i);
            const Mask<T> valid = load(set.valid + i) > T(0), positive = z > T(0);
            const V<T> e = exp_of_negative<T>(positive ? -z : z);
            if (with_loss) {
                const V<T> each = larger<T>(V<T>{}, z) - z * label + log_of_one_plus<T>(e);
                loss += valid ? each * weight : V<T>{};
                const Mask<T> hit = positive == (label > T(0.5));
                right += (valid & hit) ? weight : V<T>{};
            }
            if (with_gradient) {
                const V<T> probability = (positive ? broadcast<T>(T(1)) : e) / (T(1) + e);
                store(logit_gradient_ + i, valid && spec_.task_loss ? (probability - label) * share * weight : V<T>{});
            }
        }
        return {double(horizontal_sum<T>(loss)) / count, double(horizontal_sum<T>(right)) / count};
    }
    double loss = 0, right = 0;
    for (int p = 0; p < stride; ++p) {
        const bool valid = p < count;
        const int label = valid ? int(set.label[p]) : 0;
        int best = 0;
        for (int o = 1; o < spec_.outputs; ++o)
            if (logits_[o * stride + p] > logits_[best * stride + p]) best = o;
        const T most = logits_[best * stride + p];
        T sum = 0;
        for (int o = 0; o < spec_.outputs; ++o) sum += std::exp(logits_[o * stride + p] - most);
        if (valid && with_loss) {
            loss += double(set.weight[p]) * double(std::log(sum) + most - logits_[label * stride + p]);
            right += best == label ? double(set.weight[p]) : 0.0;
        }
        if (with_gradient)
            for (int o = 0; o < spec_.outputs; ++o) {
                const T probability = std::exp(logits_[o * stride + p] - most) / sum;
                logit_gradient_[o * stride + p] =
                    valid && spec_.task_loss ? (probability - T(o == label)) * share * set.weight[p] : T(0);
            }
    }
    return {loss / count, right / count};
}

template <class T>
typename Network<T>::Score Network<T>::score_numbers(const Set& set, bool with_gradient) {
    const int stride = set.layout.stride, count = set.layout.count;
    const T share = spec_.task_loss ? T(2) / T(count) : T(0);
    V<T> loss = {};
    for (int i = 0; i < stride; i += lanes<T>) {
        const V<T> valid = load(set.valid + i), error = (load(logits_ + i) - load(set.label + i)) * valid;
        const V<T> weighted = error * load(set.weight + i);
        loss += error * weighted;
        if (with_gradient) store(logit_gradient_ + i, weighted * share);
    }
    const double mean = double(horizontal_sum<T>(loss)) / count;
    return {mean, set.variance > 0 ? 1 - mean / set.variance : 0};  // 0 where the targets are all equal
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
