// Threads that take networks from a queue; no two share one, so neither their number nor the order changes a result.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernel.hpp"

namespace jumpstart {

// The kernels that this processor can run, the fastest first.
std::vector<const Kernel*> kernels();

struct Dataset {
    int features = 0;
    std::vector<double> x_train, x_val;
    std::vector<std::int64_t> y_train, y_val;

    Points train() const { return {x_train.data(), y_train.data(), int(y_train.size())}; }
    Points val() const { return {x_val.data(), y_val.data(), int(y_val.size())}; }
};

struct Job {
    Spec spec{};
    std::vector<double> layer_weights;

    Spec ready() const {
        Spec complete = spec;
        complete.layer_weights = layer_weights.empty() ? nullptr : layer_weights.data();
        return complete;
    }
};

struct Finished {
    std::size_t index = 0;
    std::string error;  // empty unless it failed
    Outcome outcome{};
    std::vector<double> census_start, census_last;
    std::vector<CurvePoint> curve;
    double seconds = 0, started = 0;  // `started` in seconds since 1970
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
    Fleet(const Kernel& kernel, const std::vector<Job>& jobs, const Dataset& data, int threads);
    ~Fleet();

    // What has happened since the last call, after at most `milliseconds`: networks started, finished, and how far
    // the others are. False once everything is over.
    bool wait(int milliseconds, std::vector<Progress>& progress, std::vector<Finished>& finished);
    // Ends the networks in training within an epoch; they are not among the finished ones.
    void stop();

private:
    struct Running {
        std::size_t index = 0;
        bool busy = false;
        Control control;
    };

    const Kernel& kernel_;
    const std::vector<Job>& jobs_;
    const Dataset& data_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t next_ = 0, active_ = 0;
    bool stopping_ = false;
    std::vector<Progress> started_;
    std::vector<Finished> finished_;
    std::vector<std::unique_ptr<Running>> running_;
    std::vector<std::thread> threads_;

    void work(Running& mine);
    Finished train(std::size_t index, Control& control) const;
};

}  // namespace jumpstart
