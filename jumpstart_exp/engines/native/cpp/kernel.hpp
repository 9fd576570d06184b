// One network's whole training, as plain data: what every instruction set's kernel takes and gives.
//
// Nothing here or in kernel.cpp may instantiate a template of the standard library: the linker would keep one copy
// for all instruction sets, and it might be one that this processor cannot run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace jumpstart {

// What module.cpp has no name for never comes here; a switch that leaves one of these out does not compile.
enum class Architecture { mlp, conv2x1 };
enum class Activation {
    relu, leaky_relu, prelu, elu, selu, gelu, silu, tanh, sigmoid, logistic, softplus, tat, crelu
};
enum class Norm { none, batch, layer };
enum class SkipScale { one, zero, fixup };
enum class Init { glorot_uniform, glorot_uniform_2x1, kaiming_uniform, zero, given };
enum class Precision { float32, float64 };
enum class Task { classification, regression };
enum class Kind { none, U, P, UP, L };
enum class Scope { channel, position };
enum class Aggregate { sum, mean, l2, sum_sq, balanced };
enum class Ties { shared, single, random };
enum class Optimizer { adam, adamw, sgd, rmsprop, rprop };
enum class RateSchedule { constant, cosine, step };
enum class PenaltySchedule { constant, cosine, linear };
enum class EpsRule { torch, keras };
// Of relaxed layers: what is trained of a layer, and the loss between that and what the layer makes of its input.
enum class Relax { activation, pre_activation };
enum class HiddenLoss { squared, cross_entropy };
enum class Reduce { sum, mean };
enum class HiddenSchedule { constant, geometric };

constexpr int positions_of(Architecture architecture) {
    switch (architecture) {
        case Architecture::mlp: return 1;
        case Architecture::conv2x1: return 2;
    }
    __builtin_trap();
}
// Parameters that a norm has for every unit of a hidden layer, and its running statistics.
struct NormNumbers {
    int parameters, statistics;
};
constexpr NormNumbers numbers_of(Norm norm) {
    switch (norm) {
        case Norm::none: return {0, 0};
        case Norm::batch: return {2, 2};
        case Norm::layer: return {2, 0};
    }
    __builtin_trap();
}
// Whether a layer trains a number of its activation, and how many outputs a unit has.
struct ActivationTraits {
    bool is_trained;
    int outputs;
};
constexpr ActivationTraits traits_of(Activation activation) {
    switch (activation) {
        case Activation::prelu: return {true, 1};
        case Activation::crelu: return {false, 2};
        case Activation::relu:
        case Activation::leaky_relu:
        case Activation::elu:
        case Activation::selu:
        case Activation::gelu:
        case Activation::silu:
        case Activation::tanh:
        case Activation::sigmoid:
        case Activation::logistic:
        case Activation::softplus:
        case Activation::tat: return {false, 1};
    }
    __builtin_trap();
}
// Whether a block's branch has a trained factor.
constexpr bool is_scaled(SkipScale scale) {
    switch (scale) {
        case SkipScale::one: return false;
        case SkipScale::zero: return true;
        case SkipScale::fixup: return false;
    }
    __builtin_trap();
}
// Whether a block's numbers stand before its activations and in its affine maps (Zhang et al. 2019).
constexpr bool is_fixup(SkipScale scale) {
    switch (scale) {
        case SkipScale::one:
        case SkipScale::zero: return false;
        case SkipScale::fixup: return true;
    }
    __builtin_trap();
}
// Whether a tie's entries are counted before its gradient is given, and whether each of them gets its share.
struct TieRule {
    bool counts, shares;
};
constexpr TieRule rule_of(Ties ties) {
    switch (ties) {
        case Ties::shared: return {true, true};
        case Ties::single: return {false, false};
        case Ties::random: return {true, false};
    }
    __builtin_trap();
}
struct Constraints {
    bool units, points, layers;
};
constexpr Constraints constraints_of(Kind kind) {
    switch (kind) {
        case Kind::none: return {false, false, false};
        case Kind::U: return {true, false, false};
        case Kind::P: return {false, true, false};
        case Kind::UP: return {true, true, false};
        case Kind::L: return {false, false, true};
    }
    __builtin_trap();
}
constexpr bool has_a_constraint_a_position(Scope scope) {
    switch (scope) {
        case Scope::channel: return false;
        case Scope::position: return true;
    }
    __builtin_trap();
}

// Of a pair's deficits: ρ and 1 − ρ, 0 for a side that does not count.
struct Shares {
    double above, below;
};

struct Spec {
    int depth, width, features, outputs;  // one output is the log-odds of class 1
    bool task_loss, evaluate;
    Architecture architecture;
    Activation activation;
    double activation_number;  // its slope, γ or start
    bool is_smooth;            // its units and points are neither dead nor linear
    Norm norm;
    int skip_every;  // hidden layers that a skip goes over, from the second on; 0 for no skips
    SkipScale skip_scale;
    bool farkas;     // the last unit of every hidden layer is bound to the others (Pooladian et al. 2020)
    Init init;
    const double* initial;  // parameters in torch's order, for `given`
    Precision precision;
    Task task;
    Kind kind;
    Scope scope;
    Aggregate aggregate;
    Ties ties;
    Optimizer optimizer;
    EpsRule eps_rule;
    const double* layer_weights;  // depth numbers, or null for 1
    Shares unit_shares, point_shares, layer_shares;
    PenaltySchedule penalty_schedule;
    double weight, margin_above, margin_below, upper_bound;  // infinite for no bound
    double norm_eps, norm_momentum;
    double dropout_rate, dropout_anneal_epochs;
    double lr, beta1, beta2, eps;
    double momentum, alpha, weight_decay, clip_norm;  // infinite for no clipping
    double row_penalty, row_limit;  // infinite for no limit
    const bool* has_row_rule;  // of every layer, the output's last: whether these are of its rows; null for none
    const bool* is_trained;    // likewise; null for all
    bool nesterov;
    RateSchedule schedule;
    std::int64_t warmup_steps, step_every;
    double step_factor;
    std::int64_t epochs, curve_every;
    std::uint32_t seed;
    // Relaxed activation identity: its weight is 0 without it.
    double hidden_weight, hidden_final_weight, relaxed_rate;
    Relax relax;
    HiddenLoss hidden_loss;
    Reduce hidden_reduce;
    HiddenSchedule hidden_schedule;
    const bool* is_relaxed;  // of every hidden layer
    int relaxed_layers;      // how many of them
    bool relaxes_outputs;
    std::int64_t relaxed_period;    // steps after which the relaxed values begin anew, 0 for never
    const double* relaxed_initial;  // `relaxed_count` numbers; null to begin with a forward pass
    int relaxed_points;             // training points
    // Dormant units begin anew (ReDo) after every so many steps, 0 for never.
    std::int64_t reset_every;
    double reset_tau;
    const double* reset_values;  // parameters of every reset in turn, in torch's order, of which dormant units take theirs
};

constexpr bool relaxes(const Spec& spec) { return spec.hidden_weight > 0; }
// Relaxed values: of each layer in turn, point by point, those of the outputs last.
constexpr std::int64_t relaxed_count(const Spec& spec) {
    if (!relaxes(spec)) return 0;
    const std::int64_t units = std::int64_t(spec.relaxed_layers) * spec.width + (spec.relaxes_outputs ? spec.outputs : 0);
    return units * spec.relaxed_points;
}
// What a row of the curve has of them: the gap to the plain outputs, the largest of them, every layer's hidden loss.
constexpr int relaxed_columns(const Spec& spec) {
    return relaxes(spec) ? 2 + spec.relaxed_layers + int(spec.relaxes_outputs) : 0;
}

constexpr bool has_momentum(const Spec& spec) { return spec.momentum > 0; }
// Numbers that an optimizer keeps beside every parameter.
constexpr int slots_of(const Spec& spec) {
    switch (spec.optimizer) {
        case Optimizer::adam:
        case Optimizer::adamw: return 2;  // the first and the second moment
        case Optimizer::sgd: return has_momentum(spec);
        case Optimizer::rmsprop: return 1 + has_momentum(spec);  // the mean square, the buffer
        case Optimizer::rprop: return 2;  // the gradient before, the step
    }
    __builtin_trap();
}

// Skips go over blocks of layers: the input of one is the output of layer 0, or of the block before.
constexpr int blocks_of(const Spec& spec) { return spec.skip_every ? (spec.depth - 1) / spec.skip_every : 0; }
constexpr bool is_in_block(const Spec& spec, int layer) {
    return spec.skip_every && layer > 0 && (layer - 1) / spec.skip_every < blocks_of(spec);
}
constexpr bool begins_block(const Spec& spec, int layer) {
    return spec.skip_every && layer % spec.skip_every == 0 && layer / spec.skip_every < blocks_of(spec);
}
constexpr bool ends_block(const Spec& spec, int layer) {
    return spec.skip_every && layer > 0 && layer % spec.skip_every == 0 && layer / spec.skip_every <= blocks_of(spec);
}

// Points in rows of `features` numbers; labels are class indices, or numbers with their variance; weights in the task's
// loss and score have the mean 1.
struct Points {
    const double* x;
    const double* y;
    const double* weights;
    int count;
    double variance;
};

struct CurvePoint {
    std::int64_t epoch;
    double train_acc, val_acc, train_loss, val_loss, penalty;
    double dead_units, linear_units, dead_points, linear_points;
};

struct Best {
    double last, best;
    std::int64_t best_epoch;  // 0 before the first epoch
};

// The caller owns the arrays: six numbers a layer in a census (dead units, linear units, dead points, linear points,
// dormant units, firing rate; NaN for what is not known), `curve_capacity` rows in the curve.
struct Outcome {
    bool stopped;
    std::int64_t epochs_run, diverged_epoch;  // 0 where it did not diverge
    Best train_acc, val_acc, train_loss, val_loss;
    double penalty_start, penalty_last;
    double* census_start;
    double* census_last;
    double dead_at_some_layer_start, dead_at_some_layer_last;  // of the points; NaN for what is not known
    CurvePoint* curve;
    double* relaxed_curve;  // `relaxed_columns` of each row
    std::int64_t curve_capacity, curve_rows;
};

// Takes a network's state between two epochs: `state_count` numbers, and what its outcome is so far.
class CheckpointWriter {
public:
    virtual double* room_if_due(std::int64_t epoch) noexcept = 0;  // for these numbers; null where nothing is due
    virtual void keep(const Outcome&) noexcept = 0;  // they are there

protected:
    ~CheckpointWriter() = default;
};

struct Control {
    std::atomic<bool> stop{false};
    std::atomic<std::int64_t> epochs_done{0};
    const double* state = nullptr;  // to go on from, after the outcome's epochs; null to begin
    CheckpointWriter* keeper = nullptr;       // null to keep nothing
};

// Parameters in torch's order: a hidden layer's weight, bias, (norm: weight, bias), (trained slope), (factor of the block
// that it ends); the output's weight, bias.
struct Probe {
    std::int64_t steps;      // to take before the one that is looked at
    const double* initial;   // null for the cell's own initial parameters
    double task_loss, penalty;
    double* parameters;      // before that step
    double* gradients;
    double relaxation;       // the sum of the hidden losses
    double* relaxed;         // `relaxed_count` numbers, before that step
    double* relaxed_gradients;
};

// One layer of a CNN: its activations (images, positions, channels), and the extremes of its channels and images.
struct Separation {
    void* activations;  // pre-activations become the ReLU's outputs
    bool is_float64;
    std::int64_t images, positions, channels;
    double margin_above, margin_below;
    // Maxima, then minima. An entry is a flat index in `activations`: the lowest in (image, channel, position) order
    // that has the extreme, and 0 where the margin is reached: nothing will pull it.
    void* unit_values;  // (2, channels)
    void* point_values;  // (2, images)
    std::int64_t* unit_entries;
    std::int64_t* point_entries;
    void* scratch;  // aligned to 64 bytes, of `separation_scratch_bytes`
};

// What is noted beside an extreme: how many entries share it, or the index of the first that has it, and of the last.
// Or both for the points, in a byte each: how many, and in the lasts' place the index of the first.
enum class Note { shares, first, first_and_last, shares_and_point_first };

// The same layer with one constraint a position: a unit's over the images, an image's over its channels. Of each its
// maximum, then its minimum, with a note. In the backward pass: extremes with what every entry that has one is pulled
// by (shares), or what is pulled by and where that entry is (first). Indices are exact below 2²⁴.
struct PositionSeparation {
    Note note;
    const void* pre_activations;  // (images, positions, channels); the backward pass of `first` does not read it
    bool is_float64;
    std::int64_t images, positions, channels;
    void* unit_values;   // (2, positions, channels)
    void* unit_notes;    // as many
    void* unit_lasts;    // as many for first_and_last
    void* point_values;  // (2, images, positions)
    void* point_notes;
    void* point_lasts;
    void* gradient;  // (images, positions, channels), which is overwritten
    void* activations = nullptr;  // the ReLU's outputs are written here, if anywhere, while extremes are found
    bool* any_tied = nullptr;     // of shares_and_point_first: whether some point's extreme has not one entry
};

// Through the ReLU of such a layer, together with what its constraints add where their ties share the gradient and every
// violated one of a kind and side is pulled alike.
struct SharedPulls {
    const void* pre_activations;  // (images, positions, channels)
    bool is_float64;
    std::int64_t images, positions, channels;
    const void* unit_values;  // (2, positions, channels): the extremes, and
    const void* unit_pulls;   // what each entry that has one is pulled by
    const std::uint8_t* point_firsts;  // (2, images, positions): the channel of the first entry that has the extreme
    const std::uint8_t* point_counts;  // of the entries that have it; null where that is one everywhere
    double margin_above, margin_below, pull_above, pull_below;  // of the points
    void* gradient;  // of the ReLU's outputs, which becomes that of the pre-activations
};

// An activation's values and derivatives, number by number: what the tests hold against exact ones.
struct Activating {
    Activation activation;  // of one output a unit
    double number;
    bool is_float64;
    const void* pre;
    void* values;
    void* slopes;
    std::int64_t count;
};

constexpr std::size_t separation_scratch_bytes(std::int64_t channels) { return std::size_t(channels) * (2 * 64 + 16); }

struct Kernel {
    const char* name;
    std::size_t (*workspace_bytes)(const Spec&, int train_points, int val_points);
    // `workspace` is aligned to 64 bytes and zero
    void (*train)(const Spec&, const Points& train, const Points& val, void* workspace, Control&, Outcome&);
    void (*probe)(const Spec&, const Points& train, const Points& val, void* workspace, Probe&);
    void (*separate)(const Separation&);
    bool (*find_positions)(const PositionSeparation&);  // whether some entry is no number
    void (*position_gradients)(const PositionSeparation&);
    void (*shared_gradients)(const SharedPulls&);
    void (*activate)(const Activating&);
};

std::int64_t parameter_count(const Spec&);
// Running means of all hidden layers, then their running variances.
std::int64_t running_count(const Spec&);
// Parameters in torch's order, every slot of the optimizer likewise, the running statistics; relaxed values, and every
// slot of theirs likewise.
std::int64_t state_count(const Spec&);

}  // namespace jumpstart
