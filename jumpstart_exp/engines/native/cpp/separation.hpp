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

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
