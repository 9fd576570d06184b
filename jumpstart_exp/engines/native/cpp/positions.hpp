// The extremes of constraints of one position each, and their gradients: a unit's are over the images, an image's over
// its channels.
//
// Beside an extreme it is noted how many entries share it, or which is the first that has it (and the last: it is tied
// where that is another).
#pragma once

#include <utility>

#include "kernel.hpp"
#include "separation.hpp"
#include "vector.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {

// Of vectors whose lanes come in blocks of 2 · STEP: the first halves of both one's blocks, or the second halves.
template <int STEP, bool SECOND, class VECTOR, std::size_t... LANE>
FORCE_INLINE VECTOR halves(VECTOR a, VECTOR b, std::index_sequence<LANE...>) {
    constexpr int count = int(sizeof...(LANE)), shift = SECOND ? STEP : 0;
    return __builtin_shufflevector(
        a, b, ((int(LANE) & STEP) != 0 ? count + int(LANE) - STEP + shift : int(LANE) + shift)...);
}

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
          point_values_(static_cast<T*>(given.point_values)),
          unit_notes_(static_cast<T*>(given.unit_notes)),
          point_notes_(static_cast<T*>(given.point_notes)),
          point_counts_(static_cast<std::uint8_t*>(given.point_notes)),
          point_firsts_(static_cast<std::uint8_t*>(given.point_lasts)),
          any_tied_(given.any_tied),
          unit_lasts_(static_cast<T*>(given.unit_lasts)),
          point_lasts_(static_cast<T*>(given.point_lasts)),
          gradient_(static_cast<T*>(given.gradient)),
          activations_(static_cast<T*>(given.activations)) {}

    // Whether some entry is no number: it is passed over.
    template <Note NOTE>
    bool find() {
        for (std::int64_t i = 0; i < units_; ++i) {
            unit_values_[i] = -infinity;
            unit_values_[units_ + i] = infinity;
            unit_notes_[i] = unit_notes_[units_ + i] = 0;
            if constexpr (NOTE == Note::first_and_last) unit_lasts_[i] = unit_lasts_[units_ + i] = 0;
        }
        bool has_nan = false;
        for (std::int64_t image = 0; image < images_; ++image) {
            const T* x = x_ + image * units_;
            has_nan |= grow_units<NOTE == Note::shares_and_point_first ? Note::shares : NOTE>(x, T(image));
            for (std::int64_t first = 0; first < positions_; first += lanes<T>) find_points<NOTE>(x, image, first);
            if (!activations_) continue;
            T* const active = activations_ + image * units_;
            for (std::int64_t i = 0; i < units_; ++i) active[i] = x[i] <= 0 ? T(0) : x[i];
        }
        return has_nan;
    }

    // Notes are what each of the entries that have the extreme is pulled by.
    void pull_all() {
        const T *high = unit_values_, *low = high + units_;
        const T *high_pulls = unit_notes_, *low_pulls = high_pulls + units_;
        for (std::int64_t image = 0; image < images_; ++image) {
            const T* x = x_ + image * units_;
            T* gradient = gradient_ + image * units_;
            for (std::int64_t p = 0; p < positions_; ++p) {
                const std::int64_t top = image * positions_ + p, bottom = top + images_ * positions_;
                const T most = point_values_[top], least = point_values_[bottom];
                const T most_pull = point_notes_[top], least_pull = point_notes_[bottom];
#pragma GCC ivdep
                for (std::int64_t i = p * channels_; i < (p + 1) * channels_; ++i) {
                    T sum = 0;
                    sum += x[i] == high[i] ? high_pulls[i] : T(0);
                    sum += x[i] == most ? most_pull : T(0);
                    sum += x[i] == low[i] ? low_pulls[i] : T(0);
                    sum += x[i] == least ? least_pull : T(0);
                    gradient[i] = sum;
                }
            }
        }
    }

    // Notes are the places of the entries that are pulled, values by what. The sum of the unit's two pulls is added to
    // the sum of the image's two, as autograd does.
    void pull_places() {
        for (std::int64_t image = 0; image < images_; ++image) {
            T* gradient = gradient_ + image * units_;
            std::memset(gradient, 0, std::size_t(units_) * sizeof(T));
            for (std::int64_t p = 0; p < positions_; ++p) {
                const std::int64_t top = image * positions_ + p, bottom = top + images_ * positions_;
                gradient[p * channels_ + std::int64_t(point_notes_[top])] += point_values_[top];
                gradient[p * channels_ + std::int64_t(point_notes_[bottom])] += point_values_[bottom];
            }
        }
        for (std::int64_t i = 0; i < units_; ++i) {
            const T high = unit_values_[i], low = unit_values_[units_ + i];
            const std::int64_t top = std::int64_t(unit_notes_[i]), bottom = std::int64_t(unit_notes_[units_ + i]);
            if (top == bottom) {
                gradient_[top * units_ + i] += high + low;
            } else {
                gradient_[top * units_ + i] += high;
                gradient_[bottom * units_ + i] += low;
            }
        }
    }

private:
    static constexpr T infinity = T(__builtin_inf());
    static constexpr int BLOCK = lanes<T> < 8 ? lanes<T> : 8;  // channels that are turned at a time

    // Extremes of one side, with their notes.
    template <Note NOTE, bool LARGEST, class NUMBER>
    static FORCE_INLINE void include(NUMBER now, NUMBER place, NUMBER& value, NUMBER& note, NUMBER& last) {
        const auto is_beyond = LARGEST ? now > value : now < value;
        if constexpr (NOTE == Note::shares_and_point_first) last = is_beyond ? place : last;
        if constexpr (NOTE == Note::shares || NOTE == Note::shares_and_point_first) {
            note = is_beyond ? NUMBER{} + T(1) : now == value ? note + T(1) : note;
        } else {
            note = is_beyond ? place : note;
            if constexpr (NOTE == Note::first_and_last) last = (LARGEST ? now >= value : now <= value) ? place : last;
        }
        value = is_beyond ? now : value;
    }

    template <Note NOTE>
    bool grow_units(const T* x, T image) {
        T *high = unit_values_, *low = high + units_;
        const V<T> place = broadcast<T>(image);
        bool has_nan = false;
        std::int64_t i = 0;
        for (; i + lanes<T> <= units_; i += lanes<T>) {
            const V<T> now = load_anywhere(x + i);
            V<T> most = load_anywhere(high + i), least = load_anywhere(low + i);
            // one that is strictly between changes nothing, and after some images nearly all are
            if (bits<T>((Mask<T>)(now < most) & (Mask<T>)(now > least)) == (1u << lanes<T>) - 1) continue;
            has_nan |= any<T>((Mask<T>)(now != now));
            V<T> notes[2], lasts[2] = {place, place};
            for (int side = 0; side < 2; ++side) {
                notes[side] = load_anywhere(unit_notes_ + side * units_ + i);
                if constexpr (NOTE == Note::first_and_last)
                    lasts[side] = load_anywhere(unit_lasts_ + side * units_ + i);
            }
            include<NOTE, true>(now, place, most, notes[0], lasts[0]);
            include<NOTE, false>(now, place, least, notes[1], lasts[1]);
            store_anywhere<T>(high + i, most);
            store_anywhere<T>(low + i, least);
            for (int side = 0; side < 2; ++side) {
                store_anywhere<T>(unit_notes_ + side * units_ + i, notes[side]);
                if constexpr (NOTE == Note::first_and_last)
                    store_anywhere<T>(unit_lasts_ + side * units_ + i, lasts[side]);
            }
        }
        for (; i < units_; ++i) {
            T unused[2];
            const bool with_last = NOTE == Note::first_and_last;
            has_nan |= x[i] != x[i];
            include<NOTE, true>(x[i], image, high[i], unit_notes_[i], with_last ? unit_lasts_[i] : unused[0]);
            include<NOTE, false>(x[i], image, low[i], unit_notes_[units_ + i],
                                 with_last ? unit_lasts_[units_ + i] : unused[1]);
        }
        return has_nan;
    }

    // Extremes over the channels of as many positions as there are lanes, or of those that are left. A block of
    // channels at a time is turned so that positions are the lanes.
    template <Note NOTE>
    void find_points(const T* x, std::int64_t image, std::int64_t first) {
        const std::int64_t count = positions_ - first < lanes<T> ? positions_ - first : lanes<T>;
        V<T> values[2] = {broadcast<T>(-infinity), broadcast<T>(infinity)}, notes[2] = {}, lasts[2] = {};
        V<T> turned[BLOCK] = {};
        for (std::int64_t channel = 0; channel < channels_; channel += BLOCK) {
            const std::int64_t channels = channels_ - channel < BLOCK ? channels_ - channel : BLOCK;
            const T* begin = x + first * channels_ + channel;
            if (count == lanes<T> && channels == BLOCK) {
                turn(begin, turned);
#pragma GCC unroll 8
                for (int c = 0; c < BLOCK; ++c)
                    include_both<NOTE>(turned[c], T(channel + c), values, notes, lasts);
            } else {
                for (std::int64_t i = 0; i < count; ++i)
                    for (std::int64_t c = 0; c < channels; ++c)
                        reinterpret_cast<T*>(turned + c)[i] = begin[i * channels_ + c];
                for (std::int64_t c = 0; c < channels; ++c)
                    include_both<NOTE>(turned[c], T(channel + c), values, notes, lasts);
            }
        }
        const std::size_t bytes = std::size_t(count) * sizeof(T);
        for (int side = 0; side < 2; ++side) {
            const std::int64_t place = (side * images_ + image) * positions_ + first;
            std::memcpy(point_values_ + place, values + side, bytes);
            if constexpr (NOTE == Note::shares_and_point_first) {
                bool is_tied = false;
                for (std::int64_t i = 0; i < count; ++i) {
                    point_counts_[place + i] = std::uint8_t(notes[side][i]);
                    point_firsts_[place + i] = std::uint8_t(lasts[side][i]);
                    is_tied |= notes[side][i] != T(1);
                }
                *any_tied_ |= is_tied;
            } else {
                std::memcpy(point_notes_ + place, notes + side, bytes);
                if constexpr (NOTE == Note::first_and_last) std::memcpy(point_lasts_ + place, lasts + side, bytes);
            }
        }
    }

    template <Note NOTE>
    static FORCE_INLINE void include_both(V<T> now, T channel, V<T>* values, V<T>* notes, V<T>* lasts) {
        const V<T> place = broadcast<T>(channel);
        include<NOTE, true>(now, place, values[0], notes[0], lasts[0]);
        include<NOTE, false>(now, place, values[1], notes[1], lasts[1]);
    }

    // A block of channels of as many positions as there are lanes, a vector a channel: squares are transposed, two side
    // by side where a vector has room for two.
    FORCE_INLINE void turn(const T* begin, V<T>* turned) const {
#pragma GCC unroll 8
        for (int i = 0; i < BLOCK; ++i) {
            const T* row = begin + i * channels_;
#if VECTOR_BYTES == 64
            if constexpr (sizeof(T) == 4) {
                const __m512 low = _mm512_castps256_ps512(_mm256_loadu_ps(row));
                turned[i] = (V<T>)_mm512_insertf32x8(low, _mm256_loadu_ps(row + BLOCK * channels_), 1);
                continue;
            }
#endif
            turned[i] = load_anywhere(row);
        }
        if constexpr (BLOCK == 8) exchange<4>(turned);
        if constexpr (BLOCK >= 4) exchange<2>(turned);
        exchange<1>(turned);
    }

    template <int STEP>
    static FORCE_INLINE void exchange(V<T>* rows) {
        constexpr auto every = std::make_index_sequence<lanes<T>>();
#pragma GCC unroll 8
        for (int i = 0; i < BLOCK; ++i) {
            if ((i & STEP) != 0) continue;
            const V<T> a = rows[i], b = rows[i + STEP];
            rows[i] = halves<STEP, false>(a, b, every);
            rows[i + STEP] = halves<STEP, true>(a, b, every);
        }
    }

    const T* const x_;
    const std::int64_t images_, positions_, channels_, units_;
    T* const unit_values_;
    T* const point_values_;
    T* const unit_notes_;
    T* const point_notes_;
    std::uint8_t* const point_counts_;  // of shares_and_point_first, in the place of notes and lasts
    std::uint8_t* const point_firsts_;
    bool* const any_tied_;
    T* const unit_lasts_;
    T* const point_lasts_;
    T* const gradient_;
    T* const activations_;
};

template <class T>
bool find_positions_of(const PositionSeparation& given) {
    PositionSeparator<T> separator(given);
    switch (given.note) {
        case Note::shares: return separator.template find<Note::shares>();
        case Note::first: return separator.template find<Note::first>();
        case Note::first_and_last: return separator.template find<Note::first_and_last>();
        case Note::shares_and_point_first: return separator.template find<Note::shares_and_point_first>();
    }
    __builtin_unreachable();
}

// The sums are in the order in which `pull_all` has them.
template <class T>
void pull_shared_of(const SharedPulls& given) {
    const std::int64_t channels = given.channels, units = given.positions * channels, points = given.images * given.positions;
    const T *high = static_cast<const T*>(given.unit_values), *low = high + units;
    const T *high_pulls = static_cast<const T*>(given.unit_pulls), *low_pulls = high_pulls + units;
    const T *x = static_cast<const T*>(given.pre_activations);
    T* gradient = static_cast<T*>(given.gradient);
    const T margin_above = T(given.margin_above), margin_below = T(given.margin_below);
    const T pull_above = T(given.pull_above), pull_below = T(given.pull_below);
    const std::uint8_t *firsts = given.point_firsts, *counts = given.point_counts;
    for (std::int64_t point = 0; point < points; ++point, x += channels, gradient += channels) {
        const std::int64_t unit = point % given.positions * channels;
        const T most = x[firsts[point]], least = x[firsts[points + point]];
        T most_pull = most < margin_above ? pull_above : T(0), least_pull = least > margin_below ? pull_below : T(0);
        if (counts) {
            most_pull /= T(counts[point]);
            least_pull /= T(counts[points + point]);
        }
#pragma GCC ivdep
        for (std::int64_t c = 0; c < channels; ++c) {
            T sum = 0;
            sum += x[c] == high[unit + c] ? high_pulls[unit + c] : T(0);
            sum += x[c] == most ? most_pull : T(0);
            sum += x[c] == low[unit + c] ? low_pulls[unit + c] : T(0);
            sum += x[c] == least ? least_pull : T(0);
            gradient[c] = (x[c] <= 0 ? T(0) : gradient[c]) + sum;
        }
    }
}

template <class T>
void pull_positions_of(const PositionSeparation& given) {
    PositionSeparator<T> separator(given);
    if (given.note == Note::shares) separator.pull_all();
    else separator.pull_places();
}

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
