// The forward pass: activations, the constraints' extremes, the penalty, the census and the task loss.
#pragma once

#include "network.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

template <class T>
template <int ROWS, int VECTORS>
FORCE_INLINE void Network<T>::finish_rows(V<T> (&values)[ROWS][VECTORS], int segment, int segment_step, int stride,
                                          int column, T* pre, T* out, bool with_extremes) {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        const std::size_t start = std::size_t(segment + r * segment_step) * stride + column;
        if (pre) {
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v) store(pre + start + v * lanes<T>, values[r][v]);
        }
        if (out) {
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v) store(out + start + v * lanes<T>, activated<T>(spec_.activation, values[r][v]));
        }
    }
    if (!with_extremes) return;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        V<T> high = values[r][0], low = values[r][0];
#pragma GCC unroll 8
        for (int v = 1; v < VECTORS; ++v) {
            high = larger<T>(high, values[r][v]);
            low = smaller<T>(low, values[r][v]);
        }
        T* unit_max = unit_max_ + (segment + r * segment_step) * lanes<T>;
        T* unit_min = unit_min_ + (segment + r * segment_step) * lanes<T>;
        if (column > 0) {
            high = larger<T>(high, load(unit_max));
            low = smaller<T>(low, load(unit_min));
        }
        store(unit_max, high);
        store(unit_min, low);
    }
    T* point_max = point_max_ + (segment_step > 1 ? segment % segment_step : 0) * stride + column;
    T* point_min = point_min_ + (segment_step > 1 ? segment % segment_step : 0) * stride + column;
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

// Affine map of `in`; a hidden layer's goes on to `finish_rows`, scaled and shifted a row where `scale` is given.
template <class T>
void Network<T>::affine(const Set& set, const Block<T>& block, bool is_output, const T* in, Hidden<T>* kept, T* out,
                        const T* scale, const T* shift, bool with_extremes) {
    const int stride = set.layout.stride, steps = is_output ? 1 : positions_;
    T* pre = kept ? kept->pre : nullptr;
    for (int s = 0; s < steps; ++s) {
        Product<T> product{block.weight(), block.row_stride(), 1, in, stride, block.columns};
        if (s == 1) product = {block.weight(), block.row_stride(), 2, in + stride, 2 * stride, block.columns / 2};
        multiply<T>(set.layout, block.rows, block.bias(), block.row_stride(), &product, 1,
                    [&](int row, int column, auto& sums) __attribute__((always_inline)) {
                        constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                        constexpr int VECTORS = sizeof(sums[0]) / sizeof(sums[0][0]);
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

template <class T>
void Network<T>::activate(const Set& set, Hidden<T>& layer, T* out, bool with_extremes) {
    const int stride = set.layout.stride;
    for (int segment = 0; segment < segments_; ++segment)
        for (int column = 0; column < stride; column += lanes<T>) {
            V<T> value[1][1] = {{load(layer.pre + std::size_t(segment) * stride + column)}};
            finish_rows<1, 1>(value, segment, positions_, stride, column, nullptr, out, with_extremes);
        }
}

template <class T>
void Network<T>::drop(const Set& set, const T* in, int segments, T* out, int layer, std::int64_t epoch, T scale,
                      std::uint64_t threshold) {
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
                    out[place + p] = in[place + p] * (words[u][p] >= threshold ? scale : T(0));
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
    const bool joined = positions_ == 2 && !per_position_;
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
        add_penalty(found);
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
        const SharesNow shares = unit_shares_;
        for (int unit = 0; unit < count; unit += lanes<T>) {
            V<T> high, low;
            if (count - unit <= 4) extremes_of_units<4>(unit, high, low);
            else extremes_of_units<lanes<T>>(unit, high, low);
            store(layer.unit_high + unit, high);
            store(layer.unit_low + unit, low);
            const Mask<T> real = lane_numbers<T>(LaneIndices<T>{}) < T(count - unit);
            add_penalty(real ? violations(layer, shares, high, low) : V<T>{});
            any_violated |= real & (is_above(high) | is_below(low));
        }
        layer.unit_violated = any<T>(any_violated);
    }
    if (constrained_.points) {
        Mask<T> any_above = {}, any_below = {};
        const SharesNow shares = point_shares_;
        for (int i = 0; i < (joined ? 1 : positions_) * stride; i += lanes<T>) {
            V<T> high = load(point_max_ + i), low = load(point_min_ + i);
            if (joined) {
                high = larger<T>(high, load(point_max_ + stride + i));
                low = smaller<T>(low, load(point_min_ + stride + i));
            }
            store(layer.point_high + i, high);
            store(layer.point_low + i, low);
            const Mask<T> valid = load(set.valid + (i < stride ? i : i - stride)) > T(0);
            add_penalty(valid ? violations(layer, shares, high, low) : V<T>{});
            any_above |= is_above(high);
            any_below |= is_below(low);
        }
        layer.point_above = any<T>(any_above);
        layer.point_below = any<T>(any_below);
    }
}

// After the last layer `dead_at_some_layer_` is what its name says: until then it is of the layers so far.
template <class T>
void Network<T>::count_census(const Set& set, int layer, double* four) {
    int dead_units = 0, linear_units = 0, dead_points = 0, linear_points = 0, dead_somewhere = 0;
    for (int segment = 0; segment < segments_; segment += positions_) {
        bool dead = true, linear = true;
        for (int s = 0; s < positions_; ++s) {
            dead = dead && !any<T>(load(unit_max_ + (segment + s) * lanes<T>) > T(0));
            linear = linear && !any<T>(load(unit_min_ + (segment + s) * lanes<T>) <= T(0));
        }
        dead_units += dead;
        linear_units += linear;
    }
    for (int p = 0; p < set.layout.count; ++p) {
        bool dead = true, linear = true;
        for (int s = 0; s < positions_; ++s) {
            dead = dead && !(point_max_[s * set.layout.stride + p] > T(0));
            linear = linear && point_min_[s * set.layout.stride + p] > T(0);
        }
        dead_points += dead;
        linear_points += linear;
        dead_so_far_[p] = dead || (layer > 0 && dead_so_far_[p]);
        dead_somewhere += dead_so_far_[p];
    }
    four[0] = double(dead_units) / spec_.width;
    four[1] = double(linear_units) / spec_.width;
    four[2] = double(dead_points) / set.layout.count;
    four[3] = double(linear_points) / set.layout.count;
    dead_at_some_layer_ = double(dead_somewhere) / set.layout.count;
}

// Logits of a set of points. Training keeps what the backward pass needs; training and the whole set measure the penalty.
template <class T>
void Network<T>::forward(const Set& set, Mode mode, T dropout_scale, std::uint64_t dropout_threshold,
                         std::int64_t epoch, double* census) {
    const bool training = mode == Mode::train, dropping = training && dropout_scale > 0;
    const bool with_extremes = mode == Mode::whole_set || (training && has_penalty_);
    const T* in = set.x;
    penalty_sums_ = V<T>{};
    for (int l = 0; l < spec_.depth; ++l) {
        if (stopped()) return;
        const Block<T>& block = blocks_[l];
        Hidden<T>& layer = hidden_[l];
        T* out = activations_[l % 2];
        if (dropping) {
            drop(set, in, l == 0 ? spec_.features : segments_, layer.dropped, l, epoch, dropout_scale,
                 dropout_threshold);
            in = layer.dropped;
        }
        if (training && has_batch_norm_) {
            affine(set, block, false, in, &layer, nullptr, nullptr, nullptr, false);
            normalise(set, block, layer);
            activate(set, layer, out, with_extremes);
        } else {
            const T* scale = nullptr;
            if (has_batch_norm_) {
                for (int r = 0; r < spec_.width; ++r) {
                    norm_scale_[r] = block.values[block.norm_offset() + r] /
                                     std::sqrt(layer.running_variance[r] + T(spec_.norm_eps));
                    norm_shift_[r] = block.values[block.norm_offset() + block.rows + r] -
                                     layer.running_mean[r] * norm_scale_[r];
                }
                scale = norm_scale_;
            }
            affine(set, block, false, in, training ? &layer : nullptr, out, scale, norm_shift_, with_extremes);
        }
        if (census) count_census(set, l, census + 4 * l);
        if (with_extremes && has_penalty_) finish_extremes(set, layer);
        in = out;
    }
    if (with_extremes) end_penalty();
    affine(set, blocks_[spec_.depth], true, in, nullptr, logits_, nullptr, nullptr, false);
}

// The task's loss summed over the points, right predictions, and the mean loss's gradient.
template <class T>
typename Network<T>::Score Network<T>::score(const Set& set, bool with_loss, bool with_gradient) {
    switch (spec_.task) {
        case Task::classification: return score_classes(set, with_loss, with_gradient);
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
            const V<T> z = load(logits_ + i), label = load(set.label + i);
            const Mask<T> valid = load(set.valid + i) > T(0), positive = z > T(0);
            const V<T> e = exp_of_negative<T>(positive ? -z : z);
            if (with_loss) {
                const V<T> each = larger<T>(V<T>{}, z) - z * label + log_of_one_plus<T>(e);
                loss += valid ? each : V<T>{};
                const Mask<T> hit = positive == (label > T(0.5));
                right += (valid & hit) ? broadcast<T>(T(1)) : V<T>{};
            }
            if (with_gradient) {
                const V<T> probability = (positive ? broadcast<T>(T(1)) : e) / (T(1) + e);
                store(logit_gradient_ + i, valid && spec_.task_loss ? (probability - label) * share : V<T>{});
            }
        }
        return {double(horizontal_sum<T>(loss)), int(horizontal_sum<T>(right))};
    }
    double loss = 0;
    int right = 0;
    for (int p = 0; p < stride; ++p) {
        const bool valid = p < count;
        const int label = valid ? int(set.classes[p]) : 0;
        int best = 0;
        for (int o = 1; o < spec_.outputs; ++o)
            if (logits_[o * stride + p] > logits_[best * stride + p]) best = o;
        const T most = logits_[best * stride + p];
        T sum = 0;
        for (int o = 0; o < spec_.outputs; ++o) sum += std::exp(logits_[o * stride + p] - most);
        if (valid && with_loss) {
            loss += double(std::log(sum) + most - logits_[label * stride + p]);
            right += best == label;
        }
        if (with_gradient)
            for (int o = 0; o < spec_.outputs; ++o) {
                const T probability = std::exp(logits_[o * stride + p] - most) / sum;
                logit_gradient_[o * stride + p] =
                    valid && spec_.task_loss ? (probability - T(o == label)) * share : T(0);
            }
    }
    return {loss, right};
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
