// Vectors of VECTOR_BYTES through the compiler's own vector types, and the few functions on them that the kernel needs.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace jumpstart {
namespace INSTRUCTION_SET {

template <class T>
struct Vector;
template <>
struct Vector<float> {
    typedef float type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef std::int32_t integers __attribute__((vector_size(VECTOR_BYTES), may_alias));
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float rounder = 12582912.0f;  // 1.5 · 2²³: adding it rounds to an integer
    static constexpr float least_exp = -87.0f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr int exp_terms = 8, log_terms = 8;
};
template <>
struct Vector<double> {
    typedef double type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef std::int64_t integers __attribute__((vector_size(VECTOR_BYTES), may_alias));
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double rounder = 6755399441055744.0;
    static constexpr double least_exp = -708.0, ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr int exp_terms = 14, log_terms = 18;
};

template <class T>
using V = typename Vector<T>::type;
template <class T>
using Mask = typename Vector<T>::integers;
template <class T>
constexpr int lanes = VECTOR_BYTES / sizeof(T);

#define FORCE_INLINE inline __attribute__((always_inline))

template <class T>
FORCE_INLINE V<T> load(const T* p) {
    return *reinterpret_cast<const V<T>*>(p);
}
template <class T>
FORCE_INLINE void store(T* p, V<T> x) {
    *reinterpret_cast<V<T>*>(p) = x;
}
template <class T>
FORCE_INLINE V<T> broadcast(T x) {
    return x - V<T>{};
}

// Where one of them is no number the second is taken, so max(0, NaN) is NaN.
template <class T>
FORCE_INLINE V<T> larger(V<T> a, V<T> b) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) return (V<T>)_mm512_max_ps((__m512)a, (__m512)b);
    else return (V<T>)_mm512_max_pd((__m512d)a, (__m512d)b);
#else
    return a > b ? a : b;
#endif
}
template <class T>
FORCE_INLINE V<T> smaller(V<T> a, V<T> b) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) return (V<T>)_mm512_min_ps((__m512)a, (__m512)b);
    else return (V<T>)_mm512_min_pd((__m512d)a, (__m512d)b);
#else
    return a < b ? a : b;
#endif
}

template <class T>
FORCE_INLINE bool any(Mask<T> mask) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask((__m512i)mask) != 0;
    else return _mm512_movepi64_mask((__m512i)mask) != 0;
#else
    std::uint64_t words[VECTOR_BYTES / 8], all = 0;
    std::memcpy(words, &mask, VECTOR_BYTES);
    for (std::uint64_t word : words) all |= word;
    return all != 0;
#endif
}

// Where x equals `value`, `sum` grows by y, and `value` becomes what no number equals.
template <class T>
FORCE_INLINE void take_where_equal(V<T> x, V<T> y, V<T> no_number, V<T>& value, V<T>& sum) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) {
        const __mmask16 equal = _mm512_cmp_ps_mask((__m512)x, (__m512)value, _CMP_EQ_OQ);
        sum = (V<T>)_mm512_mask_add_ps((__m512)sum, equal, (__m512)sum, (__m512)y);
        value = (V<T>)_mm512_mask_mov_ps((__m512)value, equal, (__m512)no_number);
    } else {
        const __mmask8 equal = _mm512_cmp_pd_mask((__m512d)x, (__m512d)value, _CMP_EQ_OQ);
        sum = (V<T>)_mm512_mask_add_pd((__m512d)sum, equal, (__m512d)sum, (__m512d)y);
        value = (V<T>)_mm512_mask_mov_pd((__m512d)value, equal, (__m512d)no_number);
    }
#else
    const Mask<T> equal = x == value;
    sum += equal ? y : V<T>{};
    value = equal ? no_number : value;
#endif
}

// A bit for every lane, the first lane's lowest.
template <class T>
FORCE_INLINE unsigned bits(Mask<T> mask) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) return unsigned(_mm512_movepi32_mask((__m512i)mask));
    else return unsigned(_mm512_movepi64_mask((__m512i)mask));
#elif VECTOR_BYTES == 32
    if constexpr (sizeof(T) == 4) return unsigned(_mm256_movemask_ps((__m256)mask));
    else return unsigned(_mm256_movemask_pd((__m256d)mask));
#elif defined(__x86_64__)
    if constexpr (sizeof(T) == 4) return unsigned(_mm_movemask_ps((__m128)mask));
    else return unsigned(_mm_movemask_pd((__m128d)mask));
#else
    unsigned found = 0;
    for (int lane = 0; lane < lanes<T>; ++lane) found |= unsigned(mask[lane] != 0) << lane;
    return found;
#endif
}

template <class T>
FORCE_INLINE V<T> square_root(V<T> x) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) return (V<T>)_mm512_sqrt_ps((__m512)x);
    else return (V<T>)_mm512_sqrt_pd((__m512d)x);
#elif VECTOR_BYTES == 32
    if constexpr (sizeof(T) == 4) return (V<T>)_mm256_sqrt_ps((__m256)x);
    else return (V<T>)_mm256_sqrt_pd((__m256d)x);
#elif defined(__x86_64__)
    if constexpr (sizeof(T) == 4) return (V<T>)_mm_sqrt_ps((__m128)x);
    else return (V<T>)_mm_sqrt_pd((__m128d)x);
#else
    V<T> root;
    for (int lane = 0; lane < lanes<T>; ++lane) root[lane] = std::sqrt(x[lane]);
    return root;
#endif
}

// The same number, of which the compiler does not know that it grows in a loop: it would keep an address of its own for
// every row and vector of an unrolled block, more than there are registers.
FORCE_INLINE int as_unrelated(int number) {
    asm("" : "+r"(number));
    return number;
}

// The same place, of which the compiler knows nothing before: it would compute the address of every row, and read what is
// the same in all blocks into a vector each, before the sums of a product, which need all registers.
template <class Numbers>
FORCE_INLINE Numbers* unread(Numbers* numbers) {
    asm volatile("" : "+r"(numbers) : : "memory");
    return numbers;
}

// A product as it is rounded: the compiler fuses those that are added to something in one loop, and not in another, and
// then padding is no copy of the last point any more.
template <class T>
FORCE_INLINE V<T> rounded(V<T> x) {
#if VECTOR_BYTES == 64
    asm("" : "+v"(x));
#elif defined(__x86_64__)
    asm("" : "+x"(x));
#elif defined(__aarch64__)
    asm("" : "+w"(x));
#endif
    return x;
}

// 1 / √x of what is above 0, in float within 2 units in the last place.
template <class T>
FORCE_INLINE V<T> inverse_square_root(V<T> x) {
#if VECTOR_BYTES == 64
    if constexpr (sizeof(T) == 4) {
        // from 14 bits by one step of Newton's; of an infinity the first is 0, and right
        const V<T> first = (V<T>)_mm512_rsqrt14_ps((__m512)x);
        const V<T> better = first + first * (T(0.5) - T(0.5) * x * first * first);
        return x < T(__builtin_inf()) ? better : first;
    }
#endif
    return T(1) / square_root<T>(x);
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
    using type = Indices<I...>;
};
template <class T>
using LaneIndices = typename MakeIndices<lanes<T>>::type;

// Lanes exchanged over the distance D.
template <class T, int D, int... I>
FORCE_INLINE V<T> exchanged(V<T> x, Indices<I...>) {
    return __builtin_shufflevector(x, x, (I ^ D)...);
}
// Lane I of `a` where bit D of I is clear, of `b` where it is set.
template <class T, int D, int... I>
FORCE_INLINE V<T> blended(V<T> a, V<T> b, Indices<I...>) {
    return __builtin_shufflevector(a, b, ((I & D) ? I + lanes<T> : I)...);
}
// What `blended` leaves out, in the place of its partner.
template <class T, int D, int... I>
FORCE_INLINE V<T> partners(V<T> a, V<T> b, Indices<I...>) {
    return __builtin_shufflevector(a, b, ((I & D) ? (I ^ D) + lanes<T> : (I ^ D))...);
}

template <class T, int D = 1>
FORCE_INLINE T horizontal_sum(V<T> x) {
    if constexpr (D < lanes<T>) return horizontal_sum<T, 2 * D>(x + exchanged<T, D>(x, LaneIndices<T>{}));
    else return x[0];
}

struct Add {
    template <class T>
    static FORCE_INLINE V<T> of(V<T> a, V<T> b) { return a + b; }
};
struct Larger {
    template <class T>
    static FORCE_INLINE V<T> of(V<T> a, V<T> b) { return larger<T>(a, b); }
};
struct Smaller {
    template <class T>
    static FORCE_INLINE V<T> of(V<T> a, V<T> b) { return smaller<T>(a, b); }
};

// Lane i of the result is x[i] reduced over its lanes, for COUNT vectors (a power of two, at most one for each lane).
template <class T, class Operation, int COUNT = lanes<T>, int D = 1>
FORCE_INLINE V<T> reduced_rows(const V<T>* x) {
    if constexpr (D == lanes<T>) {
        return x[0];
    } else if constexpr (D >= COUNT) {
        const V<T> joined = Operation::template of<T>(x[0], exchanged<T, D>(x[0], LaneIndices<T>{}));
        return reduced_rows<T, Operation, COUNT, 2 * D>(&joined);
    } else {
        constexpr int half = COUNT / (2 * D);
        V<T> halved[half];
#pragma GCC unroll 16
        for (int i = 0; i < half; ++i) {
            halved[i] = Operation::template of<T>(blended<T, D>(x[2 * i], x[2 * i + 1], LaneIndices<T>{}),
                                                  partners<T, D>(x[2 * i], x[2 * i + 1], LaneIndices<T>{}));
        }
        return reduced_rows<T, Operation, COUNT, 2 * D>(halved);
    }
}

template <class T, int... I>
FORCE_INLINE V<T> lane_numbers(Indices<I...>) {
    return V<T>{T(I)...};
}

// eˣ for x ≤ 0, to rounding; 0 below the smallest normal number is its least value instead.
template <class T>
FORCE_INLINE V<T> exp_of_negative(V<T> x) {
    using Constants = Vector<T>;
    x = x < Constants::least_exp ? broadcast<T>(Constants::least_exp) : x;
    const V<T> shifted = x * T(1.44269504088896340736) + Constants::rounder;
    const V<T> n = shifted - Constants::rounder;
    const V<T> r = (x - n * Constants::ln2_high) - n * Constants::ln2_low;
    V<T> sum = broadcast<T>(T(1));
#pragma GCC unroll 16
    for (int term = Constants::exp_terms - 1; term > 0; --term) sum = T(1) + sum * (r * (T(1) / T(term)));
    const T rounder = Constants::rounder;
    typename std::remove_reference<decltype(Mask<T>{}[0])>::type rounder_bits;
    std::memcpy(&rounder_bits, &rounder, sizeof(T));
    const Mask<T> exponent = ((Mask<T>)shifted - rounder_bits + Constants::bias) << Constants::mantissa;
    return sum * (V<T>)exponent;
}

// log(1 + e) for 0 ≤ e ≤ 1: 2·artanh(e / (2 + e)).
template <class T>
FORCE_INLINE V<T> log_of_one_plus(V<T> e) {
    const V<T> s = e / (T(2) + e), squared = s * s;
    V<T> sum = broadcast<T>(T(1) / T(2 * Vector<T>::log_terms - 1));
#pragma GCC unroll 32
    for (int term = Vector<T>::log_terms - 1; term > 0; --term) sum = sum * squared + T(1) / T(2 * term - 1);
    return T(2) * s * sum;
}

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
