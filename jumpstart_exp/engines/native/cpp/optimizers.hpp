// What a step does to the parameters: the schedules, a step's numbers, the updates, the clipping of gradients.
//
// Full batches: a step is an epoch. The updates are torch's.
#pragma once

#include <cmath>

#include "kernel.hpp"
#include "vector.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

constexpr double pi = 3.14159265358979323846;

// The learning rate of a step, counted from 1.
double learning_rate(const Spec& spec, std::int64_t step) {
    const double warm = step < spec.warmup_steps ? double(step) / double(spec.warmup_steps) : 1;
    switch (spec.schedule) {
        case RateSchedule::constant: return spec.lr * warm;
        case RateSchedule::cosine:
            return spec.lr * (warm * 0.5 * (1 + std::cos(pi * (double(step - 1) / double(spec.epochs)))));
        case RateSchedule::step:
            return spec.lr * (warm * std::pow(spec.step_factor, double((step - 1) / spec.step_every)));
    }
    __builtin_trap();
}

// What λ is of the penalty's weight at a step, counted from 0.
double penalty_factor(const Spec& spec, std::int64_t step) {
    const double done = double(step) / double(spec.epochs);
    switch (spec.penalty_schedule) {
        case PenaltySchedule::constant: return 1;
        case PenaltySchedule::cosine: return 0.5 * (1 + std::cos(pi * done));
        case PenaltySchedule::linear: return 1 - done;
    }
    __builtin_trap();
}

// A step's numbers, the same for all parameters.
template <class T>
struct StepNumbers {
    T rate;       // Adam's is over the first moment's bias correction
    T root, eps;  // of Adam: 1 / √(bias correction of the second moment); its ε, or RMSprop's
    T decay;      // times the parameter it is added to the gradient
    T left;       // of the parameter, before an update of AdamW
};

template <class T>
StepNumbers<T> adam_numbers(const Spec& spec, std::int64_t step) {
    const double first = 1 - std::pow(spec.beta1, double(step)), second = 1 - std::pow(spec.beta2, double(step));
    const T rate = T(learning_rate(spec, step) / first), root = T(1 / std::sqrt(second));
    switch (spec.eps_rule) {
        case EpsRule::torch: return {rate, root, T(spec.eps), T(spec.weight_decay), T(1)};
        case EpsRule::keras: return {rate, root, T(spec.eps / std::sqrt(second)), T(spec.weight_decay), T(1)};
    }
    __builtin_trap();
}

// Of the step with this number, counted from 1.
template <class T>
StepNumbers<T> numbers_of_step(const Spec& spec, std::int64_t step) {
    switch (spec.optimizer) {
        case Optimizer::adam: return adam_numbers<T>(spec, step);
        case Optimizer::adamw: {
            StepNumbers<T> numbers = adam_numbers<T>(spec, step);
            numbers.decay = T(0);
            numbers.left = T(1 - learning_rate(spec, step) * spec.weight_decay);
            return numbers;
        }
        case Optimizer::sgd:
        case Optimizer::rmsprop: return {T(learning_rate(spec, step)), T(1), T(spec.eps), T(spec.weight_decay), T(1)};
        case Optimizer::rprop: return {T(0), T(1), T(0), T(0), T(1)};  // its steps are its slots
    }
    __builtin_trap();
}

// What the optimizer's slot holds before the first step.
double slot_start(const Spec& spec, int slot) {
    switch (spec.optimizer) {
        case Optimizer::adam:
        case Optimizer::adamw:
        case Optimizer::sgd:
        case Optimizer::rmsprop: return 0;
        case Optimizer::rprop: return slot == 1 ? spec.lr : 0;  // the gradient before, the step
    }
    __builtin_trap();
}

// Every value becomes `rule(place, value, gradient)`. What is returned is 0 unless one is no number any more.
template <class T, class Rule>
FORCE_INLINE V<T> update_each(T* values, const T* gradient, int length, T decay, Rule rule) {
    V<T> bad = {};
    if (decay != T(0)) {
        for (int i = 0; i < length; i += lanes<T>) {
            const V<T> before = load(values + i), value = rule(i, before, load(gradient + i) + before * decay);
            store(values + i, value);
            bad += value * T(0);
        }
        return bad;
    }
    for (int i = 0; i < length; i += lanes<T>) {
        const V<T> value = rule(i, load(values + i), load(gradient + i));
        store(values + i, value);
        bad += value * T(0);
    }
    return bad;
}

// One step of `length` parameters, behind which lie as many numbers of each slot.
template <class T>
V<T> update_parameters(const Spec& spec, const StepNumbers<T>& now, T* values, const T* gradient, int length) {
    T *first = values + length, *second = values + 2 * std::size_t(length);
    const T rate = now.rate, root = now.root, eps = now.eps, left = now.left;
    const T momentum = T(spec.momentum);
    switch (spec.optimizer) {
        case Optimizer::adam:
        case Optimizer::adamw: {
            const T new_share = T(1 - spec.beta1), kept = T(spec.beta2), new_square = T(1 - spec.beta2);
            const auto step = [&](int i, V<T> value, V<T> g) __attribute__((always_inline)) {
                const V<T> m = load(first + i) + (g - load(first + i)) * new_share;
                const V<T> s = load(second + i) * kept + g * (g * new_square);
                store(first + i, m);
                store(second + i, s);
                return value - rate * (m / (square_root<T>(s) * root + eps));
            };
            if (left == T(1)) return update_each<T>(values, gradient, length, now.decay, step);
            return update_each<T>(values, gradient, length, now.decay, [&](int i, V<T> value, V<T> g)
                                      __attribute__((always_inline)) { return step(i, value * left, g); });
        }
        case Optimizer::sgd:
            if (!has_momentum(spec))
                return update_each<T>(values, gradient, length, now.decay, [&](int, V<T> value, V<T> g)
                                          __attribute__((always_inline)) { return value - rate * g; });
            return update_each<T>(values, gradient, length, now.decay, [&](int i, V<T> value, V<T> g)
                                      __attribute__((always_inline)) {
                                          const V<T> buffer = load(first + i) * momentum + g;
                                          store(first + i, buffer);
                                          return value - rate * (spec.nesterov ? g + buffer * momentum : buffer);
                                      });
        case Optimizer::rmsprop: {
            const T kept = T(spec.alpha), new_square = T(1 - spec.alpha);
            return update_each<T>(values, gradient, length, now.decay, [&](int i, V<T> value, V<T> g)
                                      __attribute__((always_inline)) {
                                          const V<T> s = load(first + i) * kept + g * (g * new_square);
                                          store(first + i, s);
                                          V<T> down = g / (square_root<T>(s) + eps);
                                          if (has_momentum(spec)) {
                                              down += load(second + i) * momentum;
                                              store(second + i, down);
                                          }
                                          return value - rate * down;
                                      });
        }
        case Optimizer::rprop:
            return update_each<T>(
                values, gradient, length, now.decay, [&](int i, V<T> value, V<T> g) __attribute__((always_inline)) {
                    constexpr double shrink = 0.5, grow = 1.2, least = 1e-6, most = 50;
                    const V<T> product = g * load(first + i), size = load(second + i);
                    const Mask<T> turned = product < T(0);
                    V<T> next = product > T(0) ? size * T(grow) : turned ? size * T(shrink) : size;
                    next = smaller<T>(larger<T>(next, broadcast<T>(T(least))), broadcast<T>(T(most)));
                    const V<T> kept = turned ? V<T>{} : g;
                    store(first + i, kept);
                    store(second + i, next);
                    const V<T> down = kept > T(0) ? next : kept < T(0) ? -next : V<T>{};
                    return value - down + kept * T(0);  // a gradient that is no number leaves none
                });
    }
    __builtin_trap();
}

// The sum of the squares of numbers, a multiple of a vector's.
template <class T>
double sum_of_squares(const T* numbers, int length) {
    V<T> sum = {};
    for (int i = 0; i < length; i += lanes<T>) sum += load(numbers + i) * load(numbers + i);
    return double(horizontal_sum<T>(sum));
}

// What a gradient of this norm is multiplied by, as torch's clip_grad_norm_ has it; no number where the norm is none.
inline double clip_factor(double clip_norm, double norm) {
    const double factor = clip_norm / (norm + 1e-6);
    return factor >= 1 ? 1 : factor;
}

template <class T>
void scale(T* numbers, int length, T factor) {
    for (int i = 0; i < length; i += lanes<T>) store(numbers + i, load(numbers + i) * factor);
}

// To the gradient of a layer's rows, behind each of which lies its bias, λ times their weights.
template <class T>
void penalise_rows(const T* values, T* gradient, int rows, int columns, T penalty) {
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c) {
            const int place = r * (columns + 1) + c;
            gradient[place] += penalty * values[place];
        }
}

// Scales rows that are longer than κ back to it (van den Berg 2016, section 5.2: projected training). A row that is no
// number stays none, and one whose length is infinite becomes none. What is returned is 0 unless one is no number.
template <class T>
T limit_rows(T* values, int rows, int columns, double limit) {
    T bad = 0;
    for (int r = 0; r < rows; ++r) {
        T* row = values + std::size_t(r) * (columns + 1);
        double squares = 0;
        for (int c = 0; c < columns; ++c) squares += double(row[c]) * double(row[c]);
        const double norm = std::sqrt(squares);
        if (!(norm > limit)) continue;
        const T factor = T(limit / norm + (norm - norm));  // no number, not 0, where the norm is infinite
        for (int c = 0; c < columns; ++c) bad += (row[c] *= factor) * T(0);
    }
    return bad;
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
