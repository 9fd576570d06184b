// ReLU in place, and on the way the extremes of every channel and image: what the separation penalty of a CNN needs.
//
// An image's activations are (positions, channels). They pass through the first-level cache once: extremes first,
// then the search for entries that the penalty will pull, then the ReLU, which destroys what was searched.
#pragma once

#include "kernel.hpp"
#include "vector.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {

template <class T>
struct Unaligned {
    typedef T type __attribute__((vector_size(VECTOR_BYTES), aligned(alignof(T)), may_alias));
};

template <class T>
FORCE_INLINE V<T> load_anywhere(const T* p) {
    return *reinterpret_cast<const typename Unaligned<T>::type*>(p);
}
template <class T>
FORCE_INLINE void store_anywhere(T* p, V<T> x) {
    *reinterpret_cast<typename Unaligned<T>::type*>(p) = x;
}

inline std::int64_t common_divisor(std::int64_t a, std::int64_t b) {
    while (b != 0) {
        const std::int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

template <class T>
class Separator {
public:
    explicit Separator(const Separation& given)
        : given_(given),
          channels_(given.channels),
          numbers_(given.positions * given.channels),
          period_(channels_ / common_divisor(channels_, lanes<T>)),
          high_(static_cast<V<T>*>(given.scratch)),
          low_(high_ + period_),
          highest_(reinterpret_cast<T*>(low_ + period_)),
          lowest_(highest_ + channels_) {}

    void run() {
        for (int side = 0; side < 2; ++side)
            for (std::int64_t c = 0; c < channels_; ++c) {
                unit_values(side)[c] = side == 0 ? -infinity : infinity;
                given_.unit_entries[side * channels_ + c] = 0;
            }
        for (std::int64_t image = 0; image < given_.images; ++image) {
            T* x = static_cast<T*>(given_.activations) + image * numbers_;
            find_extremes(x);
            note_point(x, image);
            note_units(x, image);
            rectify(x);
        }
    }

private:
    static constexpr T infinity = T(__builtin_inf());

    T* unit_values(int side) { return static_cast<T*>(given_.unit_values) + side * channels_; }
    T* point_values(int side) { return static_cast<T*>(given_.point_values) + side * given_.images; }

    // The image's extremes of every channel, in highest_ and lowest_.
    void find_extremes(const T* x) {
        for (std::int64_t c = 0; c < channels_; ++c) {
            highest_[c] = -infinity;
            lowest_[c] = infinity;
        }
        std::int64_t done = 0;
        switch (period_) {
            case 1: done = sweep<1, 4>(x); break;
            case 2: done = sweep<2, 2>(x); break;
            case 3: done = sweep<3, 2>(x); break;
            case 4: done = sweep<4, 1>(x); break;
            case 5: done = sweep<5, 1>(x); break;
            case 6: done = sweep<6, 1>(x); break;
            default: done = sweep_any(x);
        }
        for (std::int64_t first = done; first < numbers_; first += channels_)  // what is done ends with a position
            for (std::int64_t c = 0; c < channels_; ++c) include(c, x[first + c], x[first + c]);
    }

    void include(std::int64_t c, T high, T low) {
        if (high > highest_[c]) highest_[c] = high;
        if (low < lowest_[c]) lowest_[c] = low;
    }

    // COPIES extremes of PERIOD vectors, in registers; PERIOD vectors hold whole positions.
    template <int PERIOD, int COPIES>
    std::int64_t sweep(const T* x) {
        constexpr int count = PERIOD * COPIES;
        V<T> high[count], low[count];
#pragma GCC unroll 16
        for (int i = 0; i < count; ++i) {
            high[i] = broadcast<T>(-infinity);
            low[i] = broadcast<T>(infinity);
        }
        std::int64_t done = 0;
        for (; done + count * lanes<T> <= numbers_; done += count * lanes<T>) {
#pragma GCC unroll 16
            for (int i = 0; i < count; ++i) {
                const V<T> v = load_anywhere(x + done + i * lanes<T>);
                high[i] = larger<T>(v, high[i]);
                low[i] = smaller<T>(v, low[i]);
            }
        }
#pragma GCC unroll 16
        for (int i = PERIOD; i < count; ++i) {
            high[i % PERIOD] = larger<T>(high[i], high[i % PERIOD]);
            low[i % PERIOD] = smaller<T>(low[i], low[i % PERIOD]);
        }
        for (int i = 0; i < PERIOD; ++i) {
            high_[i] = high[i];
            low_[i] = low[i];
        }
        fold();
        return done;
    }

    std::int64_t sweep_any(const T* x) {
        for (std::int64_t i = 0; i < period_; ++i) {
            high_[i] = broadcast<T>(-infinity);
            low_[i] = broadcast<T>(infinity);
        }
        std::int64_t done = 0;
        for (; done + period_ * lanes<T> <= numbers_; done += period_ * lanes<T>) {
            for (std::int64_t i = 0; i < period_; ++i) {
                const V<T> v = load_anywhere(x + done + i * lanes<T>);
                high_[i] = larger<T>(v, high_[i]);
                low_[i] = smaller<T>(v, low_[i]);
            }
        }
        fold();
        return done;
    }

    void fold() {
        const T* high = reinterpret_cast<const T*>(high_);
        const T* low = reinterpret_cast<const T*>(low_);
        std::int64_t c = 0;
        for (std::int64_t i = 0; i < period_ * lanes<T>; ++i) {
            include(c, high[i], low[i]);
            if (++c == channels_) c = 0;
        }
    }

    void note_point(const T* x, std::int64_t image) {
        std::int64_t top = 0, bottom = 0;  // the lowest channels that have them
        for (std::int64_t c = 1; c < channels_; ++c) {
            if (highest_[c] > highest_[top]) top = c;
            if (lowest_[c] < lowest_[bottom]) bottom = c;
        }
        const std::int64_t found[2] = {top, bottom};
        for (int side = 0; side < 2; ++side) {
            const T value = (side == 0 ? highest_ : lowest_)[found[side]];
            point_values(side)[image] = value;
            given_.point_entries[side * given_.images + image] = reached(side, value) ? 0 : entry(x, image, found[side], value);
        }
    }

    void note_units(const T* x, std::int64_t image) {
        for (std::int64_t c = 0; c < channels_; ++c) {
            if (highest_[c] > unit_values(0)[c]) note_unit(x, image, 0, c, highest_[c]);
            if (lowest_[c] < unit_values(1)[c]) note_unit(x, image, 1, c, lowest_[c]);
        }
    }

    void note_unit(const T* x, std::int64_t image, int side, std::int64_t c, T value) {
        unit_values(side)[c] = value;
        given_.unit_entries[side * channels_ + c] = reached(side, value) ? 0 : entry(x, image, c, value);
    }

    bool reached(int side, T value) const {
        return side == 0 ? value >= T(given_.margin_above) : value <= T(given_.margin_below);
    }

    // Flat index of the channel's first position that has the value.
    std::int64_t entry(const T* x, std::int64_t image, std::int64_t channel, T value) const {
        const V<T> wanted = broadcast<T>(value);
        std::int64_t i = 0;
        for (; i + lanes<T> <= numbers_; i += lanes<T>) {
            for (unsigned same = bits<T>((Mask<T>)(load_anywhere(x + i) == wanted)); same != 0; same &= same - 1) {
                const std::int64_t found = i + __builtin_ctz(same);
                if (found % channels_ == channel) return image * numbers_ + found;
            }
        }
        for (; i < numbers_; ++i)
            if (x[i] == value && i % channels_ == channel) return image * numbers_ + i;
        return image * numbers_;  // no number at all
    }

    void rectify(T* x) {
        const V<T> zero{};
        std::int64_t i = 0;
        for (; i + lanes<T> <= numbers_; i += lanes<T>) store_anywhere(x + i, larger<T>(zero, load_anywhere(x + i)));
        for (; i < numbers_; ++i) x[i] = T(0) > x[i] ? T(0) : x[i];
    }

    const Separation& given_;
    const std::int64_t channels_, numbers_, period_;
    V<T>* const high_;
    V<T>* const low_;
    T* const highest_;
    T* const lowest_;
};

// One constraint a position, ties shared. Most loops are plain: the compiler makes vectors of them.
template <class T>
class PositionSeparator {
public:
    explicit PositionSeparator(const PositionSeparation& given)
        : x_(static_cast<const T*>(given.pre_activations)),
          images_(given.images),
          positions_(given.positions),
          channels_(given.channels),
          units_(positions_ * channels_),
          unit_values_(static_cast<T*>(given.unit_values)),
          unit_shares_(static_cast<T*>(given.unit_shares)),
          point_values_(static_cast<T*>(given.point_values)),
          point_shares_(static_cast<T*>(given.point_shares)),
          gradient_(static_cast<T*>(given.gradient)) {}

    void find() {
        for (std::int64_t i = 0; i < units_; ++i) {
            unit_values_[i] = -infinity;
            unit_values_[units_ + i] = infinity;
            unit_shares_[i] = unit_shares_[units_ + i] = 0;
        }
        for (std::int64_t image = 0; image < images_; ++image) {
            const T* x = x_ + image * units_;
            grow_units(x, unit_values_, unit_values_ + units_, unit_shares_, unit_shares_ + units_);
            for (std::int64_t first = 0; first < positions_; first += lanes<T>) find_points(x, image, first);
        }
    }

    void pull() {
        const T *high = unit_values_, *low = high + units_;
        const T *high_pulls = unit_shares_, *low_pulls = high_pulls + units_;
        for (std::int64_t image = 0; image < images_; ++image) {
            const T* x = x_ + image * units_;
            T* gradient = gradient_ + image * units_;
            for (std::int64_t p = 0; p < positions_; ++p) {
                const std::int64_t top = image * positions_ + p, bottom = top + images_ * positions_;
                const T most = point_values_[top], least = point_values_[bottom];
                const T most_pull = point_shares_[top], least_pull = point_shares_[bottom];
#pragma GCC ivdep
                for (std::int64_t i = p * channels_; i < (p + 1) * channels_; ++i) {
                    T sum = gradient[i];
                    sum += x[i] == high[i] ? high_pulls[i] : T(0);
                    sum += x[i] == most ? most_pull : T(0);
                    sum += x[i] == low[i] ? low_pulls[i] : T(0);
                    sum += x[i] == least ? least_pull : T(0);
                    gradient[i] = sum;
                }
            }
        }
    }

private:
    static constexpr T infinity = T(__builtin_inf());
    static constexpr int BLOCK = 16;

    void grow_units(const T* __restrict x, T* __restrict high, T* __restrict low, T* __restrict high_shares,
                    T* __restrict low_shares) {
        for (std::int64_t i = 0; i < units_; ++i) {
            const T now = x[i], most = high[i], least = low[i], high_share = high_shares[i], low_share = low_shares[i];
            high_shares[i] = now > most ? T(1) : high_share + (now == most ? T(1) : T(0));
            low_shares[i] = now < least ? T(1) : low_share + (now == least ? T(1) : T(0));
            high[i] = now > most ? now : most;
            low[i] = now < least ? now : least;
        }
    }

    // Extremes over the channels of as many positions as there are lanes, or of those that are left. A block of
    // channels at a time is turned so that positions are the lanes.
    void find_points(const T* x, std::int64_t image, std::int64_t first) {
        const std::int64_t count = positions_ - first < lanes<T> ? positions_ - first : lanes<T>;
        const V<T> one = broadcast<T>(T(1)), none{};
        V<T> values[2] = {broadcast<T>(-infinity), broadcast<T>(infinity)}, shares[2] = {none, none};
        V<T> turned[BLOCK] = {};
        for (std::int64_t channel = 0; channel < channels_; channel += BLOCK) {
            const std::int64_t channels = channels_ - channel < BLOCK ? channels_ - channel : BLOCK;
            for (std::int64_t i = 0; i < count; ++i) {
                const T* row = x + (first + i) * channels_ + channel;
                for (std::int64_t c = 0; c < channels; ++c) reinterpret_cast<T*>(turned + c)[i] = row[c];
            }
            for (std::int64_t c = 0; c < channels; ++c) {
                const V<T> now = turned[c];
                shares[0] = now > values[0] ? one : now == values[0] ? shares[0] + one : shares[0];
                shares[1] = now < values[1] ? one : now == values[1] ? shares[1] + one : shares[1];
                values[0] = now > values[0] ? now : values[0];
                values[1] = now < values[1] ? now : values[1];
            }
        }
        for (int side = 0; side < 2; ++side) {
            const std::int64_t place = (side * images_ + image) * positions_ + first;
            std::memcpy(point_values_ + place, values + side, std::size_t(count) * sizeof(T));
            std::memcpy(point_shares_ + place, shares + side, std::size_t(count) * sizeof(T));
        }
    }

    const T* const x_;
    const std::int64_t images_, positions_, channels_, units_;
    T* const unit_values_;
    T* const unit_shares_;
    T* const point_values_;
    T* const point_shares_;
    T* const gradient_;
};

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
