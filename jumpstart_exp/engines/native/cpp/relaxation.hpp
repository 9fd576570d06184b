// Relaxed activation identity: hidden values of every training point, trained beside the parameters.
//
// A relaxed layer hands on its z, or the activations of z, in place of its outputs. So no gradient goes through it: what
// comes back from the next layer is that of z, and what goes on is that of the hidden loss. z lies as activations do, its
// optimizer's slots behind it; in the padding it repeats the last point. Hidden losses and their gradients are 0 to the bit
// where z is what the layer makes of its input: Rprop would make whole steps of what rounding leaves.
#pragma once

#include "network.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

// Of what the hidden loss's weight is at a step, counted from 0.
double hidden_weight(const Spec& spec, std::int64_t step) {
    switch (spec.hidden_schedule) {
        case HiddenSchedule::constant: return spec.hidden_weight;
        case HiddenSchedule::geometric: {
            const double steps = spec.epochs > 1 ? double(spec.epochs - 1) : 1;
            return spec.hidden_weight * std::pow(spec.hidden_final_weight / spec.hidden_weight, double(step) / steps);
        }
    }
    __builtin_trap();
}

// log(1 + e^x).
template <class T>
FORCE_INLINE V<T> soft_plus(V<T> x) {
    return larger<T>(V<T>{}, x) + log_of_one_plus<T>(exp_of_negative<T>(-magnitude<T>(x)));
}

template <class T>
FORCE_INLINE V<T> logistic(V<T> x) {
    V<T> value, slope;
    Logistic{}.template of<T>(x, value, slope);
    return value;
}

// log z of what is above 0, lane by lane: the entropy is for the few who ask for it.
template <class T>
inline V<T> logarithm(V<T> x) {
    for (int i = 0; i < lanes<T>; ++i) x[i] = T(std::log(double(x[i])));
    return x;
}

// Every relaxed layer's values, those of the outputs last: visit(z, rows).
template <class T>
template <class Visit>
void Network<T>::each_relaxed(Visit visit) {
    if (!is_relaxed_) return;
    for (int l = 0; l < spec_.depth; ++l)
        if (hidden_[l].z) visit(hidden_[l].z, segments_);
    if (z_outputs_) visit(z_outputs_, spec_.outputs);
}

// From a plain pass of the training points.
template <class T>
void Network<T>::renew() {
    forward(train_, Mode::train, 0, 0, 0, nullptr);
    for (int l = 0; l < spec_.depth; ++l) {
        const Hidden<T>& layer = hidden_[l];
        if (!layer.z) continue;
        const T* values = nullptr;
        switch (spec_.relax) {
            case Relax::activation: values = layer.outputs; break;
            case Relax::pre_activation: values = layer.pre;
        }
        std::memcpy(layer.z, values, sizeof(T) * z_length(segments_));
    }
    if (z_outputs_) std::memcpy(z_outputs_, logits_, sizeof(T) * z_length(spec_.outputs));
    fill_padding();
}

template <class T>
void Network<T>::fill_padding() {
    each_relaxed([&](T* z, int rows) {
        const int count = train_.layout.count, stride = train_.layout.stride;
        for (int r = 0; r < rows; ++r)
            for (int p = count; p < stride; ++p) z[std::size_t(r) * stride + p] = z[std::size_t(r) * stride + count - 1];
    });
}

// What a point's and unit's loss counts in the hidden loss.
template <class T>
T Network<T>::hidden_share(int rows) const {
    switch (spec_.hidden_reduce) {
        case Reduce::sum: return T(1) / T(train_.layout.count);
        case Reduce::mean: return T(1) / (T(train_.layout.count) * T(rows));
    }
    __builtin_trap();
}

// The loss between z and a layer's pre-activation or output, and its derivatives by z and by the pre-activation.
template <class T>
FORCE_INLINE typename Network<T>::HiddenTerms Network<T>::hidden_terms(V<T> z, V<T> pre, V<T> out, V<T> slope) const {
    switch (spec_.relax) {
        case Relax::pre_activation: return output_terms(z, pre);
        case Relax::activation: break;
    }
    const V<T> apart = z - out;
    switch (spec_.hidden_loss) {
        case HiddenLoss::squared: return {apart * apart, apart * T(2), apart * T(-2) * slope};
        case HiddenLoss::cross_entropy: {
            const V<T> least = broadcast<T>(T(1e-6)), most = broadcast<T>(T(1) - T(1e-6));
            const V<T> inside = smaller<T>(most, larger<T>(least, z)), rest = T(1) - inside;
            const V<T> log_inside = logarithm<T>(inside), log_rest = logarithm<T>(rest), logit = log_inside - log_rest;
            const V<T> entropy = inside * log_inside + rest * log_rest + logit * (z - inside);
            const V<T> value = larger<T>(V<T>{}, entropy + soft_plus<T>(pre) - z * pre);
            const Mask<T> met = z == out;
            return {met ? V<T>{} : value, met ? V<T>{} : logit - pre, -apart};
        }
    }
    __builtin_trap();
}

// The same of pre-activations, or of the network's outputs.
template <class T>
FORCE_INLINE typename Network<T>::HiddenTerms Network<T>::output_terms(V<T> z, V<T> output) const {
    const V<T> apart = z - output;
    switch (spec_.hidden_loss) {
        case HiddenLoss::squared: return {apart * apart, apart * T(2), apart * T(-2)};
        case HiddenLoss::cross_entropy: {
            const V<T> aim = logistic<T>(z), found = logistic<T>(output);
            const V<T> value = larger<T>(V<T>{}, soft_plus<T>(output) - soft_plus<T>(z) + aim * apart);
            const Mask<T> met = z == output;
            return {met ? V<T>{} : value, aim * (T(1) - aim) * apart, found - aim};
        }
    }
    __builtin_trap();
}

template <class T>
template <class Terms>
double Network<T>::hidden_loss(int rows, Terms terms) const {
    const int stride = train_.layout.stride;
    V<T> sum = {};
    for (int r = 0; r < rows; ++r)
        for (int points = 0; points < stride; points += lanes<T>) {
            const V<T> value = terms(std::size_t(r) * stride + points).value;
            sum += load(train_.valid + points) > T(0) ? value : V<T>{};
        }
    return double(horizontal_sum<T>(sum)) * double(hidden_share(rows));
}

template <class T>
double Network<T>::loss_of_layer(const Hidden<T>& layer) const {
    return hidden_loss(segments_, [&](std::size_t place) __attribute__((always_inline)) {
        return hidden_terms(load(layer.z + place), load(layer.pre + place), load(layer.outputs + place),
                            load(layer.slopes + place));
    });
}

template <class T>
double Network<T>::loss_of_outputs() const {
    return hidden_loss(spec_.outputs, [&](std::size_t place) __attribute__((always_inline)) {
        return output_terms(load(z_outputs_ + place), load(outputs_ + place));
    });
}

// The relaxed outputs stand for the network's, which are kept beside.
template <class T>
void Network<T>::judge_relaxed_outputs() {
    if (!z_outputs_) return;
    std::memcpy(outputs_, logits_, sizeof(T) * z_length(spec_.outputs));
    std::memcpy(logits_, z_outputs_, sizeof(T) * z_length(spec_.outputs));
}

// The task's gradient goes to the relaxed outputs, with the hidden loss's, and its own to the network's. They are updated
// unless `gradients` is given, to which theirs go.
template <class T>
void Network<T>::relax_outputs(double* gradients) {
    relaxation_ += loss_of_outputs();
    const int stride = train_.layout.stride;
    const T share = hidden_weight_ * hidden_share(spec_.outputs);
    for (int r = 0; r < spec_.outputs; ++r)
        for (int points = 0; points < stride; points += lanes<T>) {
            const std::size_t place = std::size_t(r) * stride + points;
            const Mask<T> valid = load(train_.valid + points) > T(0);
            const HiddenTerms terms = output_terms(load(z_outputs_ + place), load(outputs_ + place));
            store(z_gradient_ + place, load(logit_gradient_ + place) + (valid ? terms.of_z * share : V<T>{}));
            store(logit_gradient_ + place, valid ? terms.of_pre * share : V<T>{});
        }
    if (gradients) copy_rows(z_gradient_, spec_.outputs, room_of_layer(gradients, spec_.depth));
    else update_relaxed(z_outputs_, spec_.outputs);
}

// One step of a layer's relaxed values down `z_gradient_`.
template <class T>
void Network<T>::update_relaxed(T* z, int rows) {
    const int count = train_.layout.count, stride = train_.layout.stride;
    parameters_bad_ += update_parameters<T>(z_spec_, z_step_, z, z_gradient_, int(z_length(rows)));
    if (count == stride) return;
    for (int r = 0; r < rows; ++r)
        for (int p = count; p < stride; ++p) z[std::size_t(r) * stride + p] = z[std::size_t(r) * stride + count - 1];
}

// The gap to the plain outputs, the largest relaxed value, every layer's hidden loss, as they are now.
template <class T>
void Network<T>::measure_relaxed(double* columns) {
    const int count = train_.layout.count, stride = train_.layout.stride;
    forward(train_, Mode::evaluate, 0, 0, 0, nullptr);
    std::memcpy(plain_, logits_, sizeof(T) * z_length(spec_.outputs));
    forward(train_, Mode::relaxed, 0, 0, 0, nullptr);
    judge_relaxed_outputs();
    double gap = 0, largest = 0;
    for (int r = 0; r < spec_.outputs; ++r)
        for (int p = 0; p < count; ++p)
            gap += std::fabs(double(logits_[std::size_t(r) * stride + p]) - double(plain_[std::size_t(r) * stride + p]));
    each_relaxed([&](T* z, int rows) {
        for (int r = 0; r < rows; ++r)
            for (int p = 0; p < count; ++p) {
                const double size = std::fabs(double(z[std::size_t(r) * stride + p]));
                largest = size > largest ? size : largest;
            }
    });
    *columns++ = gap / (double(count) * spec_.outputs);
    *columns++ = largest;
    for (int l = 0; l < spec_.depth; ++l)
        if (hidden_[l].z) *columns++ = loss_of_layer(hidden_[l]);
    if (z_outputs_) *columns++ = loss_of_outputs();
}

// Where a layer's numbers begin among all relaxed ones; the outputs' for layer = depth.
template <class T>
double* Network<T>::room_of_layer(double* numbers, int layer) const {
    for (int l = 0; l < layer; ++l)
        if (hidden_[l].z) numbers += std::size_t(train_.layout.count) * segments_;
    return numbers;
}

// Rows of points as (points, rows).
template <class T>
void Network<T>::copy_rows(const T* rows, int count, double* to) const {
    for (int p = 0; p < train_.layout.count; ++p)
        for (int r = 0; r < count; ++r) *to++ = double(rows[std::size_t(r) * train_.layout.stride + p]);
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
