// Activations of whole vectors: a rule gives the value and the derivative at a pre-activation. The ReLU is also inlined
// into the products of both passes, unless there is a norm beside skips; all others go over the layer once, in the forward pass, and keep their derivatives.
//
// No number stays none, an infinity becomes its limit or no number, as in torch. Values and derivatives are within 8 units
// in the last place of the exact ones, or of 1 where those are smaller; values at |x| < ½ within as many of their own.
#pragma once

#include <cmath>
#include <cstddef>

#include "kernel.hpp"
#include "vector.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

// Terms of the series for eʳ − 1 − r, the highest power first, and of gelu's P, the lowest first.
template <class T>
struct Series;
template <>
struct Series<float> {
    static constexpr int exp_terms = 6;  // to r⁷
    static constexpr float inverse_factorials[] = {1.f / 5040, 1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f};
    static constexpr float centre = 4, largest = 15;  // K, and the t from which on the tail is 0
    static constexpr int degree = 9;
    static constexpr float tail[] = {0.7552851386f,   -0.6078965941f,    0.3871366831f,   -0.1865233068f,   0.06040618551f,
                                     -0.007525402418f, -0.003520972824f, 0.001566881688f, 0.0001889965194f, -0.0001255583856f};
};
template <>
struct Series<double> {
    static constexpr int exp_terms = 12;  // to r¹³
    static constexpr double inverse_factorials[] = {1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800,
                                                    1. / 362880,     1. / 40320,     1. / 5040,     1. / 720,
                                                    1. / 120,        1. / 24,        1. / 6,        0.5};
    static constexpr double centre = 5, largest = 40;
    static constexpr int degree = 22;
    static constexpr double tail[] = {
        0.76919304975006295804, -0.66538250289005669366, 0.49530561596997658874, -0.31353315667130517141,
        0.16502036617037502528, -0.069118638706294679525, 0.020795066800091459633, -0.0029933767706492681155,
        -0.00079786940073924878713, 0.00054489906503732301149, -0.000059375713816471311811, -0.00004976281037790303534,
        0.000016681160364586645435, 3.9808712856669724865e-6, -2.7691457822822778648e-6, -3.3651220434990695011e-7,
        4.3298370374156094057e-7, 4.2091833338869145819e-8, -6.5848868400797397181e-8, -9.1445020812891738596e-9,
        7.6672361072026533149e-9, 1.6891057665153780829e-9, -1.8073212078146043403e-10};
};

// eˣ = scale + scale·part for x ≤ 0, with part = eʳ − 1 of what is left of x, |r| ≤ ½·log 2: so eˣ − 1 is exact near 0.
template <class T>
struct Exponential {
    V<T> scale, part;

    V<T> value() const { return scale + scale * part; }
    V<T> less_one() const { return scale * part + (scale - T(1)); }
};

template <class T>
FORCE_INLINE Exponential<T> exponential_of_negative(V<T> x) {
    using Constants = Vector<T>;
    const V<T> bounded = larger<T>(broadcast<T>(Constants::least_exp), x);  // no number stays none
    const V<T> shifted = bounded * T(1.44269504088896340736) + Constants::rounder;
    const V<T> n = shifted - Constants::rounder;
    const V<T> r = (bounded - n * Constants::ln2_high) - n * Constants::ln2_low;
    V<T> sum = broadcast<T>(Series<T>::inverse_factorials[0]);
#pragma GCC unroll 16
    for (int i = 1; i < Series<T>::exp_terms; ++i) sum = sum * r + Series<T>::inverse_factorials[i];
    const V<T> part = r + r * r * sum;
    const T rounder = Constants::rounder;
    typename std::remove_reference<decltype(Mask<T>{}[0])>::type rounder_bits;
    std::memcpy(&rounder_bits, &rounder, sizeof(T));
    const V<T> scale = (V<T>)(((Mask<T>)shifted - rounder_bits + Constants::bias) << Constants::mantissa);
    return {x < Constants::least_exp ? V<T>{} : scale, part};
}

template <class T>
FORCE_INLINE V<T> magnitude(V<T> x) {
    return larger<T>(-x, x);
}

struct Rectifier {
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        value = larger<T>(V<T>{}, x);
        slope = x > T(0) ? broadcast<T>(T(1)) : V<T>{};
    }
};

// Two straight lines that meet at 0: leaky_relu, prelu, tat.
struct Pieces {
    double above, below;
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        slope = x > T(0) ? broadcast<T>(T(above)) : broadcast<T>(T(below));
        value = x * slope;
    }
};

// scale·x above 0, scale·alpha·(eˣ − 1) below: elu, selu.
struct ExponentialBelow {
    double scale, alpha;
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        const Exponential<T> e = exponential_of_negative<T>(smaller<T>(V<T>{}, x));
        const T above = T(scale), below = T(scale * alpha);
        value = x > T(0) ? x * above : e.less_one() * below;
        slope = x > T(0) ? broadcast<T>(above) : e.value() * below;
    }
};

// tanh(rate·x): tanh, and 2/(1 + exp(−γx)) − 1 with half of γ.
struct Tanh {
    double rate;
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        const Exponential<T> e = exponential_of_negative<T>(magnitude<T>(x) * T(-2 * rate));
        const V<T> less_one = e.less_one(), inverse = T(1) / (T(2) + less_one), size = less_one * inverse;
        value = x > T(0) ? -size : size;
        slope = e.value() * inverse * inverse * T(4 * rate);
    }
};

struct Logistic {
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        const V<T> e = exponential_of_negative<T>(-magnitude<T>(x)).value(), inverse = T(1) / (T(1) + e);
        value = x > T(0) ? inverse : e * inverse;
        slope = e * inverse * inverse;
    }
};

struct Silu {
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        const V<T> e = exponential_of_negative<T>(-magnitude<T>(x)).value(), inverse = T(1) / (T(1) + e);
        const V<T> rest = e * inverse, share = x > T(0) ? inverse : rest, other = x > T(0) ? rest : inverse;
        value = x * share;
        slope = share * (T(1) + x * other);
    }
};

// x·Φ(x), exact. Below 0, Φ(−t) = exp(−t²/2)·w·P(q), w = 1/(t + K), q = 1 − 2K·w: P interpolates exp(t²/2)·Φ(−t)/w at
// Chebyshev's points, its relative error is 1.4e-8 in float, 2e-17 in double.
struct Gelu {
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        using Constants = Series<T>;
        const V<T> t = smaller<T>(broadcast<T>(Constants::largest), magnitude<T>(x));
        const V<T> density = exponential_of_negative<T>(t * t * T(-0.5)).value();
        const V<T> w = T(1) / (t + Constants::centre), q = T(1) - w * (2 * Constants::centre);
        V<T> sum = broadcast<T>(Constants::tail[Constants::degree]);
#pragma GCC unroll 32
        for (int i = Constants::degree - 1; i >= 0; --i) sum = sum * q + Constants::tail[i];
        const V<T> tail = density * w * sum, share = x > T(0) ? T(1) - tail : tail;
        value = x * share;
        slope = share + x * (density * T(0.398942280401432677940));
    }
};

// log(1 + eˣ); above 20 it is x, as torch has it.
struct Softplus {
    template <class T>
    FORCE_INLINE void of(V<T> x, V<T>& value, V<T>& slope) const {
        const V<T> e = exponential_of_negative<T>(-magnitude<T>(x)).value(), inverse = T(1) / (T(1) + e);
        const Mask<T> straight = x > T(20);
        value = straight ? x : larger<T>(V<T>{}, x) + log_of_one_plus<T>(e);
        slope = straight ? broadcast<T>(T(1)) : x > T(0) ? inverse : e * inverse;
    }
};

// Values of whole vectors, and derivatives where `slopes` is given; `values` may be `pre`.
template <class T, class Rule>
__attribute__((noinline)) void apply(Rule rule, const T* pre, T* values, T* slopes, std::size_t count) {
    V<T> value, slope;
    if (!slopes) {
        for (std::size_t i = 0; i < count; i += lanes<T>) {
            rule.template of<T>(load(pre + i), value, slope);
            store(values + i, value);
        }
        return;
    }
    for (std::size_t i = 0; i < count; i += lanes<T>) {
        rule.template of<T>(load(pre + i), value, slope);
        store(values + i, value);
        store(slopes + i, slope);
    }
}

// `number` is the activation's own: a slope, γ; a layer's trained one. crelu writes twice as many values and no slopes.
template <class T>
void activate_all(Activation activation, double number, const T* pre, T* values, T* slopes, std::size_t count) {
    switch (activation) {
        case Activation::relu: return apply<T>(Rectifier{}, pre, values, slopes, count);
        case Activation::leaky_relu:
        case Activation::prelu: return apply<T>(Pieces{1, number}, pre, values, slopes, count);
        case Activation::tat: {
            const double scale = std::sqrt(2 / (1 + number * number));
            return apply<T>(Pieces{scale, scale * number}, pre, values, slopes, count);
        }
        case Activation::elu: return apply<T>(ExponentialBelow{1, 1}, pre, values, slopes, count);
        case Activation::selu:
            return apply<T>(ExponentialBelow{1.0507009873554804934, 1.6732632423543772848}, pre, values, slopes, count);
        case Activation::gelu: return apply<T>(Gelu{}, pre, values, slopes, count);
        case Activation::silu: return apply<T>(Silu{}, pre, values, slopes, count);
        case Activation::tanh: return apply<T>(Tanh{1}, pre, values, slopes, count);
        case Activation::sigmoid: return apply<T>(Tanh{number / 2}, pre, values, slopes, count);
        case Activation::logistic: return apply<T>(Logistic{}, pre, values, slopes, count);
        case Activation::softplus: return apply<T>(Softplus{}, pre, values, slopes, count);
        case Activation::crelu:
            for (std::size_t i = 0; i < count; i += lanes<T>) {
                const V<T> x = load(pre + i);
                store(values + i, larger<T>(V<T>{}, x));
                store(values + count + i, larger<T>(V<T>{}, -x));
            }
            return;
    }
    __builtin_trap();
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
