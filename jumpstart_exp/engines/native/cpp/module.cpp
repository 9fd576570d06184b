// What Python sees of the engine: plain dicts in and out.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fleet.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace jumpstart {
namespace {

using Numbers = nb::ndarray<const double, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr int poll_milliseconds = 50;

template <class T>
T get(const nb::dict& values, const char* name) {
    return nb::cast<T>(values[name]);
}

template <class Enum>
Enum choice(const nb::dict& values, const char* name, std::initializer_list<std::pair<const char*, Enum>> choices) {
    const std::string text = get<std::string>(values, name);
    for (const auto& [known, value] : choices)
        if (text == known) return value;
    throw std::invalid_argument(std::string(name) + "='" + text + "' is not known to the C++ engine");
}

// Which layers the penalty constrains: the engine knows no others.
enum class Layers { hidden };

constexpr std::size_t curve_columns = 10;

// In the order of jumpstart_exp.result.METRICS.
template <class AnyOutcome>
auto metrics_of(AnyOutcome& outcome) {
    return std::array{&outcome.train_acc, &outcome.val_acc, &outcome.train_loss, &outcome.val_loss};
}

std::vector<double> numbers_from(const nb::dict& values, const char* name, std::size_t count) {
    const Numbers numbers = get<Numbers>(values, name);
    if (numbers.size() != count) throw std::invalid_argument(std::string(name) + " does not have the network's size");
    return {numbers.data(), numbers.data() + count};
}

Shares shares_from(const nb::dict& values, const char* name) {
    const auto [above, below] = get<std::pair<double, double>>(values, name);
    return {above, below};
}

std::int64_t epoch_from(double number, std::int64_t last) {
    if (!(number >= 0 && number <= double(last))) throw std::invalid_argument("an epoch is not within the training");
    return std::int64_t(number);
}

State state_from(const nb::dict& values, const Spec& spec) {
    State state;
    Outcome& outcome = state.outcome;
    const std::int64_t epochs = get<std::int64_t>(values, "epochs");
    if (epochs <= 0 || epochs >= spec.epochs) throw std::invalid_argument("epochs are not within the training");
    outcome.epochs_run = epochs;
    const std::size_t parameters = std::size_t(parameter_count(spec)), slots = std::size_t(slots_of(spec));
    for (const auto& [name, count] : {std::pair{"parameters", parameters}, std::pair{"slots", slots * parameters},
                                      std::pair{"running", std::size_t(running_count(spec))},
                                      std::pair{"relaxed", (1 + slots) * std::size_t(relaxed_count(spec))}}) {
        const std::vector<double> part = numbers_from(values, name, count);
        state.numbers.insert(state.numbers.end(), part.begin(), part.end());
    }
    state.census_start = numbers_from(values, "census_start", 6 * std::size_t(spec.depth));
    outcome.penalty_start = get<double>(values, "penalty_start");
    outcome.dead_at_some_layer_start = get<double>(values, "dead_at_some_layer_start");
    const std::vector<double> metrics = numbers_from(values, "metrics", 12);
    const double* numbers = metrics.data();
    for (Best* best : metrics_of(outcome)) {
        *best = {numbers[0], numbers[1], epoch_from(numbers[2], epochs)};
        numbers += 3;
    }
    const std::size_t columns = curve_columns + std::size_t(relaxed_columns(spec));
    const std::size_t rows = get<Numbers>(values, "curve").size() / columns;
    const std::vector<double> curve = numbers_from(values, "curve", rows * columns);
    if (rows > std::size_t(epochs)) throw std::invalid_argument("curve has more rows than epochs");
    for (const double* row = curve.data(); row < curve.data() + curve.size(); row += columns) {
        state.curve.push_back({epoch_from(row[0], epochs), row[1], row[2], row[3], row[4], row[5], row[6], row[7],
                               row[8], row[9]});
        state.relaxed_curve.insert(state.relaxed_curve.end(), row + curve_columns, row + columns);
    }
    outcome.curve_rows = std::int64_t(rows);
    state.seconds = get<double>(values, "seconds");
    state.started = get<double>(values, "started");
    return state;
}

Activation activation_from(const nb::dict& values) {
    return choice<Activation>(values, "activation", {{"relu", Activation::relu},
                                                     {"leaky_relu", Activation::leaky_relu},
                                                     {"prelu", Activation::prelu},
                                                     {"elu", Activation::elu},
                                                     {"selu", Activation::selu},
                                                     {"gelu", Activation::gelu},
                                                     {"silu", Activation::silu},
                                                     {"tanh", Activation::tanh},
                                                     {"sigmoid", Activation::sigmoid},
                                                     {"logistic", Activation::logistic},
                                                     {"softplus", Activation::softplus},
                                                     {"tat", Activation::tat},
                                                     {"crelu", Activation::crelu}});
}

// Which of `count` layers a list names, counted from 0; null where it names none.
std::shared_ptr<bool[]> layers_from(const nb::dict& values, const char* name, int count) {
    std::shared_ptr<bool[]> named;
    for (const int layer : get<std::vector<int>>(values, name)) {
        if (!named) named.reset(new bool[std::size_t(count)]{});
        if (layer < 0 || layer >= count || named[std::size_t(layer)])
            throw std::invalid_argument(std::string(name) + " must be layers, each once");
        named[std::size_t(layer)] = true;
    }
    return named;
}

Job job_from(const nb::dict& values) {
    Job job;
    Spec& spec = job.spec;
    spec.depth = get<int>(values, "depth");
    spec.width = get<int>(values, "width");
    spec.features = get<int>(values, "features");
    spec.outputs = get<int>(values, "outputs");
    spec.task_loss = get<bool>(values, "task_loss");
    spec.evaluate = get<bool>(values, "evaluate");
    spec.architecture = choice<Architecture>(values, "layout",
                                             {{"mlp", Architecture::mlp}, {"conv2x1", Architecture::conv2x1}});
    spec.activation = activation_from(values);
    spec.activation_number = get<double>(values, "activation_number");
    spec.is_smooth = get<bool>(values, "is_smooth");
    spec.norm = choice<Norm>(values, "norm", {{"none", Norm::none}, {"batch", Norm::batch}, {"layer", Norm::layer}});
    spec.skip_every = get<int>(values, "skip_every");
    spec.skip_scale = choice<SkipScale>(values, "skip_scale", {{"1", SkipScale::one}, {"zero", SkipScale::zero}, {"fixup", SkipScale::fixup}});
    if (is_fixup(spec.skip_scale) && blocks_of(spec) > 0 &&
        (spec.skip_every < 2 || spec.norm != Norm::none || positions_of(spec.architecture) > 1))
        throw std::invalid_argument("fixup needs a perceptron, blocks of two layers or more, and no norm");
    spec.farkas = get<bool>(values, "farkas");
    if (spec.farkas && (spec.width < 2 || spec.norm != Norm::none))
        throw std::invalid_argument("farkas needs two units a layer and no norm");
    if (spec.skip_every < 0 || (blocks_of(spec) > 0 && traits_of(spec.activation).outputs > 1))
        throw std::invalid_argument("skip_every must be at least 0, and a unit of one output");
    spec.init = choice<Init>(values, "init", {{"glorot_uniform", Init::glorot_uniform},
                                              {"glorot_uniform_2x1", Init::glorot_uniform_2x1},
                                              {"kaiming_uniform", Init::kaiming_uniform},
                                              {"zero", Init::zero},
                                              {"given", Init::given}});
    spec.aggregate = choice<Aggregate>(values, "aggregate", {{"sum", Aggregate::sum},
                                                             {"mean", Aggregate::mean},
                                                             {"l2", Aggregate::l2},
                                                             {"sum_sq", Aggregate::sum_sq},
                                                             {"balanced", Aggregate::balanced}});
    spec.ties = choice<Ties>(values, "ties",
                             {{"shared", Ties::shared}, {"single", Ties::single}, {"random", Ties::random}});
    spec.precision =
        choice<Precision>(values, "precision", {{"float32", Precision::float32}, {"float64", Precision::float64}});
    spec.task = choice<Task>(values, "task", {{"classification", Task::classification}, {"regression", Task::regression}});
    if (spec.task == Task::regression && spec.outputs != 1)
        throw std::invalid_argument("a regression has one output");
    spec.optimizer = choice<Optimizer>(values, "optimizer", {{"adam", Optimizer::adam},
                                                             {"adamw", Optimizer::adamw},
                                                             {"sgd", Optimizer::sgd},
                                                             {"rmsprop", Optimizer::rmsprop},
                                                             {"rprop", Optimizer::rprop}});
    spec.schedule = choice<RateSchedule>(values, "schedule", {{"constant", RateSchedule::constant},
                                                              {"cosine", RateSchedule::cosine},
                                                              {"step", RateSchedule::step}});
    spec.penalty_schedule = choice<PenaltySchedule>(values, "penalty_schedule",
                                                    {{"constant", PenaltySchedule::constant},
                                                     {"cosine", PenaltySchedule::cosine},
                                                     {"linear", PenaltySchedule::linear}});
    spec.eps_rule = choice<EpsRule>(values, "eps_rule", {{"torch", EpsRule::torch}, {"keras", EpsRule::keras}});
    spec.kind = choice<Kind>(
        values, "kind",
        {{"none", Kind::none}, {"U", Kind::U}, {"P", Kind::P}, {"UP", Kind::UP}, {"L", Kind::L}});
    if (is_fixup(spec.skip_scale) && blocks_of(spec) > 0 && spec.kind != Kind::none)
        throw std::invalid_argument("what Fixup skips is not constrained");
    spec.scope = choice<Scope>(values, "scope", {{"channel", Scope::channel}, {"position", Scope::position}});
    choice<Layers>(values, "layers", {{"hidden", Layers::hidden}});
    job.layer_weights = get<std::vector<double>>(values, "layer_weights");
    if (!job.layer_weights.empty() && job.layer_weights.size() != std::size_t(spec.depth))
        throw std::invalid_argument("layer_weights must have one number a hidden layer");
    spec.weight = get<double>(values, "weight");
    spec.unit_shares = shares_from(values, "unit_shares");
    spec.point_shares = shares_from(values, "point_shares");
    spec.layer_shares = shares_from(values, "layer_shares");
    spec.margin_above = get<double>(values, "margin_above");
    spec.margin_below = get<double>(values, "margin_below");
    spec.upper_bound = get<double>(values, "upper_bound");
    spec.norm_eps = get<double>(values, "norm_eps");
    spec.norm_momentum = get<double>(values, "norm_momentum");
    spec.dropout_rate = get<double>(values, "dropout_rate");
    spec.dropout_anneal_epochs = get<double>(values, "dropout_anneal_epochs");
    spec.lr = get<double>(values, "lr");
    spec.beta1 = get<double>(values, "beta1");
    spec.beta2 = get<double>(values, "beta2");
    spec.eps = get<double>(values, "eps");
    spec.momentum = get<double>(values, "momentum");
    spec.nesterov = get<bool>(values, "nesterov");
    spec.alpha = get<double>(values, "alpha");
    spec.weight_decay = get<double>(values, "weight_decay");
    spec.clip_norm = get<double>(values, "clip_norm");
    spec.row_penalty = get<double>(values, "row_penalty");
    spec.row_limit = get<double>(values, "row_limit");
    job.has_row_rule = layers_from(values, "row_layers", spec.depth + 1);
    job.is_trained = layers_from(values, "trained_layers", spec.depth + 1);
    spec.warmup_steps = get<std::int64_t>(values, "warmup_steps");
    spec.step_every = get<std::int64_t>(values, "step_every");
    spec.step_factor = get<double>(values, "step_factor");
    spec.epochs = get<std::int64_t>(values, "epochs");
    spec.curve_every = get<std::int64_t>(values, "curve_every");
    spec.seed = get<std::uint32_t>(values, "seed");
    spec.hidden_weight = get<double>(values, "hidden_weight");
    spec.hidden_final_weight = get<double>(values, "hidden_final_weight");
    spec.relaxed_rate = get<double>(values, "relaxed_rate");
    spec.relax =
        choice<Relax>(values, "relax", {{"activation", Relax::activation}, {"pre_activation", Relax::pre_activation}});
    spec.hidden_loss = choice<HiddenLoss>(
        values, "hidden_loss", {{"squared", HiddenLoss::squared}, {"cross_entropy", HiddenLoss::cross_entropy}});
    spec.hidden_reduce = choice<Reduce>(values, "hidden_reduce", {{"sum", Reduce::sum}, {"mean", Reduce::mean}});
    spec.hidden_schedule =
        choice<HiddenSchedule>(values, "hidden_schedule",
                               {{"constant", HiddenSchedule::constant}, {"geometric", HiddenSchedule::geometric}});
    job.is_relaxed.reset(new bool[std::size_t(spec.depth)]{});
    spec.relaxed_layers = 0;
    for (const int layer : get<std::vector<int>>(values, "relaxed_layers")) {
        if (layer < 0 || layer >= spec.depth || job.is_relaxed[std::size_t(layer)])
            throw std::invalid_argument("relaxed_layers must be hidden layers, each once");
        job.is_relaxed[std::size_t(layer)] = true;
        ++spec.relaxed_layers;
    }
    spec.relaxes_outputs = get<bool>(values, "relaxes_outputs");
    spec.relaxed_period = get<std::int64_t>(values, "relaxed_period");
    spec.relaxed_points = get<int>(values, "relaxed_points");
    if (relaxes(spec) && (traits_of(spec.activation).is_trained || traits_of(spec.activation).outputs > 1 ||
                          positions_of(spec.architecture) > 1 || spec.norm == Norm::batch || blocks_of(spec) > 0 ||
                          spec.dropout_rate > 0 || !std::isinf(spec.clip_norm) ||
                          (spec.hidden_loss == HiddenLoss::cross_entropy && spec.activation != Activation::logistic)))
        throw std::invalid_argument("relaxed layers are not known with this activation, layout, norm, skip or dropout");
    if (!nb::borrow<nb::object>(values["relaxed_initial"]).is_none())
        job.relaxed_initial = numbers_from(values, "relaxed_initial", std::size_t(relaxed_count(spec)));
    if (!nb::borrow<nb::object>(values["initial"]).is_none())
        job.initial = numbers_from(values, "initial", std::size_t(parameter_count(spec)));
    spec.reset_every = get<std::int64_t>(values, "reset_every");
    spec.reset_tau = get<double>(values, "reset_tau");
    if (spec.reset_every < 0 || (spec.reset_every > 0 && (spec.activation != Activation::relu || spec.farkas ||
                                                          spec.norm != Norm::none || blocks_of(spec) > 0)))
        throw std::invalid_argument("units are reset of the plain ReLU only");
    if (!nb::borrow<nb::object>(values["reset_values"]).is_none() && spec.reset_every > 0)
        job.reset_values = numbers_from(values, "reset_values",
                                        std::size_t(spec.epochs / spec.reset_every * parameter_count(spec)));
    job.watched = get<std::vector<std::int64_t>>(values, "watched");
    if (!std::is_sorted(job.watched.begin(), job.watched.end()))
        throw std::invalid_argument("watched must be epochs in ascending order");
    if (!nb::borrow<nb::object>(values["state"]).is_none()) job.state = state_from(get<nb::dict>(values, "state"), spec);
    return job;
}

// Of numbers with weights whose mean is 1.
double variance_of(const std::vector<double>& numbers, const std::vector<double>& weights) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i) sum += weights[i] * numbers[i];
    const double mean = sum / double(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) squares += weights[i] * (numbers[i] - mean) * (numbers[i] - mean);
    return squares / double(numbers.size());
}

// Weights of points, brought to the mean 1; all of them 1 where none are given.
std::vector<double> weights_from(const std::optional<Labels>& given, std::size_t count) {
    if (!given) return std::vector<double>(count, 1.0);
    if (given->size() != count) throw std::invalid_argument("not one weight a point");
    std::vector<double> weights(given->data(), given->data() + count);
    double sum = 0;
    for (const double weight : weights) {
        if (!(weight > 0 && std::isfinite(weight))) throw std::invalid_argument("a point's weight is no number above 0");
        sum += weight;
    }
    for (double& weight : weights) weight *= double(count) / sum;
    return weights;
}

Dataset dataset_from(const Numbers& x_train, const Labels& y_train, const Numbers& x_val, const Labels& y_val,
                     const std::optional<Labels>& weights_train, const std::optional<Labels>& weights_val) {
    if (x_train.ndim() != 2 || x_val.ndim() != 2 || x_train.shape(1) != x_val.shape(1) ||
        x_train.shape(0) != y_train.shape(0) || x_val.shape(0) != y_val.shape(0) || y_train.shape(0) == 0 ||
        y_val.shape(0) == 0)
        throw std::invalid_argument("x must be (points, features) and y (points,), with at least one point each");
    Dataset data;
    data.features = int(x_train.shape(1));
    data.x_train.assign(x_train.data(), x_train.data() + x_train.size());
    data.x_val.assign(x_val.data(), x_val.data() + x_val.size());
    data.y_train.assign(y_train.data(), y_train.data() + y_train.size());
    data.y_val.assign(y_val.data(), y_val.data() + y_val.size());
    data.weights_train = weights_from(weights_train, data.y_train.size());
    data.weights_val = weights_from(weights_val, data.y_val.size());
    data.train_variance = variance_of(data.y_train, data.weights_train);
    data.val_variance = variance_of(data.y_val, data.weights_val);
    return data;
}

void check(const Job& job, const Dataset& data) {
    if (relaxes(job.spec) && std::size_t(job.spec.relaxed_points) != data.y_train.size())
        throw std::invalid_argument("relaxed_points are not the training points");
    if (job.spec.features != data.features) throw std::invalid_argument("the points do not have the network's features");
    if (job.spec.reset_every > 0 && job.spec.epochs >= job.spec.reset_every && job.reset_values.empty())
        throw std::invalid_argument("reset_every without reset_values");
    if (job.spec.farkas && job.spec.init != Init::given)
        throw std::invalid_argument("farkas begins with given parameters");
    if (job.spec.init == Init::given && job.initial.empty() && !job.state)
        throw std::invalid_argument("init='given' without initial parameters");
    const int classes = job.spec.outputs == 1 ? 2 : job.spec.outputs;
    for (const auto* labels : {&data.y_train, &data.y_val})
        for (const double label : *labels) switch (job.spec.task) {
                case Task::classification:
                    if (!(label >= 0 && label < classes && label == std::floor(label)))
                        throw std::invalid_argument("a label is not among the classes");
                    break;
                case Task::regression:
                    if (!std::isfinite(label)) throw std::invalid_argument("a target is no finite number");
                    break;
            }
}

const Kernel& kernel_named(const std::string& name) {
    for (const Kernel* kernel : kernels())
        if (name.empty() || name == kernel->name) return *kernel;
    throw std::invalid_argument("this processor has no instruction set '" + name + "'");
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernel* kernel : kernels()) names.emplace_back(kernel->name);
    return names;
}

nb::object metric(const Best& best) {
    if (best.best_epoch == 0) return nb::make_tuple(nb::none(), nb::none(), nb::none());
    return nb::make_tuple(best.last, best.best, best.best_epoch);
}

nb::object array(std::vector<double> numbers) {
    auto* owned = new std::vector<double>(std::move(numbers));
    const nb::capsule owner(owned, [](void* vector) noexcept { delete static_cast<std::vector<double>*>(vector); });
    return nb::cast(nb::ndarray<nb::numpy, double>(owned->data(), {owned->size()}, owner));
}

// What `state_from` takes, and why it was handed over; without its curve where nothing will go on from it.
nb::dict to_dict(Kept& kept, const Spec& spec) {
    const Outcome& outcome = kept.state.outcome;
    std::vector<double> metrics, curve;
    for (const Best* best : metrics_of(outcome))
        metrics.insert(metrics.end(), {best->last, best->best, double(best->best_epoch)});
    const int columns = relaxed_columns(spec);
    auto relaxed = kept.state.relaxed_curve.cbegin();
    for (const CurvePoint& row : kept.state.curve) {
        curve.insert(curve.end(), {double(row.epoch), row.train_acc, row.val_acc, row.train_loss, row.val_loss,
                                   row.penalty, row.dead_units, row.linear_units, row.dead_points, row.linear_points});
        curve.insert(curve.end(), relaxed, relaxed + columns);
        relaxed += columns;
    }
    nb::dict result;
    result["is_watched"] = kept.is_watched;
    result["is_due"] = kept.is_due;
    result["epochs"] = outcome.epochs_run;
    const auto part = [&](std::int64_t first, std::int64_t last) {
        const auto begin = kept.state.numbers.begin();
        return array(std::vector<double>(begin + first, begin + last));
    };
    const std::int64_t parameters = parameter_count(spec), all = state_count(spec);
    const std::int64_t relaxed_from = all - (1 + slots_of(spec)) * relaxed_count(spec);
    const std::int64_t running = relaxed_from - running_count(spec);
    result["parameters"] = part(0, parameters);
    result["slots"] = part(parameters, running);
    result["running"] = part(running, relaxed_from);
    result["relaxed"] = part(relaxed_from, all);
    result["census_start"] = array(std::move(kept.state.census_start));
    result["penalty_start"] = outcome.penalty_start;
    result["dead_at_some_layer_start"] = outcome.dead_at_some_layer_start;
    result["metrics"] = array(std::move(metrics));
    result["curve"] = array(std::move(curve));
    result["seconds"] = kept.state.seconds;
    result["started"] = kept.state.started;
    return result;
}

nb::dict to_dict(const Finished& finished, const Job& job) {
    const Outcome& outcome = finished.state.outcome;
    nb::dict result;
    result["error"] = finished.error;
    result["n_params"] = parameter_count(job.spec);
    result["seconds"] = finished.state.seconds;
    result["started"] = finished.state.started;
    result["epochs_run"] = outcome.epochs_run;
    result["diverged_epoch"] = outcome.diverged_epoch;
    result["train_acc"] = metric(outcome.train_acc);
    result["val_acc"] = metric(outcome.val_acc);
    result["train_loss"] = metric(outcome.train_loss);
    result["val_loss"] = metric(outcome.val_loss);
    result["penalty_start"] = outcome.penalty_start;
    result["penalty_last"] = outcome.penalty_last;
    result["dead_at_some_layer_start"] = outcome.dead_at_some_layer_start;
    result["dead_at_some_layer_last"] = outcome.dead_at_some_layer_last;
    result["census_start"] = finished.state.census_start;
    result["census_last"] = finished.state.census_last;
    nb::list curve;
    for (const CurvePoint& row : finished.state.curve)
        curve.append(nb::make_tuple(row.epoch, row.train_acc, row.val_acc, row.train_loss, row.val_loss, row.penalty,
                                    row.dead_units, row.linear_units, row.dead_points, row.linear_points));
    result["curve"] = curve;
    result["relaxed_curve"] = finished.state.relaxed_curve;
    return result;
}

void train(const nb::list& specs, const Numbers& x_train, const Labels& y_train, const Numbers& x_val,
           const Labels& y_val, int threads, const std::string& instruction_set, double keep_every,
           const nb::callable& is_requested, const nb::callable& on_result, const nb::callable& on_progress,
           const nb::callable& on_kept, const std::optional<Labels>& weights_train,
           const std::optional<Labels>& weights_val) {
    const Dataset data = dataset_from(x_train, y_train, x_val, y_val, weights_train, weights_val);
    const Kernel& kernel = kernel_named(instruction_set);
    std::vector<Job> jobs;
    for (nb::handle spec : specs) {
        jobs.push_back(job_from(nb::cast<nb::dict>(spec)));
        check(jobs.back(), data);
    }
    if (jobs.empty()) return;
    Fleet fleet(kernel, jobs, data, threads, keep_every);
    std::vector<Progress> progress;
    std::vector<Kept> kept;
    std::vector<Finished> finished;
    const auto wait = [&] {
        bool more;
        {
            const nb::gil_scoped_release release;
            more = fleet.wait(poll_milliseconds, progress, kept, finished);
        }
        for (const Progress& step : progress) on_progress(step.index, step.epochs);
        for (Kept& state : kept) on_kept(state.index, to_dict(state, jobs[state.index].spec));
        for (const Finished& result : finished) on_result(result.index, to_dict(result, jobs[result.index]));
        return more;
    };
    try {
        while (wait()) {
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
            if (nb::cast<bool>(is_requested())) fleet.keep_now();
        }
    } catch (nb::python_error& interruption) {
        fleet.stop();
        while (wait()) {
        }  // what was finished meanwhile is kept
        throw;
    }
}

nb::dict probe(const nb::dict& values, const Numbers& x_train, const Labels& y_train, const Numbers& x_val,
               const Labels& y_val, const std::string& instruction_set, std::int64_t steps,
               const std::vector<double>& initial, const std::optional<Labels>& weights_train,
               const std::optional<Labels>& weights_val) {
    const Dataset data = dataset_from(x_train, y_train, x_val, y_val, weights_train, weights_val);
    const Kernel& kernel = kernel_named(instruction_set);
    const Job job = job_from(values);
    check(job, data);
    const Spec spec = job.ready();
    const std::size_t count = std::size_t(parameter_count(spec));
    if (!initial.empty() && initial.size() != count) throw std::invalid_argument("not one initial value a parameter");
    const std::size_t relaxed_size = std::size_t(relaxed_count(spec));
    std::vector<double> parameters(count), gradients(count), relaxed(relaxed_size), relaxed_gradients(relaxed_size);
    Probe probed{steps, initial.empty() ? nullptr : initial.data(), 0, 0, parameters.data(), gradients.data(),
                 0,     relaxed.data(), relaxed_gradients.data()};
    {
        const nb::gil_scoped_release release;
        const Workspace workspace(kernel.workspace_bytes(spec, data.train().count, data.val().count));
        kernel.probe(spec, data.train(), data.val(), workspace.data(), probed);
    }
    nb::dict result;
    result["task_loss"] = probed.task_loss;
    result["penalty"] = probed.penalty;
    result["parameters"] = parameters;
    result["gradients"] = gradients;
    result["relaxation"] = probed.relaxation;
    result["relaxed"] = relaxed;
    result["relaxed_gradients"] = relaxed_gradients;
    return result;
}

std::size_t workspace_bytes(const nb::dict& values, int train_points, int val_points) {
    const Job job = job_from(values);
    return kernels().front()->workspace_bytes(job.ready(), train_points, val_points);
}

template <class T>
using Tensor = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

template <class T>
void separate(const Tensor<T>& activations, const Tensor<T>& unit_values, const Tensor<std::int64_t>& unit_entries,
              const Tensor<T>& point_values, const Tensor<std::int64_t>& point_entries, double margin_above,
              double margin_below, const std::string& instruction_set) {
    const Kernel& kernel = kernel_named(instruction_set);
    if (activations.ndim() != 3 || activations.size() == 0)
        throw std::invalid_argument("activations must be (images, positions, channels), with at least one of each");
    const std::size_t images = activations.shape(0), channels = activations.shape(2);
    if (unit_values.size() != 2 * channels || unit_entries.size() != 2 * channels || point_values.size() != 2 * images ||
        point_entries.size() != 2 * images)
        throw std::invalid_argument("extremes and entries must be (2, channels) and (2, images)");
    const Workspace scratch(separation_scratch_bytes(std::int64_t(channels)));
    const Separation given{activations.data(), sizeof(T) == 8, std::int64_t(images), std::int64_t(activations.shape(1)),
                           std::int64_t(channels), margin_above, margin_below, unit_values.data(), point_values.data(),
                           unit_entries.data(), point_entries.data(), scratch.data()};
    const nb::gil_scoped_release release;
    kernel.separate(given);
}

// Extremes of constraints of one position each, with notes of what is asked for; whether some entry is no number.
template <class T>
bool find_positions(const Tensor<T>& pre_activations, const std::vector<Tensor<T>>& of_units,
                    const std::vector<Tensor<T>>& of_points, bool places, const std::string& instruction_set) {
    const Kernel& kernel = kernel_named(instruction_set);
    if (pre_activations.ndim() != 3 || pre_activations.size() == 0)
        throw std::invalid_argument("pre_activations must be (images, positions, channels), with at least one of each");
    const std::size_t images = pre_activations.shape(0), positions = pre_activations.shape(1);
    const std::size_t channels = pre_activations.shape(2), parts = of_units.size();
    if ((places ? parts != 2 && parts != 3 : parts != 2) || of_points.size() != parts)
        throw std::invalid_argument("extremes come with shares, with first places or with first and last places");
    if (places && (images > 1 << 24 || channels > 1 << 24))
        throw std::invalid_argument("places are exact in up to 2²⁴ images and channels");
    for (const Tensor<T>& part : of_units)
        if (part.size() != 2 * positions * channels) throw std::invalid_argument("units must be (2, positions, channels)");
    for (const Tensor<T>& part : of_points)
        if (part.size() != 2 * images * positions) throw std::invalid_argument("points must be (2, images, positions)");
    const PositionSeparation given{!places ? Note::shares : parts == 2 ? Note::first : Note::first_and_last,
                                   pre_activations.data(),
                                   sizeof(T) == 8,
                                   std::int64_t(images),
                                   std::int64_t(positions),
                                   std::int64_t(channels),
                                   of_units[0].data(),
                                   of_units[1].data(),
                                   parts == 3 ? of_units[2].data() : nullptr,
                                   of_points[0].data(),
                                   of_points[1].data(),
                                   parts == 3 ? of_points[2].data() : nullptr,
                                   nullptr};
    const nb::gil_scoped_release release;
    return kernel.find_positions(given);
}

// The same where ties share the gradient, with what is little to keep of the points, and the ReLU; whether some point's
// extreme has not one entry.
template <class T>
bool find_shared(const Tensor<T>& pre_activations, const Tensor<T>& unit_values, const Tensor<T>& unit_shares,
                 const Tensor<T>& point_values, const Tensor<std::uint8_t>& point_counts,
                 const Tensor<std::uint8_t>& point_firsts, const Tensor<T>& activations,
                 const std::string& instruction_set) {
    const Kernel& kernel = kernel_named(instruction_set);
    if (pre_activations.ndim() != 3 || pre_activations.size() == 0 || activations.size() != pre_activations.size())
        throw std::invalid_argument("pre_activations must be (images, positions, channels), with at least one of each");
    const std::size_t images = pre_activations.shape(0), positions = pre_activations.shape(1);
    const std::size_t channels = pre_activations.shape(2), units = 2 * positions * channels, points = 2 * images * positions;
    if (channels > 255) throw std::invalid_argument("a byte holds the number of up to 255 channels");
    if (unit_values.size() != units || unit_shares.size() != units || point_values.size() != points ||
        point_counts.size() != points || point_firsts.size() != points)
        throw std::invalid_argument("units must be (2, positions, channels), points (2, images, positions)");
    bool any_tied = false;
    const PositionSeparation given{Note::shares_and_point_first, pre_activations.data(), sizeof(T) == 8,
                                   std::int64_t(images),         std::int64_t(positions), std::int64_t(channels),
                                   unit_values.data(),           unit_shares.data(),      nullptr,
                                   point_values.data(),          point_counts.data(),     point_firsts.data(),
                                   nullptr,                      activations.data(),      &any_tied};
    const nb::gil_scoped_release release;
    kernel.find_positions(given);
    return any_tied;
}

// Their gradient: of extremes with what each entry that has one is pulled by, or of pulls with their places.
template <class T>
void position_gradients(std::optional<Tensor<T>> pre_activations, const Tensor<T>& unit_values,
                        const Tensor<T>& unit_notes, const Tensor<T>& point_values, const Tensor<T>& point_notes,
                        const Tensor<T>& gradient, const std::string& instruction_set) {
    const Kernel& kernel = kernel_named(instruction_set);
    if (gradient.ndim() != 3 || (pre_activations && pre_activations->size() != gradient.size()))
        throw std::invalid_argument("gradient must be (images, positions, channels), as pre_activations");
    const std::size_t images = gradient.shape(0), positions = gradient.shape(1), channels = gradient.shape(2);
    const std::size_t units = 2 * positions * channels, points = 2 * images * positions;
    if (unit_values.size() != units || unit_notes.size() != units || point_values.size() != points ||
        point_notes.size() != points)
        throw std::invalid_argument("notes must be (2, positions, channels) and (2, images, positions)");
    const auto all_below = [](const Tensor<T>& places, std::size_t count) {
        bool within = true;  // without a way out of the loop it is done in vectors
        for (std::size_t i = 0; i < places.size(); ++i) within &= (places.data()[i] >= 0) & (places.data()[i] < T(count));
        return within;
    };
    if (!pre_activations && !(all_below(unit_notes, images) && all_below(point_notes, channels)))
        throw std::invalid_argument("a unit's place must be an image's index, a point's place a channel's");
    const PositionSeparation given{pre_activations ? Note::shares : Note::first,
                                   pre_activations ? pre_activations->data() : nullptr,
                                   sizeof(T) == 8,
                                   std::int64_t(images),
                                   std::int64_t(positions),
                                   std::int64_t(channels),
                                   unit_values.data(),
                                   unit_notes.data(),
                                   nullptr,
                                   point_values.data(),
                                   point_notes.data(),
                                   nullptr,
                                   gradient.data()};
    const nb::gil_scoped_release release;
    kernel.position_gradients(given);
}

// Through the ReLU of such a layer, in place, together with what its constraints of shared ties add.
template <class T>
void shared_gradients(const Tensor<T>& pre_activations, const Tensor<T>& unit_values, const Tensor<T>& unit_pulls,
                      const Tensor<std::uint8_t>& point_firsts, std::optional<Tensor<std::uint8_t>> point_counts,
                      std::pair<double, double> margins, std::pair<double, double> point_pulls, const Tensor<T>& gradient,
                      const std::string& instruction_set) {
    const Kernel& kernel = kernel_named(instruction_set);
    if (gradient.ndim() != 3 || pre_activations.size() != gradient.size())
        throw std::invalid_argument("gradient must be (images, positions, channels), as pre_activations");
    const std::size_t images = gradient.shape(0), positions = gradient.shape(1), channels = gradient.shape(2);
    const std::size_t points = 2 * images * positions;
    if (unit_values.size() != 2 * positions * channels || unit_pulls.size() != unit_values.size() ||
        point_firsts.size() != points || (point_counts && point_counts->size() != points))
        throw std::invalid_argument("units must be (2, positions, channels), points (2, images, positions)");
    bool within = true;
    for (std::size_t i = 0; i < points; ++i) within &= point_firsts.data()[i] < channels;
    if (!within) throw std::invalid_argument("a point's place must be a channel's index");
    const SharedPulls given{pre_activations.data(), sizeof(T) == 8,     std::int64_t(images), std::int64_t(positions),
                            std::int64_t(channels), unit_values.data(), unit_pulls.data(),    point_firsts.data(),
                            point_counts ? point_counts->data() : nullptr,
                            margins.first, margins.second, point_pulls.first, point_pulls.second, gradient.data()};
    const nb::gil_scoped_release release;
    kernel.shared_gradients(given);
}

// Values and derivatives of an activation of one output a unit, for the tests.
template <class T>
void activate(const nb::dict& values, const Tensor<const T>& pre, const Tensor<T>& out, const Tensor<T>& slopes,
              const std::string& instruction_set) {
    const Activation activation = activation_from(values);
    if (traits_of(activation).outputs != 1 || out.size() != pre.size() || slopes.size() != pre.size())
        throw std::invalid_argument("an activation of one output a unit, and three arrays of one size");
    kernel_named(instruction_set)
        .activate({activation, get<double>(values, "activation_number"), sizeof(T) == 8, pre.data(), out.data(),
                   slopes.data(), std::int64_t(pre.size())});
}

}  // namespace
}  // namespace jumpstart

NB_MODULE(_native, m) {
    m.doc() = "The C++ engine: one network a thread, its whole training in one call.";
    m.def("train", &jumpstart::train, "specs"_a, "x_train"_a, "y_train"_a, "x_val"_a, "y_val"_a, "threads"_a,
          "instruction_set"_a, "keep_every"_a, "is_requested"_a, "on_result"_a, "on_progress"_a, "on_kept"_a,
          "weights_train"_a = nb::none(), "weights_val"_a = nb::none());
    m.def("probe", &jumpstart::probe, "spec"_a, "x_train"_a, "y_train"_a, "x_val"_a, "y_val"_a, "instruction_set"_a,
          "steps"_a, "initial"_a, "weights_train"_a = nb::none(), "weights_val"_a = nb::none());
    m.def("workspace_bytes", &jumpstart::workspace_bytes, "spec"_a, "train_points"_a, "val_points"_a);
    m.def("separate", &jumpstart::separate<float>, "activations"_a, "unit_values"_a, "unit_entries"_a, "point_values"_a,
          "point_entries"_a, "margin_above"_a, "margin_below"_a, "instruction_set"_a);
    m.def("separate", &jumpstart::separate<double>, "activations"_a, "unit_values"_a, "unit_entries"_a, "point_values"_a,
          "point_entries"_a, "margin_above"_a, "margin_below"_a, "instruction_set"_a);
    m.def("find_positions", &jumpstart::find_positions<float>, "pre_activations"_a, "of_units"_a, "of_points"_a, "places"_a,
          "instruction_set"_a);
    m.def("find_shared", &jumpstart::find_shared<float>, "pre_activations"_a, "unit_values"_a, "unit_shares"_a,
          "point_values"_a, "point_counts"_a, "point_firsts"_a, "activations"_a, "instruction_set"_a);
    m.def("find_positions", &jumpstart::find_positions<double>, "pre_activations"_a, "of_units"_a, "of_points"_a, "places"_a,
          "instruction_set"_a);
    m.def("find_shared", &jumpstart::find_shared<double>, "pre_activations"_a, "unit_values"_a, "unit_shares"_a,
          "point_values"_a, "point_counts"_a, "point_firsts"_a, "activations"_a, "instruction_set"_a);
    m.def("position_gradients", &jumpstart::position_gradients<float>, "pre_activations"_a.none(), "unit_values"_a,
          "unit_notes"_a, "point_values"_a, "point_notes"_a, "gradient"_a, "instruction_set"_a);
    m.def("position_gradients", &jumpstart::position_gradients<double>, "pre_activations"_a.none(), "unit_values"_a,
          "unit_notes"_a, "point_values"_a, "point_notes"_a, "gradient"_a, "instruction_set"_a);
    m.def("shared_gradients", &jumpstart::shared_gradients<float>, "pre_activations"_a, "unit_values"_a, "unit_pulls"_a,
          "point_firsts"_a, "point_counts"_a.none(), "margins"_a, "point_pulls"_a, "gradient"_a, "instruction_set"_a);
    m.def("activate", &jumpstart::activate<float>, "values"_a, "pre"_a, "out"_a, "slopes"_a, "instruction_set"_a);
    m.def("shared_gradients", &jumpstart::shared_gradients<double>, "pre_activations"_a, "unit_values"_a, "unit_pulls"_a,
          "point_firsts"_a, "point_counts"_a.none(), "margins"_a, "point_pulls"_a, "gradient"_a, "instruction_set"_a);
    m.def("activate", &jumpstart::activate<double>, "values"_a, "pre"_a, "out"_a, "slopes"_a, "instruction_set"_a);
    m.def("instruction_sets", &jumpstart::instruction_sets);
}
