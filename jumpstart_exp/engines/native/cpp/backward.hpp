// The backward pass, layer by layer, each updated as soon as its gradient is known.
#pragma once

#include <limits>

#include "network.hpp"
#include "relaxation.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

// Through the layer norm of all of a layer's units at some points; the sums over points of its weight's and bias's
// gradients go on in `norm_sums_`.
template <class T>
template <int ROWS, int VECTORS>
FORCE_INLINE void Network<T>::normalise_rows_backward(V<T> (&gradient)[ROWS][VECTORS], const Block<T>& block,
                                                      const Hidden<T>& layer, int stride, int column,
                                                      T* to_gradient) {
    const T share = T(1) / T(ROWS);
    const T* weight = block.values + block.norm_offset();
    V<T> mean[VECTORS] = {}, slope[VECTORS] = {};
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        const T* normalised = layer.normalised + std::size_t(r) * stride + column;
        V<T> product = {}, sum = {};
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) {
            const V<T> each = gradient[r][v] * load(normalised + v * lanes<T>);
            product += each;
            sum += gradient[r][v];
            gradient[r][v] *= weight[r];
            mean[v] += gradient[r][v];
            slope[v] += each * weight[r];
        }
        if (column > 0) {
            product += load(norm_sums_ + r * lanes<T>);
            sum += load(norm_sums_ + (ROWS + r) * lanes<T>);
        }
        store(norm_sums_ + r * lanes<T>, product);
        store(norm_sums_ + (ROWS + r) * lanes<T>, sum);
    }
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) {
        mean[v] *= share, slope[v] *= share;
        const V<T> deviation = load(layer.deviation + column + v * lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const std::size_t place = std::size_t(r) * stride + column + v * lanes<T>;
            store(to_gradient + place,
                  (gradient[r][v] - mean[v] - load(layer.normalised + place) * slope[v]) * deviation);
        }
    }
}

// The gradient at layer `to`'s pre-activations from that at the next layer's affine map, through skips and trained
// numbers; `normed`, through the norm, too. Of an inlined ReLU the outputs again into `activation`.
template <class T>
template <typename Network<T>::Rows ROWS_ARE>
void Network<T>::propagate(int to, bool dropping, T dropout_scale, bool with_extra, const T* from_gradient,
                           T* to_gradient, T* activation, T* parameter_gradient) {
    const Block<T>& next = blocks_[to + 1];
    const Hidden<T>& layer = hidden_[to];
    const Set& set = train_;
    const int stride = set.layout.stride;
    const bool is_output = to + 1 == spec_.depth;
    const T* dropped = dropping && !is_output ? hidden_[to + 1].dropped : nullptr;
    const bool by_point = has_penalty_ && fast_penalty_ && constrained_.points;
    const bool pulls_any = by_point && (layer.point_above || layer.point_below);
    // copies: the compiler would read what stores might have changed
    T *const high = tie_work_, *const low = tie_work_ + stride;
    T *const high_part = low + stride, *const low_part = high_part + stride;
    const T *const highest = layer.point_high, *const lowest = layer.point_low, *const is_valid = set.valid;
    const GradientNumbers kept_numbers = {deficits_of(layer, point_shares_),
                                      coefficient_constant_,
                                      coefficient_slope_,
                                      -penalty_weight_ * layer.weight * point_shares_.above,
                                      penalty_weight_ * layer.weight * point_shares_.below,
                                      dropout_scale,
                                      T(0),
                                      std::numeric_limits<T>::quiet_NaN()};
    // What no number equals is taken: the lowest unit that has the extreme gets all of its gradient.
    const auto start_pulls = [=](int points, const GradientNumbers& numbers) __attribute__((always_inline)) -> Pulls {
        const Deficits& deficits = numbers.deficits;
        const V<T> most = load(highest + points), least = load(lowest + points);
        const V<T> share = numbers.constant + numbers.slope * deficits.violations(most, least);
        const Mask<T> valid = load(is_valid + points) > T(0);
        V<T> up = share * numbers.above, down = share * numbers.below;
        if (deficits.is_bounded) {  // beyond it, the other way
            up = most > deficits.bound ? -up : up;
            down = least < -deficits.bound ? -down : down;
        }
        const V<T> taken = broadcast<T>(numbers.no_number);
        return {(valid & deficits.is_above(most)) ? most : taken, (valid & deficits.is_below(least)) ? least : taken, up,
                down};
    };
    const auto add_pulls = [](V<T> pre, Pulls& pulls, V<T>& gradient, T no_number) __attribute__((always_inline)) {
        take_where_equal<T>(pre, pulls.up, broadcast<T>(no_number), pulls.most, gradient);
        take_where_equal<T>(pre, pulls.down, broadcast<T>(no_number), pulls.least, gradient);
    };
    const auto load_pulls = [=](int points) __attribute__((always_inline)) -> Pulls {
        return {load(high + points), load(low + points), load(high_part + points), load(low_part + points)};
    };
    const auto store_extremes = [=](int points, const Pulls& pulls) __attribute__((always_inline)) {
        store(high + points, pulls.most);
        store(low + points, pulls.least);
    };
    const auto store_pulls = [=](int points, const Pulls& pulls) __attribute__((always_inline)) {
        store_extremes(points, pulls);
        store(high_part + points, pulls.up);
        store(low_part + points, pulls.down);
    };
    const T *const layer_pre = layer.pre, *const extra = extra_;
    const bool in_blocks = ROWS_ARE == Rows::plain && is_inlined_;  // they begin in the first block of rows
    if (pulls_any && !in_blocks)
        for (int i = 0; i < stride; i += lanes<T>) store_pulls(i, start_pulls(i, kept_numbers));
    const Block<T>& block = blocks_[to];
    const bool begins = begins_block(spec_, to), ends = ends_block(spec_, to);
    const T factor = block.has_factor ? block.values[block.factor_offset()] : T(1);
    V<T> of_factor = {};
    // what most layers that are normed or joined do not have
    const bool is_seldom = dropped || pulls_any || with_extra;
    const auto add_penalties = [&](V<T> pre, int points, std::size_t place, V<T>& gradient) __attribute__((always_inline)) {
        if (pulls_any) {
            Pulls pulls = load_pulls(points);
            add_pulls(pre, pulls, gradient, kept_numbers.no_number);
            store_extremes(points, pulls);
        }
        if (with_extra) gradient += load(extra_ + place);
    };
    const int steps = is_output ? 1 : positions_, rows = is_output ? seen_ : spec_.width * activation_.outputs;
    for (int s = 0; s < steps; ++s) {
        Product<T> products[2] = {
            {next.weight() + s, steps, next.row_stride(), from_gradient, stride * steps, next.rows},
            {next.weight(), steps, next.row_stride(), from_gradient + stride, stride * steps, next.rows}};
        if constexpr (ROWS_ARE == Rows::normed) {
            multiply<T>(set.layout, rows, nullptr, 0, products, 1, [&](int, int first, auto& sums) __attribute__((always_inline)) {
                constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                constexpr int VECTORS = sizeof(sums[0]) / sizeof(sums[0][0]);
                const int column = as_unrelated(first);
                const T* weight = block.values + block.norm_offset();
                const auto rectify = [&](auto seldom) __attribute__((always_inline)) {
#pragma GCC unroll 8
                    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
                        for (int v = 0; v < VECTORS; ++v) {
                            const int points = column + v * lanes<T>;
                            const std::size_t place = std::size_t(r) * stride + points;
                            const V<T> pre = seldom.value ? load(layer.pre + place)
                                                          : load(layer.normalised + place) * weight[r] + weight[ROWS + r];
                            V<T> gradient = sums[r][v];
                            store(activation + place, larger<T>(V<T>{}, pre));
                            if (seldom.value && dropped)
                                gradient = load(dropped + place) != T(0) ? gradient * dropout_scale : V<T>{};
                            gradient = pre > T(0) ? gradient : V<T>{};
                            if (seldom.value) add_penalties(pre, points, place, gradient);
                            sums[r][v] = gradient;
                        }
                    }
                };
                if (is_seldom) rectify(Count<1>{});
                else rectify(Count<0>{});
                normalise_rows_backward(sums, block, layer, stride, column, to_gradient);
            });
            continue;
        }
        if constexpr (ROWS_ARE == Rows::joined) {
            const T* kept = dropped ? hidden_[to + 1].kept : nullptr;
            multiply<T>(set.layout, rows, nullptr, 0, products, s + 1, [&](int row, int first, auto& sums) __attribute__((always_inline)) {
                constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                constexpr int VECTORS = sizeof(sums[0]) / sizeof(sums[0][0]);
                const int column = as_unrelated(first);
                const auto join = [&](auto seldom) __attribute__((always_inline)) {
                    const bool begins_one = !seldom.value || begins, ends_one = !seldom.value || ends;
#pragma GCC unroll 8
                    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
                        for (int v = 0; v < VECTORS; ++v) {
                            const int points = column + v * lanes<T>;
                            const std::size_t place = std::size_t((row + r) * steps + s) * stride + points;
                            const V<T> pre = load(layer.pre + place);
                            V<T> gradient = sums[r][v];
                            if (seldom.value && kept) gradient *= load(kept + place);
                            if (begins_one) gradient += load(skip_gradient_ + place);
                            if (ends_one) {
                                store(skip_gradient_ + place, gradient);
                                of_factor += gradient * larger<T>(V<T>{}, pre);
                                gradient *= factor;
                            }
                            gradient = pre > T(0) ? gradient : V<T>{};
                            if (seldom.value) add_penalties(pre, points, place, gradient);
                            store(to_gradient + place, gradient);
                        }
                    }
                };
                if (is_seldom || !begins || !ends) join(Count<1>{});
                else join(Count<0>{});
            });
            continue;
        }
        if constexpr (ROWS_ARE == Rows::plain) {
            if (!is_inlined_) {
                const T* kept = dropped ? hidden_[to + 1].kept : nullptr;
                multiply<T>(set.layout, rows, nullptr, 0, products, s + 1, [&](int row, int column, auto& sums) __attribute__((always_inline)) {
                    constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                    constexpr int VECTORS = sizeof(sums[0]) / sizeof(sums[0][0]);
#pragma GCC unroll 8
                    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
                        for (int v = 0; v < VECTORS; ++v) {
                            const std::size_t place = std::size_t((row + r) * steps + s) * stride + column + v * lanes<T>;
                            store(to_gradient + place, kept ? sums[r][v] * load(kept + place) : sums[r][v]);
                        }
                    }
                });
                continue;
            }
            multiply<T>(set.layout, rows, nullptr, 0, products, s + 1, [&](int row, int column, auto& sums) __attribute__((always_inline)) {
                constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                constexpr int VECTORS = sizeof(sums[0]) / sizeof(sums[0][0]);
                const std::size_t row_step = std::size_t(steps) * stride;
                const std::size_t start = std::size_t(row * steps + s) * stride + column;
                const T* const pre_rows = unread(layer_pre + start);
                T *const active_rows = unread(activation + start), *const gradient_rows = unread(to_gradient + start);
                const GradientNumbers* const numbers = unread(&kept_numbers);
                const auto rectify = [=, &sums](auto pulled, auto seldom) __attribute__((always_inline)) {
                    const bool is_pulled = seldom.value ? pulls_any : bool(pulled.value);
#pragma GCC unroll 8
                    for (int v = 0; v < VECTORS; ++v) {
                        const int points = column + v * lanes<T>;
                        Pulls pulls = {};
                        if (is_pulled) pulls = row == 0 ? start_pulls(points, *numbers) : load_pulls(points);
#pragma GCC unroll 8
                        for (int r = 0; r < ROWS; ++r) {
                            const std::size_t place = r * row_step + v * lanes<T>;
                            const V<T> pre = load(pre_rows + place);
                            V<T> gradient = sums[r][v];
                            if (seldom.value && dropped)
                                gradient = load(dropped + start + place) != T(0) ? gradient * numbers->dropout_scale : V<T>{};
                            gradient = pre > numbers->zero ? gradient : V<T>{};
                            store(active_rows + place, larger<T>(broadcast<T>(numbers->zero), pre));
                            if (is_pulled) add_pulls(pre, pulls, gradient, numbers->no_number);
                            if (seldom.value && with_extra) gradient += load(extra + start + place);
                            store(gradient_rows + place, gradient);
                        }
                        if (!is_pulled || row + ROWS == rows) continue;
                        if (row == 0) store_pulls(points, pulls);
                        else store_extremes(points, pulls);
                    }
                };
                const bool is_plain = !dropped && !with_extra;
                if (!is_plain) rectify(Count<0>{}, Count<1>{});
                else if (pulls_any) rectify(Count<1>{}, Count<0>{});
                else rectify(Count<0>{}, Count<0>{});
            });
        }
    }
    if (ROWS_ARE == Rows::joined && block.has_factor)
        parameter_gradient[block.factor_offset()] = horizontal_sum<T>(of_factor);
    if (ROWS_ARE == Rows::normed) {
        for (int i = 0; i < 2 * block.rows; i += lanes<T>) {
            alignas(64) T totals[lanes<T>];
            const int left = 2 * block.rows - i;
            const V<T>* const sums = reinterpret_cast<const V<T>*>(norm_sums_ + i * lanes<T>);
            if (left <= 8) store(totals, reduced_rows<T, Add, (8 < lanes<T> ? 8 : lanes<T>)>(sums));
            else store(totals, reduced_rows<T, Add>(sums));
            for (int t = 0; t < lanes<T> && t < left; ++t)
                parameter_gradient[block.norm_offset() + i + t] = totals[t];
        }
    }
    if constexpr (ROWS_ARE != Rows::plain) return;
    if (is_inlined_) return;
    if (const T* const z = layer.z) {
        const T share = hidden_weight_ * hidden_share(segments_);
        V<T> loss = {};
        for (int segment = 0; segment < segments_; ++segment)
            for (int points = 0; points < stride; points += lanes<T>) {
                const std::size_t place = std::size_t(segment) * stride + points;
                const V<T> pre = load(layer.pre + place);
                const Mask<T> valid = load(set.valid + points) > T(0);
                const HiddenTerms terms =
                    hidden_terms(load(z + place), pre, load(layer.outputs + place), load(layer.slopes + place));
                V<T> of_z = load(to_gradient + place);
                if (layer.z_slopes) of_z *= load(layer.z_slopes + place);
                store(z_gradient_ + place, of_z + (valid ? terms.of_z * share : V<T>{}));
                V<T> gradient = valid ? terms.of_pre * share : V<T>{};
                loss += valid ? terms.value : V<T>{};
                add_penalties(pre, points, place, gradient);
                store(to_gradient + place, gradient);
            }
        relaxation_ += double(horizontal_sum<T>(loss)) * double(hidden_share(segments_));
        return;
    }
    const bool is_double = activation_.outputs == 2;
    V<T> of_slope = {};
    for (int segment = 0; segment < segments_; ++segment)
        for (int points = 0; points < stride; points += lanes<T>) {
            const std::size_t place = std::size_t(segment) * stride + points;
            const V<T> pre = load(layer.pre + place);
            V<T> gradient = load(to_gradient + place);
            if (begins) gradient += load(skip_gradient_ + place);
            if (ends && !block.is_fixup) {
                store(skip_gradient_ + place, gradient);
                if (block.has_factor) of_factor += gradient * load(layer.branch + place);
                gradient *= factor;
            }
            if (block.has_slope) of_slope += gradient * smaller<T>(V<T>{}, pre);
            if (is_double) {
                const V<T> other = load(to_gradient + std::size_t(segments_) * stride + place);
                gradient = (pre > T(0) ? gradient : V<T>{}) - (pre < T(0) ? other : V<T>{});
            } else {
                gradient *= load(layer.slopes + place);
            }
            if (ends && block.is_fixup) store(skip_gradient_ + place, gradient);  // what is skipped joins before the activation
            add_penalties(pre, points, place, gradient);
            store(to_gradient + place, gradient);
        }
    if (block.has_slope) parameter_gradient[block.slope_offset()] = horizontal_sum<T>(of_slope);
    if (block.has_factor) parameter_gradient[block.factor_offset()] = horizontal_sum<T>(of_factor);
}

// The first number of a row that equals `value`; -1 if none does. Two words of lanes without a branch between them: which
// of them has it cannot be foreseen.
template <class T>
FORCE_INLINE int first_equal(const T* row, T value, int stride) {
    constexpr int word = 64 / lanes<T>;  // vectors
    for (int i = 0; i < stride; i += 128) {
        const int left = (stride - i) / lanes<T>;
        std::uint64_t found[2] = {0, 0};
#pragma GCC unroll 32
        for (int v = 0; v < 2 * word; ++v) {
            if (v >= left) break;
            found[v / word] |= std::uint64_t(bits<T>(load(row + i + v * lanes<T>) == value)) << (v % word * lanes<T>);
        }
        const int second = 64 + __builtin_ctzll(found[1] | std::uint64_t(1) << 63);
        if (found[0] | found[1]) return i + (found[0] ? __builtin_ctzll(found[0]) : second);
    }
    return -1;
}

template <class T>
void Network<T>::add_unit_fast(const Hidden<T>& layer, T* gradient) {
    const int stride = train_.layout.stride;
    for (int unit = 0; unit < spec_.width; ++unit) {
        const T high = layer.unit_high[unit], low = layer.unit_low[unit];
        const T found = violation(layer, unit_shares_, high, low);
        const T* row = layer.pre + std::size_t(unit) * stride;
        if (is_above(high)) {
            const int point = first_equal(row, high, stride);
            if (point >= 0) gradient[std::size_t(unit) * stride + point] += above(layer, unit_shares_, high, found);
        }
        if (is_below(low)) {
            const int point = first_equal(row, low, stride);
            if (point >= 0) gradient[std::size_t(unit) * stride + point] += below(layer, unit_shares_, low, found);
        }
    }
}

// One constraint's gradient to its tied entries. `each_entry(visit)` runs over the places in the entries' order that
// hold the extreme, and stops when `visit` says so.
template <class T>
template <class Equal>
void Network<T>::give_to_one_or_all(Equal each_entry, T coefficient, Stream stream, std::uint32_t unit,
                                    std::uint32_t point, int layer, std::int64_t epoch) {
    std::uint64_t tied = 0, chosen = 0;
    if (ties_.counts) each_entry([&](std::size_t) { return ++tied, false; });
    if (ties_.shares) {
        each_entry([&](std::size_t place) { return extra_[place] += coefficient / T(tied), false; });
        return;
    }
    if (tied > 1) {
        std::uint32_t words[4] = {unit / 4, point, std::uint32_t(layer), std::uint32_t(epoch)};
        philox4x32(words, spec_.seed, std::uint32_t(stream));
        chosen = std::uint64_t(words[unit % 4]) * tied >> 32;
    }
    each_entry([&](std::size_t place) {
        if (chosen-- > 0) return false;
        extra_[place] += coefficient;
        return true;
    });
}

// The extreme of rows one after the other, which their entries are compared with to find those that have it. The padding
// is left out: it repeats the last point, but may be of a block whose sums are rounded otherwise.
template <class T>
T Network<T>::extreme_of_points(const T* rows, int length, int side) const {
    V<T> found = load(rows);
    found = broadcast<T>(found[0]);  // there is a point in every row's first place
    for (int i = 0; i < length; i += lanes<T>) {
        const V<T> values = load(rows + i), better = side == 0 ? larger<T>(found, values) : smaller<T>(found, values);
        found = load(train_.valid + i % train_.layout.stride) > T(0) ? better : found;
    }
    return side == 0 ? reduced_rows<T, Larger, 1>(&found)[0] : reduced_rows<T, Smaller, 1>(&found)[0];
}

// The penalty's gradient at a layer's pre-activations into `extra_`, for any layout, ties and kinds; false if 0.
template <class T>
bool Network<T>::add_extra(int index, std::int64_t epoch) {
    const Hidden<T>& layer = hidden_[index];
    const int stride = train_.layout.stride, count = train_.layout.count;
    const bool joined = positions_ == 2 && !per_position_;
    bool added = false;
    const auto clear_once = [&] {
        if (!added) std::memset(extra_, 0, sizeof(T) * std::size_t(segments_) * stride);
        added = true;
    };
    if (constrained_.units && layer.unit_violated) {
        const int step = joined ? 2 : 1;
        for (int segment = 0; segment < segments_; segment += step) {
            const T high = layer.unit_high[segment / step], low = layer.unit_low[segment / step];
            const T found = violation(layer, unit_shares_, high, low);
            for (int side = 0; side < 2; ++side) {
                if (side == 0 ? !is_above(high) : !is_below(low)) continue;
                clear_once();
                const T* row = layer.pre + std::size_t(segment) * stride;
                const T value = extreme_of_points(row, step * stride, side);
                const T coefficient = side == 0 ? above(layer, unit_shares_, high, found)
                                                : below(layer, unit_shares_, low, found);
                if (ties_.shares) {
                    V<T> tied = {};
                    for (int i = 0; i < step * stride; i += lanes<T>)
                        tied += load(row + i) == value ? load(train_.valid + i % stride) : V<T>{};
                    const T part = coefficient / horizontal_sum<T>(tied);
                    T* out = extra_ + std::size_t(segment) * stride;
                    for (int i = 0; i < step * stride; i += lanes<T>)
                        store(out + i, load(out + i) + (load(row + i) == value
                                                            ? part * load(train_.valid + i % stride) : V<T>{}));
                    continue;
                }
                give_to_one_or_all(
                    [&](auto visit) {
                        for (int p = 0; p < count; ++p)
                            for (int s = 0; s < step; ++s)
                                if (row[s * stride + p] == value &&
                                    visit(std::size_t(segment + s) * stride + p)) return;
                    },
                    coefficient, side == 0 ? Stream::tie_unit_above : Stream::tie_unit_below,
                    std::uint32_t(segment / step), 0, index, epoch);
            }
        }
    }
    if (constrained_.points && (layer.point_above || layer.point_below)) {
        clear_once();
        for (int side = 0; side < 2; ++side) {
            if (side == 0 ? !layer.point_above : !layer.point_below) continue;
            const T* extremes = side == 0 ? layer.point_high : layer.point_low;
            const int sets = joined ? 1 : positions_, step = joined ? 1 : positions_;
            for (int s = 0; s < sets; ++s)
                for (int i = 0; i < stride; i += lanes<T>) {
                    const V<T> high = load(layer.point_high + s * stride + i);
                    const V<T> low = load(layer.point_low + s * stride + i);
                    const V<T> value = load(extremes + s * stride + i);
                    const Mask<T> active = (load(train_.valid + i) > T(0)) &
                                           (side == 0 ? is_above(high) : is_below(low));
                    if (!any<T>(active)) continue;
                    const V<T> share = coefficient_constant_ + coefficient_slope_ * violations(layer, point_shares_, high, low);
                    V<T> part = share * (side == 0 ? -penalty_weight_ * layer.weight * point_shares_.above
                                                   : penalty_weight_ * layer.weight * point_shares_.below);
                    part = (side == 0 ? high > bound_ : low < -bound_) ? -part : part;
                    part = active ? part : V<T>{};
                    V<T> remaining = {};  // how many tied entries come before the one that gets it
                    if (ties_.counts) {
                        V<T> tied = {};
                        for (int segment = s; segment < segments_; segment += step)
                            tied += load(layer.pre + std::size_t(segment) * stride + i) == value
                                        ? broadcast<T>(T(1)) : V<T>{};
                        if (ties_.shares) part = active ? part / tied : V<T>{};
                        else
                            for (int lane = 0; lane < lanes<T>; ++lane) {
                                if (!active[lane] || !(tied[lane] > T(1))) continue;
                                std::uint32_t words[4] = {0, std::uint32_t(i + lane), std::uint32_t(index),
                                                          std::uint32_t(epoch)};
                                philox4x32(words, spec_.seed, std::uint32_t(side == 0 ? Stream::tie_point_above
                                                                                      : Stream::tie_point_below));
                                remaining[lane] = T(std::uint64_t(words[s]) * std::uint64_t(tied[lane]) >> 32);
                            }
                    }
                    for (int segment = s; segment < segments_; segment += step) {
                        const std::size_t place = std::size_t(segment) * stride + i;
                        const Mask<T> equal = load(layer.pre + place) == value;
                        if (ties_.shares) {
                            store(extra_ + place, load(extra_ + place) + (equal ? part : V<T>{}));
                            continue;
                        }
                        const Mask<T> chosen = equal & (remaining == T(0));
                        store(extra_ + place, load(extra_ + place) + (chosen ? part : V<T>{}));
                        remaining = equal ? remaining - T(1) : remaining;
                    }
                }
        }
    }
    if (constrained_.layers) {
        const T high = layer.layer_high, low = layer.layer_low;
        const T found = violation(layer, layer_shares_, high, low);
        for (int side = 0; side < 2; ++side) {
            if (side == 0 ? !is_above(high) : !is_below(low)) continue;
            clear_once();
            const T value = extreme_of_points(layer.pre, segments_ * stride, side);
            give_to_one_or_all(
                [&](auto visit) {
                    for (int p = 0; p < count; ++p)
                        for (int segment = 0; segment < segments_; ++segment)
                            if (layer.pre[std::size_t(segment) * stride + p] == value &&
                                visit(std::size_t(segment) * stride + p)) return;
                },
                side == 0 ? above(layer, layer_shares_, high, found) : below(layer, layer_shares_, low, found),
                side == 0 ? Stream::tie_layer_above : Stream::tie_layer_below, 0, 0, index, epoch);
        }
    }
    return added;
}

// Through the batch norm, in place; its weight's and bias's gradients go behind those of the affine map.
template <class T>
void Network<T>::normalise_backward(const Block<T>& block, const Hidden<T>& layer, T* gradient,
                                    T* parameter_gradient) {
    const int stride = train_.layout.stride, length = positions_ * stride;
    const T count = T(train_.layout.count) * T(positions_);
    const T* weight = block.values + block.norm_offset();
    for (int r = 0; r < block.rows; ++r) {
        T* row = gradient + std::size_t(r) * length;
        const T* normalised = layer.normalised + std::size_t(r) * length;
        V<T> sum = {}, product = {};
        for (int i = 0; i < length; i += lanes<T>) {
            sum += load(row + i);
            product += load(row + i) * load(normalised + i);
        }
        const T bias_gradient = horizontal_sum<T>(sum), weight_gradient = horizontal_sum<T>(product);
        const T factor = weight[r] * layer.deviation[r], mean = bias_gradient / count, slope = weight_gradient / count;
        for (int i = 0; i < length; i += lanes<T>)
            store(row + i, (load(row + i) - mean - load(normalised + i) * slope) * factor *
                               load(train_.valid + i % stride));
        parameter_gradient[block.norm_offset() + r] = weight_gradient;
        parameter_gradient[block.norm_offset() + block.rows + r] = bias_gradient;
    }
}

// Through the layer norm, likewise.
template <class T>
void Network<T>::normalise_points_backward(const Block<T>& block, const Hidden<T>& layer, T* gradient,
                                           T* parameter_gradient) {
    const int stride = train_.layout.stride, length = positions_ * stride;
    const T* weight = a_segment(block.values + block.norm_offset(), norm_scale_);
    for (int r = 0; r < block.rows; ++r) {
        const T* row = gradient + std::size_t(r) * length;
        const T* normalised = layer.normalised + std::size_t(r) * length;
        V<T> sum = {}, product = {};
        for (int i = 0; i < length; i += lanes<T>) {
            sum += load(row + i);
            product += load(row + i) * load(normalised + i);
        }
        store(unit_max_ + r * lanes<T>, product);
        store(unit_min_ + r * lanes<T>, sum);
    }
    for (int r = 0; r < block.rows; r += lanes<T>) {
        alignas(64) T totals[2][lanes<T>];
        sums_of_units(block.rows - r, unit_max_ + r * lanes<T>, totals[0]);
        sums_of_units(block.rows - r, unit_min_ + r * lanes<T>, totals[1]);
        for (int i = 0; i < lanes<T> && r + i < block.rows; ++i) {
            parameter_gradient[block.norm_offset() + r + i] = totals[0][i];
            parameter_gradient[block.norm_offset() + block.rows + r + i] = totals[1][i];
        }
    }
    in_columns(stride, [&](int column, auto width) __attribute__((always_inline)) {
        constexpr int COLUMNS = decltype(width)::value;
        const T share = T(1) / T(segments_);
        V<T> mean[COLUMNS] = {}, slope[COLUMNS] = {};
        for (int s = 0; s < segments_; ++s) {
            const std::size_t place = std::size_t(s) * stride + column;
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) {
                const V<T> each = load(gradient + place + c * lanes<T>) * weight[s];
                mean[c] += each;
                slope[c] += each * load(layer.normalised + place + c * lanes<T>);
            }
        }
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) mean[c] *= share, slope[c] *= share;
        for (int s = 0; s < segments_; ++s) {
            const std::size_t place = std::size_t(s) * stride + column;
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) {
                const std::size_t at = place + c * lanes<T>;
                const V<T> each = load(gradient + at) * weight[s] - mean[c] - load(layer.normalised + at) * slope[c];
                store(gradient + at, each * load(layer.deviation + column + c * lanes<T>));
            }
        }
    });
}

template <class T>
void Network<T>::parameter_gradient(int index, const T* gradient, const T* in, T* out) {
    const Block<T>& block = blocks_[index];
    const int stride = train_.layout.stride, vectors = train_.layout.vectors();
    if (index == spec_.depth || positions_ == 1) {
        outer_product<T>({gradient, stride, block.rows, in, stride, block.columns, ones_, vectors, out,
                          block.row_stride(), 1, block.columns});
        return;
    }
    const int channels = block.columns / 2;
    outer_product<T>({gradient, 2 * stride, block.rows, in, 2 * stride, channels, ones_, 2 * vectors, out,
                      block.row_stride(), 2, block.columns});
    outer_product<T>({gradient, 2 * stride, block.rows, in + stride, 2 * stride, channels, nullptr, vectors, out + 1,
                      block.row_stride(), 2, 0});
}

template <class T>
void Network<T>::update(const Block<T>& block, const T* gradient) {
    if (!block.is_trained) return;
    parameters_bad_ += update_parameters<T>(spec_, step_now_, block.values, gradient, block.length);
    if (!std::isinf(block.row_limit))
        parameters_bad_ += limit_rows<T>(block.values, block.free_rows(), block.columns, block.row_limit);
    bind(block);
}

// All gradients are there: they are brought down to the norm asked for.
template <class T>
void Network<T>::update_clipped() {
    double squares = 0;
    for (int l = 0; l <= spec_.depth; ++l)
        if (blocks_[l].is_trained) squares += sum_of_squares<T>(blocks_[l].gradient, blocks_[l].length);
    const T factor = T(clip_factor(spec_.clip_norm, std::sqrt(squares)));
    for (int l = 0; l <= spec_.depth; ++l) {
        scale<T>(blocks_[l].gradient, blocks_[l].length, factor);
        update(blocks_[l], blocks_[l].gradient);
    }
}

template <class T>
void Network<T>::start_step() {
    step_now_ = numbers_of_step<T>(spec_, ++steps_);
    if (is_relaxed_) z_step_ = numbers_of_step<T>(z_spec_, steps_);
}

template <class T>
void Network<T>::backward(std::int64_t epoch, T dropout_scale, Probe* probe) {
    const bool dropping = dropout_scale > 0, in_registers = normalises_in_registers(train_);
    penalty_weight_ = T(spec_.weight * penalty_factor(spec_, epoch));
    relaxation_ = 0;
    if (is_relaxed_) hidden_weight_ = T(hidden_weight(spec_, epoch));
    if (z_outputs_) relax_outputs(probe ? probe->relaxed_gradients : nullptr);
    const T* gradient = logit_gradient_;
    for (int l = spec_.depth; l >= 0; --l) {
        if (stopped()) return;
        const Block<T>& block = blocks_[l];
        T *parameters = gradient_of(l), *next = gradients_[l % 2];
        const T* in = train_.x;
        if (l > 0) {
            bool with_extra = has_penalty_ && !fast_penalty_ && add_extra(l - 1, epoch);
            const bool has_unit_fast =
                has_penalty_ && fast_penalty_ && constrained_.units && hidden_[l - 1].unit_violated;
            if (in_registers) {
                if (has_unit_fast) {  // before the norm
                    std::memset(extra_, 0, sizeof(T) * std::size_t(segments_) * train_.layout.stride);
                    add_unit_fast(hidden_[l - 1], extra_);
                    with_extra = true;
                }
                propagate<Rows::normed>(l - 1, dropping, dropout_scale, with_extra, gradient, next, activations_[0],
                                        gradient_of(l - 1));
            } else if (is_joined_) {
                propagate<Rows::joined>(l - 1, dropping, dropout_scale, with_extra, gradient, next, nullptr,
                                        gradient_of(l - 1));
            } else {
                propagate<Rows::plain>(l - 1, dropping, dropout_scale, with_extra, gradient, next, activations_[0],
                                       gradient_of(l - 1));
            }
            if (has_unit_fast && !in_registers) add_unit_fast(hidden_[l - 1], next);
            in = is_inlined_ ? activations_[0] : hidden_[l - 1].z ? hidden_[l - 1].handed : hidden_[l - 1].outputs;
        }
        if (dropping && l < spec_.depth) in = hidden_[l].dropped;
        for (int i = block.used(); i < block.length; ++i) parameters[i] = T(0);
        parameter_gradient(l, gradient, in, parameters);
        share_gradient(block, parameters);
        if (!probe && block.row_penalty != T(0))
            penalise_rows<T>(block.values, parameters, block.free_rows(), block.columns, block.row_penalty);
        if (probe) {
            // in torch's order a block comes after all those before it
            std::int64_t place = 0;
            each_parameter([&](int at, int offset) {
                if (at == l) probe->gradients[place] = double(parameters[offset]);
                ++place;
            });
        } else if (!block.gradient) {
            update(block, parameters);
        }
        if (l > 0 && hidden_[l - 1].z) {
            if (probe) copy_rows(z_gradient_, segments_, room_of_layer(probe->relaxed_gradients, l - 1));
            else update_relaxed(hidden_[l - 1].z, segments_);
        }
        if (l > 0 && has_batch_norm_)
            normalise_backward(blocks_[l - 1], hidden_[l - 1], next, gradient_of(l - 1));
        if (l > 0 && has_layer_norm_ && !in_registers)
            normalise_points_backward(blocks_[l - 1], hidden_[l - 1], next, gradient_of(l - 1));
        gradient = next;
    }
    if (!probe && blocks_[0].gradient) update_clipped();
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
