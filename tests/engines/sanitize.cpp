// Small networks of every kind through the fleet and the kernels, for the sanitizers: any fault ends the program.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fleet.hpp"

using namespace jumpstart;

namespace {

unsigned state = 1;
unsigned pick(unsigned count) {
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % count;
}

Job job_at_random(int features, int outputs, int points) {
    Job job;
    Spec& spec = job.spec;
    const int widths[] = {1, 2, 3, 4, 5, 7, 9, 16, 17, 25};
    spec.depth = 1 + int(pick(6));
    spec.width = widths[pick(10)];
    spec.features = features;
    spec.outputs = outputs;
    spec.architecture = features == 2 && pick(2) ? Architecture::conv2x1 : Architecture::mlp;
    spec.activation = pick(3) ? Activation(pick(int(Activation::crelu) + 1)) : Activation::relu;
    spec.activation_number = 0.25;
    spec.is_smooth = pick(2);
    spec.norm = pick(2) ? Norm(pick(3)) : Norm::none;
    spec.skip_every = pick(2) && traits_of(spec.activation).outputs == 1 ? int(1 + pick(4)) : 0;
    spec.skip_scale = SkipScale(pick(2));
    spec.precision = pick(3) == 0 ? Precision::float64 : Precision::float32;
    spec.task_loss = pick(5) != 0;
    spec.task = outputs == 1 && pick(3) == 0 ? Task::regression : Task::classification;
    spec.optimizer = Optimizer(pick(int(Optimizer::rprop) + 1));
    spec.momentum = pick(2) ? 0.9 : 0;
    spec.nesterov = spec.momentum > 0 && pick(2);
    spec.alpha = 0.99;
    spec.weight_decay = pick(3) ? 0 : 0.1;
    spec.clip_norm = spec.optimizer != Optimizer::rprop && pick(3) == 0 ? 1.0 : double(INFINITY);
    spec.row_penalty = pick(2) ? 0 : 0.1;
    spec.row_limit = pick(2) ? double(INFINITY) : 0.5;
    for (auto* layers : {&job.has_row_rule, &job.is_trained}) {
        if (pick(2)) continue;
        layers->reset(new bool[std::size_t(spec.depth) + 1]{});
        for (int l = 0; l <= spec.depth; ++l) (*layers)[std::size_t(l)] = pick(2);
    }
    spec.schedule = RateSchedule(pick(3));
    spec.warmup_steps = pick(4);
    spec.step_every = 1 + pick(5);
    spec.step_factor = 0.5;
    spec.eps_rule = pick(2) ? EpsRule::keras : EpsRule::torch;
    spec.evaluate = pick(6) != 0;
    spec.init = Init(pick(int(Init::given) + 1));
    if (spec.init == Init::given)
        for (std::int64_t i = parameter_count(spec); i > 0; --i) job.initial.push_back((double(pick(201)) - 100) / 100);
    spec.kind = Kind(pick(5));
    spec.scope = pick(2) ? Scope::position : Scope::channel;
    spec.aggregate = Aggregate(pick(5));
    spec.penalty_schedule = PenaltySchedule(pick(3));
    spec.ties = Ties(pick(3));
    if (pick(3) == 0) job.layer_weights.assign(std::size_t(spec.depth), 0.5);
    spec.weight = 0.01;
    spec.unit_shares = {0.51, 0.49};
    spec.point_shares = {pick(2) ? 0.51 : 0, 0.49};
    spec.layer_shares = {0.51, 0.49};
    spec.margin_above = 1;
    spec.margin_below = -1;
    spec.upper_bound = pick(3) ? double(INFINITY) : 2;
    spec.norm_eps = 1e-3;
    spec.norm_momentum = 0.01;
    spec.dropout_rate = pick(3) == 0 ? 0.9 : 0;
    spec.dropout_anneal_epochs = 10;
    spec.lr = pick(8) == 0 ? 1e30 : 0.01;  // some diverge
    spec.beta1 = 0.9;
    spec.beta2 = 0.999;
    spec.eps = 1e-8;
    spec.epochs = 12;
    spec.curve_every = 1 + pick(5);
    spec.seed = pick(1000);
    job.is_relaxed.reset(new bool[std::size_t(spec.depth)]{});
    spec.relaxed_points = points;
    const ActivationTraits traits = traits_of(spec.activation);
    if (pick(3) == 0 && !traits.is_trained && traits.outputs == 1) {
        spec.architecture = Architecture::mlp;
        spec.norm = spec.norm == Norm::batch ? Norm::layer : spec.norm;
        spec.skip_every = 0;
        spec.dropout_rate = 0;
        spec.clip_norm = INFINITY;
        spec.task_loss = true;
        spec.hidden_weight = 0.5;
        spec.hidden_final_weight = 5;
        spec.relaxed_rate = 2;
        spec.relax = Relax(pick(2));
        spec.hidden_loss = spec.activation == Activation::logistic ? HiddenLoss(pick(2)) : HiddenLoss::squared;
        spec.hidden_reduce = Reduce(pick(2));
        spec.hidden_schedule = HiddenSchedule(pick(2));
        for (int l = 0; l < spec.depth; ++l) spec.relaxed_layers += job.is_relaxed[std::size_t(l)] = pick(2);
        spec.relaxes_outputs = spec.relaxed_layers == 0 || pick(2);
        spec.relaxed_period = pick(4);
        if (pick(2)) job.relaxed_initial.assign(std::size_t(relaxed_count(spec)), 0.3);
        if (spec.init == Init::given) job.initial.assign(std::size_t(parameter_count(spec)), 0.1);
    }
    if (pick(2))
        for (std::int64_t epoch = 0; epoch <= spec.epochs + 1; ++epoch)
            if (pick(3) == 0) job.watched.push_back(epoch);  // some are not of the training
    return job;
}

Dataset points_at_random(int features, int outputs, int train, int val) {
    Dataset data;
    data.features = features;
    for (int p = 0; p < train + val; ++p) {
        auto& x = p < train ? data.x_train : data.x_val;
        auto& y = p < train ? data.y_train : data.y_val;
        for (int f = 0; f < features; ++f) x.push_back(std::sin(double(3 * p + f)));
        y.push_back(int(pick(outputs == 1 ? 2 : unsigned(outputs))));
        (p < train ? data.weights_train : data.weights_val).push_back(p % 2 ? 0.75 : 1.25);
    }
    data.train_variance = data.val_variance = 0.25;
    return data;
}

// ReLU and extremes of a layer of every size, in arrays without a number to spare.
template <class T>
void separate_at_random(const Kernel& kernel) {
    const std::int64_t images = 1 + pick(5), positions = 1 + pick(60), channels = 1 + pick(70);
    std::vector<T> activations(std::size_t(images * positions * channels));
    for (T& number : activations) number = pick(7) == 0 ? T(NAN) : T(int(pick(9)) - 4) / 3;
    std::vector<T> units(std::size_t(2 * channels)), points(std::size_t(2 * images));
    std::vector<std::int64_t> unit_entries(units.size()), point_entries(points.size());
    const Workspace scratch(separation_scratch_bytes(channels));
    const Separation given{activations.data(), sizeof(T) == 8, images, positions, channels, 1, pick(2) ? -1.0 : -9.0,
                           units.data(), points.data(), unit_entries.data(), point_entries.data(), scratch.data()};
    kernel.separate(given);
    for (const auto* entries : {&unit_entries, &point_entries})
        for (const std::int64_t entry : *entries)
            if (entry < 0 || entry >= std::int64_t(activations.size())) std::abort();
}

template <class T>
void separate_positions_at_random(const Kernel& kernel) {
    const std::int64_t images = 1 + pick(5), positions = 1 + pick(40), channels = 1 + pick(40);
    std::vector<T> activations(std::size_t(images * positions * channels)), gradient(activations.size());
    for (T& number : activations) number = pick(7) == 0 ? T(NAN) : T(int(pick(5)) - 2) / 3;
    std::vector<T> units(std::size_t(2 * positions * channels)), unit_notes(units.size());
    std::vector<T> points(std::size_t(2 * images * positions)), point_notes(points.size());
    std::vector<T> unit_lasts(units.size()), point_lasts(points.size());
    for (const Note note : {Note::shares, Note::first, Note::first_and_last}) {
        const bool with_last = note == Note::first_and_last;
        const PositionSeparation given{note, activations.data(), sizeof(T) == 8, images, positions, channels,
                                       units.data(), unit_notes.data(), with_last ? unit_lasts.data() : nullptr,
                                       points.data(), point_notes.data(), with_last ? point_lasts.data() : nullptr,
                                       gradient.data()};
        const bool has_nan = kernel.find_positions(given);
        if (has_nan != std::any_of(activations.begin(), activations.end(), [](T x) { return x != x; })) std::abort();
        kernel.position_gradients(given);
    }
    std::vector<T> active(activations.size());
    std::vector<std::uint8_t> counts(points.size()), firsts(points.size());
    bool any_tied = false;
    kernel.find_positions({Note::shares_and_point_first, activations.data(), sizeof(T) == 8, images, positions, channels,
                           units.data(), unit_notes.data(), nullptr, points.data(), counts.data(), firsts.data(), nullptr,
                           active.data(), &any_tied});
    kernel.shared_gradients({activations.data(), sizeof(T) == 8, images, positions, channels, units.data(),
                             unit_notes.data(), firsts.data(), any_tied ? counts.data() : nullptr, 1, -1, 2, -2,
                             gradient.data()});
}

}  // namespace

int main() {
    int results = 0, stopped_early = 0;
    for (const Kernel* kernel : kernels()) {
        for (int layer = 0; layer < 300; ++layer) {
            separate_at_random<float>(*kernel);
            separate_at_random<double>(*kernel);
            separate_positions_at_random<float>(*kernel);
            separate_positions_at_random<double>(*kernel);
        }
        for (int round = 0; round < 12; ++round) {
            const int features = round % 3 == 2 ? 5 : 2, outputs = round % 4 == 3 ? 3 : 1;
            const int sizes[] = {2, 15, 16, 17, 33, 85};
            const Dataset data = points_at_random(features, outputs, sizes[round % 6], 1 + int(pick(20)));
            std::vector<Job> jobs;
            for (int i = 0; i < 24; ++i) jobs.push_back(job_at_random(features, outputs, data.train().count));
            for (const Job& job : jobs) {
                const Spec spec = job.ready();
                const std::size_t count = std::size_t(parameter_count(spec));
                const std::size_t relaxed = std::size_t(relaxed_count(spec));
                std::vector<double> parameters(count), gradients(count), z(relaxed), of_z(relaxed);
                Probe probe{2, nullptr, 0, 0, parameters.data(), gradients.data(), 0, z.data(), of_z.data()};
                const Workspace workspace(kernel->workspace_bytes(spec, data.train().count, data.val().count));
                kernel->probe(spec, data.train(), data.val(), workspace.data(), probe);
            }
            // after every epoch, some, or only on request; and once more, those that were kept from where they were
            const double keep_every = round % 3 == 0 ? 0 : round % 3 == 1 ? 1e-4 : 1e9;
            std::vector<Progress> progress;
            std::vector<Kept> kept;
            std::vector<Finished> finished;
            int here = 0;
            {
                const auto is_asked_for = [&](const Kept& one) {
                    const auto& watched = jobs[one.index].watched;
                    const std::int64_t epoch = one.state.outcome.epochs_run;
                    const bool is_watched = std::binary_search(watched.begin(), watched.end(), epoch);
                    return is_watched == one.is_watched && (is_watched || one.is_due) && !(one.is_due && epoch == 12);
                };
                std::vector<Job> later = jobs;
                {
                    Fleet fleet(*kernel, jobs, data, 3, keep_every);
                    while (fleet.wait(1, progress, kept, finished)) {
                        here += int(finished.size());
                        for (Kept& one : kept) {
                            if (!is_asked_for(one)) std::abort();
                            if (one.is_due) later[one.index].state = std::move(one.state);
                        }
                        if (round % 2) fleet.keep_now();
                        if (round == 0 && here > 3) fleet.stop();
                    }
                }
                Fleet fleet(*kernel, later, data, 3, INFINITY);
                int again = 0;
                bool any_due = false;
                while (fleet.wait(1, progress, kept, finished)) {
                    again += int(finished.size());
                    for (const Kept& one : kept) any_due |= one.is_due || !is_asked_for(one);
                }
                if (again != 24 || any_due) {
                    std::printf("%d of 24 results\n", again);
                    return EXIT_FAILURE;
                }
            }
            if (round == 0) stopped_early += here < 24;
            else if (here != 24) {
                std::printf("%d of 24 results\n", here);
                return EXIT_FAILURE;
            }
            results += here;
        }
        // a fleet that is dropped while it trains
        const Dataset data = points_at_random(2, 1, 20, 5);
        std::vector<Job> jobs(8, job_at_random(2, 1, 20));
        for (Job& job : jobs) job.spec.epochs = 1000000;
        const Fleet fleet(*kernel, jobs, data, 2, 0);  // with states that nobody takes
    }
    std::printf("%d results\n", results);
    return EXIT_SUCCESS;
}
