// Activations are stored as rows (unit, then position), the points contiguous along a row and padded to whole vectors.
// Padding repeats the last point, so a maximum or minimum never sees anything that is not there; what sums over points
// is masked, and the loss's gradient is 0 in the padding. A layer's parameters are one block: its weight's rows with
// the bias as their last number, then the norm's weight and bias, the activation's trained slope and the factor of the
// block that it ends; beside it the optimizer's slots. The last row of a Farkas layer follows from the others; its own
// bias stands behind all that.
#pragma once

#include <cmath>

#include "activations.hpp"
#include "arithmetic.hpp"
#include "kernel.hpp"
#include "optimizers.hpp"
#include "random.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

template <class T>
struct Block {
    T* values;  // then the optimizer's slots, `length` numbers each
    T* gradient;  // `length` numbers; null where they are not kept until all are known
    T* effective;  // weights and biases as the products take them: `values`, or what Fixup makes of them
    int rows, columns, length;
    bool has_norm, has_slope, has_factor, is_farkas;
    bool is_fixup, has_multiplier;  // in what Fixup skips; the last layer of it
    bool is_trained;
    T row_penalty;     // 0 for none
    double row_limit;  // infinite for none

    T* weight() const { return effective; }
    T* bias() const { return effective + columns; }
    T* slot(int number) const { return values + (1 + number) * std::size_t(length); }
    int row_stride() const { return columns + 1; }
    int norm_offset() const { return rows * (columns + 1); }
    int slope_offset() const { return norm_offset() + (has_norm ? 2 * rows : 0); }
    int factor_offset() const { return slope_offset() + int(has_slope); }
    int own_bias_offset() const { return factor_offset() + int(has_factor); }  // of a Farkas layer's last unit
    int numbers_offset() const { return own_bias_offset() + int(is_farkas); }  // Fixup's two biases, then its multiplier
    int used() const { return numbers_offset() + (is_fixup ? 2 + int(has_multiplier) : 0); }
    int free_rows() const { return rows - int(is_farkas); }
    int bias_of_row(int row) const { return row < free_rows() ? row * row_stride() + columns : own_bias_offset(); }
};

// What the training keeps of a hidden layer's forward pass.
template <class T>
struct Hidden {
    T* pre;         // pre-activations
    T* outputs;     // what the next layer sees, and
    T* slopes;      // the activation's derivatives: unless the ReLU is done in the products
    T* branch;      // of the block that it ends, before its factor
    T* normalised;  // before the norm's weight and bias
    T* deviation;   // 1 / √(variance + ε) of every unit, or point
    T* running_mean;
    T* running_variance;
    T* dropped;  // the layer's input after dropout
    T* kept;     // its factors, where an output of 0 does not tell that it was dropped
    T* unit_high;  // the constraints' extremes: a number each, filled up to whole vectors
    T* unit_low;
    T* point_high;  // as rows of points
    T* point_low;
    T* z;         // of a relaxed layer what is trained, then the optimizer's slots; else null
    T* handed;    // what it hands on: z, or the activations of z, and
    T* z_slopes;  // their derivatives
    T layer_high, layer_low, weight;
    bool unit_violated, point_above, point_below;  // whether any constraint is violated
};

template <class T>
class Network {
public:
    Network(const Spec& spec, const Points& train, const Points& val, void* memory);

    std::size_t bytes() const { return arena_.used(); }
    void run(Control& control, Outcome& outcome);
    void probe(Probe& probe);

private:
    struct Set {  // of points
        Layout<T> layout;
        T *x, *label, *valid, *weight;
        double variance;
    };
    struct Score {
        double loss, accuracy;  // means over the points; of numbers R²
    };

    const Spec& spec_;
    const Constraints constrained_;
    Arena arena_;
    const ActivationTraits activation_;
    int positions_, segments_, seen_;  // rows of a hidden layer, and of its outputs
    bool has_batch_norm_, has_layer_norm_, per_position_;
    bool is_inlined_;  // the ReLU without skips: a part of the products
    bool is_joined_;   // the ReLU with skips and without a norm: they, too
    TieRule ties_;
    bool has_penalty_, fast_penalty_;
    const T bound_;  // infinite for none
    const bool is_bounded_;
    double constraints_;
    const bool is_relaxed_;  // any layer, or the outputs
    Spec z_spec_;            // the optimizer of relaxed values
    Set train_, val_;
    Block<T>* blocks_;
    Hidden<T>* hidden_;
    T *ones_, *logits_, *logit_gradient_, *extra_;
    T *activations_[3], *gradients_[2], *parameter_gradients_[2], *skip_gradient_;
    T *unit_max_, *unit_min_, *point_max_, *point_min_;  // of the layer in hand: vectors for units, rows for points
    T *tie_work_, *norm_sums_, *norm_scale_, *norm_shift_;
    bool* dormant_;  // units of every hidden layer, where they are reset
    bool* dead_so_far_;  // training points that are dead at a layer up to the one in hand
    double dead_at_some_layer_ = 0;
    const Control* control_ = nullptr;
    std::int64_t steps_ = 0;
    double penalty_ = 0;
    V<T> penalty_sums_ = {};
    StepNumbers<T> step_now_ = {};
    struct SharesNow {
        T above, below;
    };
    SharesNow unit_shares_, point_shares_, layer_shares_;
    // What a layer's constraints miss, with all that is needed for it: nothing is read again after a store.
    struct Deficits {
        T weight, above, below, margin_above, margin_below, bound;
        bool is_bounded;

        // Whether a maximum, or a minimum, has a deficit. With margins within the bound it is never on both of its sides.
        template <class Number>
        FORCE_INLINE auto is_above(Number high) const {
            auto found = high < margin_above;
            if (is_bounded) found |= high > bound;
            return found;
        }
        template <class Number>
        FORCE_INLINE auto is_below(Number low) const {
            auto found = low > margin_below;
            if (is_bounded) found |= low < -bound;
            return found;
        }
        FORCE_INLINE V<T> violations(V<T> high, V<T> low) const {
            V<T> up = margin_above - high, down = low - margin_below;
            if (is_bounded) {
                up = larger<T>(high - bound, up);
                down = larger<T>(-bound - low, down);
            }
            up = larger<T>(up, V<T>{});
            down = larger<T>(down, V<T>{});
            return weight * (above * up + below * down);
        }
    };
    // What goes on with a gradient while a product has it in registers.
    struct GradientNumbers {
        Deficits deficits;
        T constant, slope, above, below, dropout_scale, zero, no_number;
    };
    // Of some points' constraints: the extremes that no unit has taken yet, and what their gradient is.
    struct Pulls {
        V<T> most, least, up, down;
    };
    T penalty_weight_ = 0;  // λ at the step in hand
    T coefficient_constant_ = 0, coefficient_slope_ = 0;
    V<T> parameters_bad_ = {};
    StepNumbers<T> z_step_ = {};
    T hidden_weight_ = 0;  // at the step in hand
    double relaxation_ = 0;
    T *z_outputs_ = nullptr, *outputs_ = nullptr, *z_gradient_ = nullptr, *plain_ = nullptr;

    static int whole_vectors(int count) { return (count + lanes<T> - 1) / lanes<T> * lanes<T>; }
    Set take_set(const Points& points);
    void fill_set(Set& set, const Points& points);
    void initialise(const double* initial);
    void bind(const Block<T>& block);
    void share_gradient(const Block<T>& block, T* gradient);
    void bind_fixup(const Block<T>& block);
    void share_fixup_gradient(const Block<T>& block, T* gradient);
    void bind_last_unit(const Block<T>& block);
    void bind_all();
    void share_last_gradient(const Block<T>& block, T* gradient);
    void reset_dormant(const double* fresh);
    void reset_if_due(std::int64_t step) {
        if (spec_.reset_every == 0 || step % spec_.reset_every != 0 || !spec_.reset_values) return;
        reset_dormant(spec_.reset_values + (step / spec_.reset_every - 1) * parameter_count(spec_));
    }

    template <class Visit>
    void each_parameter(Visit visit);
    template <class Visit>
    void each_of_state(Visit visit);

    // What goes on with a hidden layer's rows while a product has them in registers, beside an inlined ReLU: the layer
    // norm of a layer whose units are all there, or the skips.
    enum class Rows { plain, normed, joined };
    // Of the block that the layer ends.
    struct Skip {
        const T* input;  // null where it ends none
        T factor;
    };
    bool normalises_in_registers(const Set& set) const {
        const int together = set.layout.block_vectors == 1 ? most_rows<1> : most_rows<2>;
        return is_inlined_ && has_layer_norm_ && positions_ == 1 && spec_.width <= together;
    }

    enum class Mode { train, whole_set, evaluate, relaxed };  // relaxed: training, with relaxed layers
    void forward(const Set& set, Mode mode, T dropout_scale, std::uint64_t dropout_threshold, std::int64_t epoch,
                 double* census);
    template <Rows ROWS_ARE = Rows::plain>
    void affine(const Set& set, const Block<T>& block, bool is_output, const T* in, T* pre, T* out, const T* scale,
                const T* shift, bool with_extremes, Hidden<T>* kept = nullptr, Skip skip = {});
    template <int ROWS, int VECTORS>
    void finish_rows(V<T> (&values)[ROWS][VECTORS], int segment, int segment_step, int stride, int column,
                     T* pre, T* out, bool with_extremes);
    void normalise(const Set& set, const Block<T>& block, Hidden<T>& layer);
    template <int ROWS, int VECTORS>
    void normalise_rows(V<T> (&values)[ROWS][VECTORS], const Block<T>& block, int stride, int column,
                        Hidden<T>* kept);
    template <int ROWS, int VECTORS>
    void normalise_rows_backward(V<T> (&gradient)[ROWS][VECTORS], const Block<T>& block, const Hidden<T>& layer,
                                 int stride, int column, T* to_gradient);
    void normalise_points(const Set& set, const Block<T>& block, T* pre, T* out, Hidden<T>* kept);
    void scan(const Set& set, const T* pre, T* out, bool with_extremes);
    double number_of(const Block<T>& block) const {
        return block.has_slope ? double(block.values[block.slope_offset()]) : spec_.activation_number;
    }
    // A unit's numbers repeated for its positions; themselves where it has one.
    const T* a_segment(const T* numbers, T* room) const {
        if (positions_ == 1) return numbers;
        for (int s = 0; s < segments_; ++s) room[s] = numbers[s / positions_];
        return room;
    }
    // Some vectors of points at a time: visit(first point, how many vectors as a type).
    template <int COUNT>
    struct Count {
        static constexpr int value = COUNT;
    };
    template <class Visit>
    FORCE_INLINE static void in_columns(int stride, Visit visit) {
        int column = 0;
        for (; column + 3 * lanes<T> <= stride; column += 3 * lanes<T>) visit(column, Count<3>{});
        for (; column < stride; column += lanes<T>) visit(column, Count<1>{});
    }
    static void sums_of_units(int count, const T* vectors, T* totals) {
        const V<T>* const all = reinterpret_cast<const V<T>*>(vectors);
        if (count <= 4) store(totals, reduced_rows<T, Add, (4 < lanes<T> ? 4 : lanes<T>)>(all));
        else store(totals, reduced_rows<T, Add>(all));
    }
    const T* running_scale(const Block<T>& block, const Hidden<T>& layer);
    // Relaxed layers (relaxation.hpp).
    struct HiddenTerms {
        V<T> value, of_z, of_pre;
    };
    std::size_t z_length(int rows) const { return std::size_t(rows) * train_.layout.stride; }
    template <class Visit>
    void each_relaxed(Visit visit);
    void renew();
    void fill_padding();
    T hidden_share(int rows) const;
    HiddenTerms hidden_terms(V<T> z, V<T> pre, V<T> out, V<T> slope) const;
    HiddenTerms output_terms(V<T> z, V<T> output) const;
    template <class Terms>
    double hidden_loss(int rows, Terms terms) const;
    double loss_of_layer(const Hidden<T>& layer) const;
    double loss_of_outputs() const;
    void judge_relaxed_outputs();
    void relax_outputs(double* gradients);
    void update_relaxed(T* z, int rows);
    void measure_relaxed(double* columns);
    double* room_of_layer(double* numbers, int layer) const;
    void copy_rows(const T* rows, int count, double* to) const;
    void drop(const Set& set, const T* in, int segments, const Hidden<T>& to, int layer, std::int64_t epoch, T scale,
              std::uint64_t threshold);
    template <int COUNT>
    void extremes_of_units(int unit, V<T>& high, V<T>& low);
    void finish_extremes(const Set& set, Hidden<T>& layer);
    void count_census(const Set& set, int layer, const T* pre, const T* activations, const T* slopes, double* six);
    void start_step();
    void end_penalty();
    Score score(const Set& set, bool with_loss, bool with_gradient);
    Score score_classes(const Set& set, bool with_loss, bool with_gradient);
    Score score_numbers(const Set& set, bool with_gradient);

    Score look(std::int64_t step, T dropout_scale, std::uint64_t dropout_threshold, bool with_loss);
    void backward(std::int64_t epoch, T dropout_scale, Probe* probe);
    template <Rows ROWS_ARE>
    void propagate(int to, bool dropping, T dropout_scale, bool with_extra, const T* from_gradient, T* to_gradient,
                   T* activation, T* parameter_gradient);
    T extreme_of_points(const T* rows, int length, int side) const;
    bool add_extra(int index, std::int64_t epoch);
    template <class Equal>
    void give_to_one_or_all(Equal each_entry, T coefficient, Stream stream, std::uint32_t unit, std::uint32_t point,
                            int layer, std::int64_t epoch);
    void add_unit_fast(const Hidden<T>& layer, T* gradient);
    void normalise_backward(const Block<T>& block, const Hidden<T>& layer, T* gradient, T* parameter_gradient);
    void normalise_points_backward(const Block<T>& block, const Hidden<T>& layer, T* gradient, T* parameter_gradient);
    void parameter_gradient(int index, const T* gradient, const T* in, T* out);
    void update(const Block<T>& block, const T* gradient);
    void update_clipped();
    T* gradient_of(int index) const {
        return blocks_[index].gradient ? blocks_[index].gradient : parameter_gradients_[index % 2];
    }

    // A constraint's gradient at its maximum and minimum. Rounded before it is added anywhere, so that two sides that
    // are equal cancel to 0: inlined, the compiler would fuse their last product with that sum.
    __attribute__((noinline)) T above(const Hidden<T>& layer, SharesNow shares, T high, T violation) const {
        const T pull = -penalty_weight_ * layer.weight * shares.above *
                       (coefficient_constant_ + coefficient_slope_ * violation);
        return high > bound_ ? -pull : pull;
    }
    __attribute__((noinline)) T below(const Hidden<T>& layer, SharesNow shares, T low, T violation) const {
        const T pull =
            penalty_weight_ * layer.weight * shares.below * (coefficient_constant_ + coefficient_slope_ * violation);
        return low < -bound_ ? -pull : pull;
    }
    FORCE_INLINE Deficits deficits_of(const Hidden<T>& layer, SharesNow shares) const {
        return {layer.weight, shares.above, shares.below, T(spec_.margin_above), T(spec_.margin_below), bound_, is_bounded_};
    }
    template <class Number>
    auto is_above(Number high) const {
        return deficits_of({}, {}).is_above(high);
    }
    template <class Number>
    auto is_below(Number low) const {
        return deficits_of({}, {}).is_below(low);
    }
    T violation(const Hidden<T>& layer, SharesNow shares, T high, T low) const {
        const T up = high > bound_ ? high - bound_ : T(spec_.margin_above) - high;
        const T down = low < -bound_ ? -bound_ - low : low - T(spec_.margin_below);
        return layer.weight * (shares.above * (up > 0 ? up : 0) + shares.below * (down > 0 ? down : 0));
    }
    V<T> violations(const Hidden<T>& layer, SharesNow shares, V<T> high, V<T> low) const {
        return deficits_of(layer, shares).violations(high, low);
    }
    // What deficits add to the penalty.
    FORCE_INLINE static V<T> counted(V<T> found, bool is_squared) { return is_squared ? found * found : found; }
    bool stopped() const { return control_ && control_->stop.load(std::memory_order_relaxed); }
    bool squares() const {
        switch (spec_.aggregate) {
            case Aggregate::sum:
            case Aggregate::mean:
            case Aggregate::balanced: return false;
            case Aggregate::l2:
            case Aggregate::sum_sq: return true;
        }
        __builtin_trap();
    }
};

template <class T>
Network<T>::Network(const Spec& spec, const Points& train, const Points& val, void* memory)
    : spec_(spec),
      constrained_(constraints_of(spec.kind)),
      arena_(memory),
      activation_(traits_of(spec.activation)),
      positions_(positions_of(spec.architecture)),
      segments_(spec.width * positions_),
      seen_(segments_ * activation_.outputs),
      has_batch_norm_(spec.norm == Norm::batch),
      has_layer_norm_(spec.norm == Norm::layer),
      per_position_(has_a_constraint_a_position(spec.scope)),
      is_inlined_(spec.activation == Activation::relu && blocks_of(spec) == 0 && !relaxes(spec)),
      is_joined_(spec.activation == Activation::relu && !is_inlined_ && spec.norm == Norm::none && !relaxes(spec) &&
                 !is_fixup(spec.skip_scale)),
      ties_(rule_of(spec.ties)),
      has_penalty_(constrained_.units || constrained_.points || constrained_.layers),
      fast_penalty_(positions_ == 1 && !ties_.counts && !constrained_.layers),
      bound_(T(spec.upper_bound)),
      is_bounded_(!std::isinf(spec.upper_bound)),
      is_relaxed_(relaxes(spec)),
      z_spec_(spec),
      train_(take_set(train)),
      val_(take_set(val)) {
    const int stride = train_.layout.stride;
    const int widest = stride > val_.layout.stride ? stride : val_.layout.stride;
    blocks_ = arena_.take<Block<T>>(spec.depth + 1);
    hidden_ = arena_.take<Hidden<T>>(spec.depth);
    int longest = 0;
    const bool has_memory = memory != nullptr;
    for (int l = 0; l <= spec.depth; ++l) {
        Block<T> block;
        block.rows = l == spec.depth ? spec.outputs : spec.width;
        block.columns = l == 0 ? spec.features : seen_;
        block.has_norm = numbers_of(spec.norm).parameters > 0 && l < spec.depth;
        block.has_slope = activation_.is_trained && l < spec.depth;
        block.has_factor = is_scaled(spec.skip_scale) && ends_block(spec, l);
        block.is_farkas = spec.farkas && l < spec.depth;
        block.is_fixup = is_fixup(spec.skip_scale) && l < spec.depth && is_in_block(spec, l);
        block.has_multiplier = block.is_fixup && ends_block(spec, l);
        const bool has_row_rule = spec.has_row_rule && spec.has_row_rule[l];
        block.is_trained = !spec.is_trained || spec.is_trained[l];
        block.row_penalty = has_row_rule ? T(spec.row_penalty) : T(0);
        block.row_limit = has_row_rule ? spec.row_limit : INFINITY;
        block.length = (block.used() + lanes<T> - 1) / lanes<T> * lanes<T>;
        block.values = arena_.take<T>((1 + slots_of(spec)) * std::size_t(block.length));
        block.gradient = std::isinf(spec.clip_norm) ? nullptr : arena_.take<T>(block.length);
        block.effective = block.is_fixup ? arena_.take<T>(std::size_t(block.rows) * block.row_stride()) : block.values;
        longest = block.length > longest ? block.length : longest;
        if (has_memory) blocks_[l] = block;
        if (l == spec.depth) break;
        Hidden<T> layer = {};
        layer.pre = arena_.take<T>(std::size_t(segments_) * stride);
        if (!is_inlined_) {
            layer.outputs = arena_.take<T>(std::size_t(seen_) * stride);
            if (activation_.outputs == 1 && !is_joined_) layer.slopes = arena_.take<T>(std::size_t(segments_) * stride);
            if (block.has_factor && !is_joined_) layer.branch = arena_.take<T>(std::size_t(segments_) * stride);
        }
        if (block.has_norm) {
            layer.normalised = arena_.take<T>(std::size_t(segments_) * stride);
            layer.deviation = arena_.take<T>(has_layer_norm_ ? stride : spec.width);
        }
        if (has_batch_norm_) {
            layer.running_mean = arena_.take<T>(spec.width);
            layer.running_variance = arena_.take<T>(spec.width);
        }
        if (spec.dropout_rate > 0) {
            const std::size_t inputs = std::size_t(l == 0 ? spec.features : seen_) * stride;
            layer.dropped = arena_.take<T>(inputs);
            if (!is_inlined_) layer.kept = arena_.take<T>(inputs);
        }
        if (is_relaxed_ && spec.is_relaxed[l]) {
            layer.z = arena_.take<T>((1 + slots_of(spec)) * z_length(segments_));
            layer.handed = layer.z;
            switch (spec.relax) {
                case Relax::activation: break;
                case Relax::pre_activation:
                    layer.handed = arena_.take<T>(z_length(segments_));
                    layer.z_slopes = arena_.take<T>(z_length(segments_));
            }
        }
        if (has_penalty_) {
            layer.unit_high = arena_.take<T>(whole_vectors(segments_));
            layer.unit_low = arena_.take<T>(whole_vectors(segments_));
            layer.point_high = arena_.take<T>(std::size_t(positions_) * stride);
            layer.point_low = arena_.take<T>(std::size_t(positions_) * stride);
            layer.weight = spec.layer_weights ? T(spec.layer_weights[l]) : T(1);
        }
        if (has_memory) hidden_[l] = layer;
    }
    ones_ = arena_.take<T>(std::size_t(positions_) * stride);
    logits_ = arena_.take<T>(std::size_t(spec.outputs) * widest);
    logit_gradient_ = arena_.take<T>(std::size_t(spec.outputs) * stride);
    extra_ = has_penalty_ && (!fast_penalty_ || normalises_in_registers(train_)) ? arena_.take<T>(std::size_t(segments_) * stride) : nullptr;
    for (int i = 0; i < 2; ++i) {
        activations_[i] = arena_.take<T>(std::size_t(seen_) * widest);
        gradients_[i] = arena_.take<T>(std::size_t(seen_) * stride);
        parameter_gradients_[i] = arena_.take<T>(longest);
    }
    const bool has_skips = blocks_of(spec) > 0;
    activations_[2] = has_skips ? arena_.take<T>(std::size_t(seen_) * widest) : nullptr;
    skip_gradient_ = has_skips ? arena_.take<T>(std::size_t(seen_) * stride) : nullptr;
    unit_max_ = arena_.take<T>(std::size_t(whole_vectors(segments_)) * lanes<T>);
    unit_min_ = arena_.take<T>(std::size_t(whole_vectors(segments_)) * lanes<T>);
    point_max_ = arena_.take<T>(std::size_t(positions_) * stride);
    point_min_ = arena_.take<T>(std::size_t(positions_) * stride);
    tie_work_ = arena_.take<T>(4 * std::size_t(stride));

    norm_sums_ = arena_.take<T>(has_layer_norm_ ? std::size_t(whole_vectors(2 * spec.width)) * lanes<T> : 0);
    norm_scale_ = arena_.take<T>(seen_);
    norm_shift_ = arena_.take<T>(seen_);
    dead_so_far_ = arena_.take<bool>(train.count);
    dormant_ = arena_.take<bool>(spec.reset_every ? std::size_t(spec.depth) * spec.width : 0);
    if (is_relaxed_) {
        z_gradient_ = arena_.take<T>(z_length(segments_ > spec.outputs ? segments_ : spec.outputs));
        plain_ = arena_.take<T>(z_length(spec.outputs));
        if (spec.relaxes_outputs) {
            z_outputs_ = arena_.take<T>((1 + slots_of(spec)) * z_length(spec.outputs));
            outputs_ = arena_.take<T>(z_length(spec.outputs));
        }
        z_spec_.lr *= spec.relaxed_rate;
        z_spec_.weight_decay = 0;
    }
    const double each = per_position_ ? positions_ : 1;
    constraints_ = spec.depth * ((constrained_.units ? each * spec.width : 0.0) +
                                 (constrained_.points ? each * train.count : 0.0) + (constrained_.layers ? 1.0 : 0.0));
    const auto shares_now = [&](Shares shares, double count) -> SharesNow {
        const double part = spec.aggregate == Aggregate::balanced ? 1 / count : 1;  // a kind's mean is a sum of these
        return {T(shares.above * part), T(shares.below * part)};
    };
    unit_shares_ = shares_now(spec.unit_shares, spec.depth * each * spec.width);
    point_shares_ = shares_now(spec.point_shares, spec.depth * each * train.count);
    layer_shares_ = shares_now(spec.layer_shares, spec.depth);
    if (!has_memory) return;
    for (int l = 0; l <= spec.depth; ++l)
        for (int slot = 0; slot < slots_of(spec); ++slot)
            for (int i = 0; i < blocks_[l].length; ++i) blocks_[l].slot(slot)[i] = T(slot_start(spec, slot));
    each_relaxed([&](T* z, int rows) {
        for (int slot = 0; slot < slots_of(spec); ++slot)
            for (std::size_t i = 0; i < z_length(rows); ++i) z[(1 + slot) * z_length(rows) + i] = T(slot_start(z_spec_, slot));
    });
    fill_set(train_, train);
    fill_set(val_, val);
    for (int i = 0; i < positions_ * stride; ++i) ones_[i] = T(1);
}

template <class T>
typename Network<T>::Set Network<T>::take_set(const Points& points) {
    Set set{Layout<T>(points.count, has_layer_norm_), nullptr, nullptr, nullptr, nullptr, points.variance};
    set.x = arena_.take<T>(std::size_t(spec_.features) * set.layout.stride);
    set.label = arena_.take<T>(set.layout.stride);
    set.valid = arena_.take<T>(set.layout.stride);
    set.weight = arena_.take<T>(set.layout.stride);
    return set;
}

template <class T>
void Network<T>::fill_set(Set& set, const Points& points) {
    for (int p = 0; p < set.layout.stride; ++p) {
        const int real = p < points.count ? p : points.count - 1;
        for (int f = 0; f < spec_.features; ++f)
            set.x[f * set.layout.stride + p] = T(points.x[std::size_t(real) * spec_.features + f]);
        set.label[p] = T(points.y[real]);
        set.valid[p] = p < points.count ? T(1) : T(0);
        set.weight[p] = T(points.weights[real]);
    }
}

// Every parameter with its place in torch's order: visit(block, offset in the block).
template <class T>
template <class Visit>
void Network<T>::each_parameter(Visit visit) {
    for (int l = 0; l <= spec_.depth; ++l) {
        const Block<T>& block = blocks_[l];
        for (int r = 0; r < block.free_rows(); ++r)
            for (int c = 0; c < block.columns; ++c) visit(l, r * block.row_stride() + c);
        for (int r = 0; r < (block.is_fixup ? 0 : block.rows); ++r) visit(l, block.bias_of_row(r));
        if (block.has_norm)
            for (int i = 0; i < 2 * block.rows; ++i) visit(l, block.norm_offset() + i);
        for (int i = block.slope_offset(); i < block.own_bias_offset(); ++i) visit(l, i);
        if (!block.has_multiplier) continue;
        for (int at = l - spec_.skip_every + 1; at <= l; ++at)
            for (int i = 0; i < 2; ++i) visit(at, blocks_[at].numbers_offset() + i);
        visit(l, block.numbers_offset() + 2);
    }
}

// Every number of what `state_count` counts, as a reference.
template <class T>
template <class Visit>
void Network<T>::each_of_state(Visit visit) {
    for (int part = 0; part <= slots_of(spec_); ++part)
        each_parameter([&](int l, int offset) { visit(blocks_[l].values[part * blocks_[l].length + offset]); });
    for (int l = 0; l < (has_batch_norm_ ? spec_.depth : 0); ++l)
        for (int r = 0; r < spec_.width; ++r) visit(hidden_[l].running_mean[r]);
    for (int l = 0; l < (has_batch_norm_ ? spec_.depth : 0); ++l)
        for (int r = 0; r < spec_.width; ++r) visit(hidden_[l].running_variance[r]);
    for (int part = 0; part <= (is_relaxed_ ? slots_of(spec_) : -1); ++part)
        each_relaxed([&](T* z, int rows) {
            for (int p = 0; p < train_.layout.count; ++p)
                for (int r = 0; r < rows; ++r) visit(z[part * z_length(rows) + std::size_t(r) * train_.layout.stride + p]);
        });
}

template <class T>
void Network<T>::initialise(const double* initial) {
    if (!initial && spec_.init == Init::given) initial = spec_.initial;
    if (initial) {
        each_parameter([&](int l, int offset) { blocks_[l].values[offset] = T(*initial++); });
        bind_all();
    } else {
        for (int l = 0; l <= spec_.depth; ++l) {
            Block<T>& block = blocks_[l];
            // a filter's fans count its two taps
            const int fan_in = block.columns, fan_out = block.rows * (l < spec_.depth ? positions_ : 1);
            WeightStream stream(spec_.seed, std::uint64_t(l));
            const auto draw_weights = [&](double bound) {
                for (int r = 0; r < block.rows; ++r)
                    for (int c = 0; c < block.columns; ++c)
                        block.values[r * block.row_stride() + c] = T(bound * stream.next());
            };
            const auto draw_biases = [&](double bound) {
                for (int r = 0; r < block.rows; ++r) block.bias()[r * block.row_stride()] = T(bound * stream.next());
            };
            const auto glorot = [&](int into, int out_of) { return std::sqrt(6.0 / (double(into) + out_of)); };
            switch (spec_.init) {
                case Init::glorot_uniform:
                    draw_weights(glorot(fan_in, fan_out));
                    break;
                case Init::glorot_uniform_2x1:  // the first layer's fans are those of a filter over all features
                    draw_weights(glorot(fan_in, l == 0 ? fan_out * spec_.features : fan_out));
                    break;
                case Init::kaiming_uniform:
                    draw_weights(1 / std::sqrt(double(fan_in)));
                    draw_biases(1 / std::sqrt(double(fan_in)));
                    break;
                case Init::zero:
                    break;
                case Init::given:
                    __builtin_trap();
            }
            if (block.has_norm)
                for (int r = 0; r < block.rows; ++r) block.values[block.norm_offset() + r] = T(1);
            if (block.has_slope) block.values[block.slope_offset()] = T(spec_.activation_number);
        }
    }
    if (has_batch_norm_)
        for (int l = 0; l < spec_.depth; ++l)
            for (int r = 0; r < spec_.width; ++r) hidden_[l].running_variance[r] = T(1);
    if (const double* values = is_relaxed_ ? spec_.relaxed_initial : nullptr) {
        each_relaxed([&](T* z, int rows) {
            for (int p = 0; p < train_.layout.count; ++p)
                for (int r = 0; r < rows; ++r) z[std::size_t(r) * train_.layout.stride + p] = T(*values++);
        });
        fill_padding();
    }
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
