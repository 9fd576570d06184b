// Threads that take networks from a queue; no two share one, so neither their number nor the order changes a result.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernel.hpp"

namespace jumpstart {

// The kernels that this processor can run, the fastest first.
std::vector<const Kernel*> kernels();

struct Dataset {
    int features = 0;
    std::vector<double> x_train, x_val, y_train, y_val, weights_train, weights_val;
    double train_variance = 0, val_variance = 0;  // of the labels, where they are numbers

    Points train() const {
        return {x_train.data(), y_train.data(), weights_train.data(), int(y_train.size()), train_variance};
    }
    Points val() const { return {x_val.data(), y_val.data(), weights_val.data(), int(y_val.size()), val_variance}; }
};

// How far a network's training is: between two epochs, or at its end, when its numbers are of no use.
struct State {
    Outcome outcome{};
    std::vector<double> numbers;  // `state_count`
    std::vector<double> census_start, census_last;
    std::vector<CurvePoint> curve;
    std::vector<double> relaxed_curve;  // `relaxed_columns` of each of its rows
    double seconds = 0, started = 0;  // `started` in seconds since 1970
};

struct Job {
    Spec spec{};
    std::vector<double> layer_weights, initial, relaxed_initial, reset_values;
    std::shared_ptr<bool[]> is_relaxed;  // of every hidden layer
    std::shared_ptr<bool[]> has_row_rule, is_trained;  // of every layer; null as in the spec
    std::optional<State> state;        // to go on from
    std::vector<std::int64_t> watched;  // epochs after which the state is handed over whatever the time, ascending

    Spec ready() const {
        Spec complete = spec;
        complete.layer_weights = layer_weights.empty() ? nullptr : layer_weights.data();
        complete.initial = initial.empty() ? nullptr : initial.data();
        complete.relaxed_initial = relaxed_initial.empty() ? nullptr : relaxed_initial.data();
        complete.reset_values = reset_values.empty() ? nullptr : reset_values.data();
        complete.is_relaxed = is_relaxed.get();
        complete.has_row_rule = has_row_rule.get();
        complete.is_trained = is_trained.get();
        return complete;
    }
};

struct Finished {
    std::size_t index = 0;
    std::string error;  // empty unless it failed
    State state;
};

struct Kept {
    std::size_t index = 0;
    State state;
    bool is_watched = false;  // its epoch is one of the job's
    bool is_due = false;      // its time has come, and the training goes on: it can be gone on from
};

struct Progress {
    std::size_t index;
    std::int64_t epochs;
};

// Zeroed memory for one network.
class Workspace {
public:
    explicit Workspace(std::size_t bytes);
    ~Workspace();
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    void* data() const { return data_; }

private:
    void* data_;
};

class Fleet {
public:
    // Every network's state is handed over after `keep_every` seconds of its training, infinity for never, and after
    // the epochs that are watched.
    Fleet(const Kernel& kernel, const std::vector<Job>& jobs, const Dataset& data, int threads, double keep_every);
    ~Fleet();

    // What has happened since the last call, after at most `milliseconds`: networks started, how far the others are,
    // states to be kept, then networks finished. False once everything is over.
    bool wait(int milliseconds, std::vector<Progress>& progress, std::vector<Kept>& kept,
              std::vector<Finished>& finished);
    // The networks in training hand over their states after their next epoch, whatever the time.
    void keep_now();
    // Ends the networks in training within an epoch; they are not among the finished ones.
    void stop();

private:
    struct Running {
        std::size_t index = 0;
        bool busy = false;
        Control control;
        std::atomic<bool> keep_now{false};
        std::optional<Kept> kept;  // to be taken by `wait`
    };
    class Handover;

    const Kernel& kernel_;
    const std::vector<Job>& jobs_;
    const Dataset& data_;
    const double keep_every_;
    std::mutex mutex_;
    std::condition_variable changed_, taken_;
    std::size_t next_ = 0, active_ = 0;
    bool stopping_ = false;
    std::vector<Progress> started_;
    std::vector<Finished> finished_;
    std::vector<std::unique_ptr<Running>> running_;
    std::vector<std::thread> threads_;

    void work(Running& mine);
    Finished train(std::size_t index, Running& mine);
    void hand_over(Running& mine, Kept kept);
};

}  // namespace jumpstart
