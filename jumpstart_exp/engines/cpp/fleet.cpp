#include "fleet.hpp"

#include <algorithm>
#include <chrono>
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
    const std::int64_t width = spec.width, taps = spec.conv2x1 ? 2 : 1;
    const std::int64_t first = width * (spec.features + 1), hidden = width * (width * taps + 1);
    const std::int64_t norms = spec.batch_norm ? 2 * width * spec.depth : 0;
    return first + (spec.depth - 1) * hidden + norms + spec.outputs * (width * taps + 1);
}

Workspace::Workspace(std::size_t bytes) : data_(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
    if (!data_) throw std::bad_alloc();
    std::memset(data_, 0, bytes);
}

Workspace::~Workspace() { std::free(data_); }

Fleet::Fleet(const Kernel& kernel, const std::vector<Job>& jobs, const Dataset& data, int threads)
    : kernel_(kernel), jobs_(jobs), data_(data) {
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
}

bool Fleet::wait(int milliseconds, std::vector<Progress>& progress, std::vector<Finished>& finished) {
    progress.clear();
    finished.clear();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                      [this] { return !finished_.empty() || active_ == 0; });
    progress.swap(started_);
    finished.swap(finished_);
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
            mine.control.epochs_done.store(0, std::memory_order_relaxed);
            started_.push_back({index, 0});
        }
        Finished result = train(index, mine.control);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            mine.busy = false;
            if (!result.outcome.stopped) finished_.push_back(std::move(result));
        }
        changed_.notify_one();
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        --active_;
    }
    changed_.notify_one();
}

Finished Fleet::train(std::size_t index, Control& control) const {
    using Clock = std::chrono::steady_clock;
    Finished result;
    result.index = index;
    result.started = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const Clock::time_point start = Clock::now();
    try {
        const Spec spec = jobs_[index].ready();
        const Workspace workspace(kernel_.workspace_bytes(spec, data_.train().count, data_.val().count));
        if (spec.evaluate) {
            result.census_start.resize(4 * std::size_t(spec.depth));
            result.census_last.resize(4 * std::size_t(spec.depth));
            result.curve.resize(std::size_t(spec.epochs / spec.curve_every) + 2);
        }
        result.outcome.census_start = result.census_start.data();
        result.outcome.census_last = result.census_last.data();
        result.outcome.curve = result.curve.data();
        result.outcome.curve_capacity = std::int64_t(result.curve.size());
        kernel_.train(spec, data_.train(), data_.val(), workspace.data(), control, result.outcome);
        result.curve.resize(std::size_t(result.outcome.curve_rows));
    } catch (const std::bad_alloc&) {
        result.error = "MemoryError: not enough memory for the network and its curve";
    } catch (const std::exception& error) {
        result.error = error.what();
    }
    result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return result;
}

}  // namespace jumpstart
