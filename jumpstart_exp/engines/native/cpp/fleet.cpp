#include "fleet.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

namespace jumpstart {

#define JUMPSTART_DECLARE(name)   \
    namespace name {              \
    extern const Kernel kernel;   \
    }
JUMPSTART_DECLARE(portable)
#ifdef JUMPSTART_AVX2
JUMPSTART_DECLARE(avx2)
#endif
#ifdef JUMPSTART_AVX512
JUMPSTART_DECLARE(avx512)
#endif

std::vector<const Kernel*> kernels() {
    std::vector<const Kernel*> found;
#ifdef JUMPSTART_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found.push_back(&avx512::kernel);
#endif
#ifdef JUMPSTART_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        found.push_back(&avx2::kernel);
#endif
    found.push_back(&portable::kernel);
    return found;
}

std::int64_t parameter_count(const Spec& spec) {
    const ActivationTraits activation = traits_of(spec.activation);
    const std::int64_t width = spec.width, seen = width * activation.outputs * positions_of(spec.architecture);
    const std::int64_t rows = width - std::int64_t(spec.farkas);  // with weights of their own
    const std::int64_t first = rows * spec.features + width, hidden = rows * seen + width;
    const std::int64_t norms = numbers_of(spec.norm).parameters * width * spec.depth;
    const std::int64_t slopes = activation.is_trained ? spec.depth : 0;
    std::int64_t factors = is_scaled(spec.skip_scale) ? blocks_of(spec) : 0;
    // two biases a layer and a multiplier a block, in place of a bias a unit
    if (is_fixup(spec.skip_scale)) factors = blocks_of(spec) * (std::int64_t(spec.skip_every) * (2 - width) + 1);
    return first + (spec.depth - 1) * hidden + norms + slopes + factors + spec.outputs * (seen + 1);
}

std::int64_t running_count(const Spec& spec) {
    return numbers_of(spec.norm).statistics * std::int64_t(spec.depth) * spec.width;
}

std::int64_t state_count(const Spec& spec) {
    return (1 + slots_of(spec)) * (parameter_count(spec) + relaxed_count(spec)) + running_count(spec);
}

Workspace::Workspace(std::size_t bytes) : data_(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
    if (!data_) throw std::bad_alloc();
    std::memset(data_, 0, bytes);
}

Workspace::~Workspace() { std::free(data_); }

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What a network in training hands over. Where there is no memory for it, it is left out until it is due again.
class Fleet::Handover final : public CheckpointWriter {
public:
    Handover(Fleet& fleet, Running& mine, const State& so_far, const Job& job)
        : fleet_(fleet),
          mine_(mine),
          so_far_(so_far),
          epochs_(job.spec.epochs),
          count_(std::size_t(state_count(job.spec))),
          columns_(relaxed_columns(job.spec)),
          watched_(job.watched) {}

    double* room_if_due(std::int64_t epoch) noexcept override {
        while (next_ < watched_.size() && watched_[next_] < epoch) ++next_;
        is_watched_ = next_ < watched_.size() && watched_[next_] == epoch;
        is_due_ = is_time(epoch);
        if (!is_watched_ && !is_due_) return nullptr;
        try {
            numbers_.resize(count_);
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
        return numbers_.data();
    }

    void keep(const Outcome& outcome) noexcept override {
        try {
            Kept kept;
            kept.index = mine_.index;
            kept.is_watched = is_watched_;
            kept.is_due = is_due_;
            State& state = kept.state;
            state.outcome = outcome;
            state.census_start = so_far_.census_start;
            if (is_due_) {
                state.curve.assign(so_far_.curve.begin(), so_far_.curve.begin() + outcome.curve_rows);
                const auto relaxed = so_far_.relaxed_curve.begin();
                state.relaxed_curve.assign(relaxed, relaxed + outcome.curve_rows * columns_);
            }
            state.seconds = so_far_.seconds + seconds_since(begun_);
            state.started = so_far_.started;
            state.numbers = std::move(numbers_);
            fleet_.hand_over(mine_, std::move(kept));
        } catch (const std::bad_alloc&) {
        }
        if (is_due_) kept_at_ = Clock::now();
    }

private:
    // Whether a checkpoint is due. After the last epoch there is nothing to go on with.
    bool is_time(std::int64_t epoch) {
        if (std::isinf(fleet_.keep_every_) || epoch == epochs_) return false;
        if (!mine_.keep_now.load(std::memory_order_relaxed) && seconds_since(kept_at_) < fleet_.keep_every_)
            return false;
        mine_.keep_now.store(false, std::memory_order_relaxed);
        kept_at_ = Clock::now();
        return true;
    }

    Fleet& fleet_;
    Running& mine_;
    const State& so_far_;
    const std::int64_t epochs_;
    const std::size_t count_;
    const std::int64_t columns_;
    const std::vector<std::int64_t>& watched_;
    std::size_t next_ = 0;
    bool is_watched_ = false, is_due_ = false;
    const Clock::time_point begun_ = Clock::now();
    Clock::time_point kept_at_ = begun_;
    std::vector<double> numbers_;
};

Fleet::Fleet(const Kernel& kernel, const std::vector<Job>& jobs, const Dataset& data, int threads, double keep_every)
    : kernel_(kernel), jobs_(jobs), data_(data), keep_every_(keep_every) {
    const std::size_t count = std::max<std::size_t>(1, std::min<std::size_t>(std::size_t(threads), jobs.size()));
    active_ = count;
    for (std::size_t t = 0; t < count; ++t) running_.push_back(std::make_unique<Running>());
    try {
        for (std::size_t t = 0; t < count; ++t) threads_.emplace_back([this, t] { work(*running_[t]); });
    } catch (...) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            active_ -= count - threads_.size();
        }
        if (threads_.empty()) throw;
    }
}

Fleet::~Fleet() {
    stop();
    for (std::thread& thread : threads_) thread.join();
}

void Fleet::stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    for (const auto& running : running_) running->control.stop.store(true, std::memory_order_relaxed);
    taken_.notify_all();
}

void Fleet::keep_now() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& running : running_) running->keep_now.store(running->busy, std::memory_order_relaxed);
}

// The network trains on at once, unless the state before this one has not been taken yet.
void Fleet::hand_over(Running& mine, Kept kept) {
    {
        std::unique_lock<std::mutex> lock(mutex_);
        taken_.wait(lock, [&] { return !mine.kept || stopping_; });
        mine.kept = std::move(kept);
    }
    changed_.notify_one();
}

bool Fleet::wait(int milliseconds, std::vector<Progress>& progress, std::vector<Kept>& kept,
                 std::vector<Finished>& finished) {
    progress.clear();
    kept.clear();
    finished.clear();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] {
        return !finished_.empty() || active_ == 0 ||
               std::any_of(running_.begin(), running_.end(), [](const auto& running) { return bool(running->kept); });
    });
    progress.swap(started_);
    finished.swap(finished_);
    for (const auto& running : running_)
        if (running->kept) {
            kept.push_back(std::move(*running->kept));
            running->kept.reset();
        }
    taken_.notify_all();
    for (const auto& running : running_)
        if (running->busy)
            progress.push_back({running->index, running->control.epochs_done.load(std::memory_order_relaxed)});
    return active_ > 0 || !finished.empty();
}

void Fleet::work(Running& mine) {
    for (;;) {
        std::size_t index;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (stopping_ || next_ == jobs_.size()) break;
            index = next_++;
            mine.index = index;
            mine.busy = true;
            mine.keep_now.store(false, std::memory_order_relaxed);
            const std::int64_t epochs = jobs_[index].state ? jobs_[index].state->outcome.epochs_run : 0;
            mine.control.epochs_done.store(epochs, std::memory_order_relaxed);
            started_.push_back({index, 0});
            if (epochs > 0) started_.push_back({index, epochs});
        }
        Finished result = train(index, mine);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            mine.busy = false;
            if (!result.state.outcome.stopped) finished_.push_back(std::move(result));
        }
        changed_.notify_one();
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        --active_;
    }
    changed_.notify_one();
}

Finished Fleet::train(std::size_t index, Running& mine) {
    Finished result;
    result.index = index;
    State& state = result.state;
    state.started = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const Clock::time_point start = Clock::now();
    double seconds_before = 0;
    try {
        const Spec spec = jobs_[index].ready();
        if (jobs_[index].state) state = *jobs_[index].state;
        seconds_before = state.seconds;
        const Workspace workspace(kernel_.workspace_bytes(spec, data_.train().count, data_.val().count));
        if (spec.evaluate) {
            state.census_start.resize(6 * std::size_t(spec.depth));
            state.census_last.resize(6 * std::size_t(spec.depth));
            state.curve.resize(state.curve.size() + std::size_t(spec.epochs / spec.curve_every) + 2);
            state.relaxed_curve.resize(state.curve.size() * std::size_t(relaxed_columns(spec)));
        }
        state.outcome.census_start = state.census_start.data();
        state.outcome.census_last = state.census_last.data();
        state.outcome.curve = state.curve.data();
        state.outcome.relaxed_curve = state.relaxed_curve.data();
        state.outcome.curve_capacity = std::int64_t(state.curve.size());
        Handover handover(*this, mine, state, jobs_[index]);
        mine.control.keeper = std::isinf(keep_every_) && jobs_[index].watched.empty() ? nullptr : &handover;
        mine.control.state = state.numbers.empty() ? nullptr : state.numbers.data();
        kernel_.train(spec, data_.train(), data_.val(), workspace.data(), mine.control, state.outcome);
        state.curve.resize(std::size_t(state.outcome.curve_rows));
        state.relaxed_curve.resize(state.curve.size() * std::size_t(relaxed_columns(spec)));
    } catch (const std::bad_alloc&) {
        result.error = "MemoryError: not enough memory for the network and its curve";
    } catch (const std::exception& error) {
        result.error = error.what();
    }
    mine.control.keeper = nullptr;
    mine.control.state = nullptr;
    state.seconds = seconds_before + seconds_since(start);
    return result;
}

}  // namespace jumpstart
