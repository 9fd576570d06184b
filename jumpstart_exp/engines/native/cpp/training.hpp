// One network trained from its first to its last epoch.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "units.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

struct DropoutNow {
    double scale;
    std::uint64_t threshold;
};

DropoutNow dropout_at(const Spec& spec, std::int64_t epoch) {
    const double rate = spec.dropout_rate * (1 - double(epoch) / spec.dropout_anneal_epochs);
    if (!(rate > 0)) return {0, 0};
    return {1 / (1 - rate), std::uint64_t(rate * 4294967296.0)};
}

void add(Best& metric, std::int64_t epoch, double value, bool largest) {
    metric.last = value;
    if (metric.best_epoch == 0 || (largest ? value > metric.best : value < metric.best)) {
        metric.best = value;
        metric.best_epoch = epoch;
    }
}

double mean_of(const double* census, int depth, int which) {
    double sum = 0;
    for (int l = 0; l < depth; ++l) sum += census[6 * l + which];
    return sum / depth;
}

// A step's forward pass, before its number is counted: the task's loss, and its gradient.
template <class T>
typename Network<T>::Score Network<T>::look(std::int64_t step, T dropout_scale, std::uint64_t dropout_threshold,
                                            bool with_loss) {
    if (is_relaxed_) {
        const bool is_renewed = step == 0 ? !spec_.relaxed_initial
                                          : spec_.relaxed_period > 0 && step % spec_.relaxed_period == 0;
        if (is_renewed) renew();
    }
    forward(train_, is_relaxed_ ? Mode::relaxed : Mode::train, dropout_scale, dropout_threshold, step, nullptr);
    judge_relaxed_outputs();
    return score(train_, with_loss, true);
}

template <class T>
void Network<T>::run(Control& control, Outcome& outcome) {
    control_ = &control;
    if (control.state) {
        const double* numbers = control.state;
        each_of_state([&](T& number) { number = T(*numbers++); });
        bind_all();
        fill_padding();
        steps_ = outcome.epochs_run;
    } else {
        initialise(nullptr);
        if (spec_.evaluate) {
            forward(train_, Mode::whole_set, 0, 0, 0, outcome.census_start);
            outcome.penalty_start = penalty_;
            outcome.dead_at_some_layer_start = dead_at_some_layer_;
        }
    }
    for (std::int64_t epoch = outcome.epochs_run + 1; epoch <= spec_.epochs; ++epoch) {
        const DropoutNow dropout = dropout_at(spec_, epoch - 1);
        Score plain = {0, 0};  // relaxed layers are no part of what is told
        if (is_relaxed_ && spec_.evaluate) {
            forward(train_, Mode::evaluate, 0, 0, 0, nullptr);
            plain = score(train_, true, false);
        }
        const Score seen = look(epoch - 1, T(dropout.scale), dropout.threshold, spec_.evaluate && !is_relaxed_);
        const Score train = is_relaxed_ ? plain : seen;
        const double penalty = has_penalty_ ? penalty_ : 0;
        start_step();
        backward(epoch - 1, T(dropout.scale), nullptr);
        if (stopped()) break;
        reset_if_due(epoch);
        const double train_loss = train.loss, train_acc = train.accuracy;
        double val_loss = 0, val_acc = 0;
        if (spec_.evaluate) {
            forward(val_, Mode::evaluate, 0, 0, 0, nullptr);
            const Score val = score(val_, true, false);
            val_loss = val.loss;
            val_acc = val.accuracy;
        }
        if (stopped()) break;
        if (!std::isfinite(train_loss + val_loss + penalty + relaxation_) || any<T>(parameters_bad_ != parameters_bad_)) {
            outcome.diverged_epoch = epoch;
            return;
        }
        const bool is_last = epoch == spec_.epochs;
        if (spec_.evaluate && (is_last || epoch == 1 || epoch % spec_.curve_every == 0)) {
            forward(train_, Mode::whole_set, 0, 0, 0, outcome.census_last);
            if (stopped()) break;
            outcome.penalty_last = penalty_;
            outcome.dead_at_some_layer_last = dead_at_some_layer_;
            if (!has_penalty_ || std::isfinite(penalty_)) {
                if (outcome.curve_rows < outcome.curve_capacity) {
                    const double* census = outcome.census_last;
                    const int depth = spec_.depth;
                    outcome.curve[outcome.curve_rows++] = {
                        epoch, train_acc, val_acc, train_loss, val_loss, penalty_,
                        mean_of(census, depth, 0), mean_of(census, depth, 1),
                        mean_of(census, depth, 2), mean_of(census, depth, 3)};
                    if (is_relaxed_)
                        measure_relaxed(outcome.relaxed_curve + (outcome.curve_rows - 1) * relaxed_columns(spec_));
                    if (stopped()) break;
                }
            } else if (is_last) {
                outcome.diverged_epoch = epoch;
                return;
            }
        }
        outcome.epochs_run = epoch;
        control.epochs_done.store(epoch, std::memory_order_relaxed);
        if (spec_.evaluate) {
            add(outcome.train_acc, epoch, train_acc, true);
            add(outcome.val_acc, epoch, val_acc, true);
            add(outcome.train_loss, epoch, train_loss, false);
            add(outcome.val_loss, epoch, val_loss, false);
        }
        if (!control.keeper) continue;
        if (double* numbers = control.keeper->room_if_due(epoch)) {
            each_of_state([&](T& number) { *numbers++ = double(number); });
            control.keeper->keep(outcome);
        }
    }
    outcome.stopped = outcome.epochs_run < spec_.epochs;
}

template <class T>
void Network<T>::probe(Probe& probe) {
    initialise(probe.initial);
    for (std::int64_t step = 0;; ++step) {
        const DropoutNow dropout = dropout_at(spec_, step);
        const Score train = look(step, T(dropout.scale), dropout.threshold, true);
        if (step == probe.steps) {
            probe.task_loss = train.loss;
            probe.penalty = has_penalty_ ? penalty_ : 0;
            double* values = probe.parameters;
            each_parameter([&](int l, int offset) { *values++ = double(blocks_[l].values[offset]); });
            double* relaxed = probe.relaxed;
            each_relaxed([&](T* z, int rows) {
                copy_rows(z, rows, relaxed);
                relaxed += std::size_t(train_.layout.count) * rows;
            });
            backward(step, T(dropout.scale), &probe);
            probe.relaxation = relaxation_;
            return;
        }
        start_step();
        backward(step, T(dropout.scale), nullptr);
        reset_if_due(step + 1);
    }
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
