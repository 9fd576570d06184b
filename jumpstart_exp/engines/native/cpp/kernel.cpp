// What the engine calls, compiled once for every instruction set.
#include "kernel.hpp"

#include "activations.hpp"
#include "positions.hpp"
#include "separation.hpp"
#include "trainer.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

// With the networks of the precision asked for.
template <class Use>
auto with_trainer(const Spec& spec, Use use) {
    switch (spec.precision) {
        case Precision::float32: return use(Trainer<float>{});
        case Precision::float64: return use(Trainer<double>{});
    }
    __builtin_trap();
}

std::size_t workspace_bytes(const Spec& spec, int train_points, int val_points) {
    return with_trainer(spec, [&](auto trainer) { return trainer.workspace_bytes(spec, train_points, val_points); });
}

void train(const Spec& spec, const Points& train, const Points& val, void* workspace, Control& control,
           Outcome& outcome) {
    with_trainer(spec, [&](auto trainer) { trainer.train(spec, train, val, workspace, control, outcome); });
}

void probe(const Spec& spec, const Points& train, const Points& val, void* workspace, Probe& probed) {
    with_trainer(spec, [&](auto trainer) { trainer.probe(spec, train, val, workspace, probed); });
}

void separate(const Separation& given) {
    if (given.is_float64) Separator<double>(given).run();
    else Separator<float>(given).run();
}

bool find_positions(const PositionSeparation& given) {
    return given.is_float64 ? find_positions_of<double>(given) : find_positions_of<float>(given);
}

void position_gradients(const PositionSeparation& given) {
    if (given.is_float64) pull_positions_of<double>(given);
    else pull_positions_of<float>(given);
}

void shared_gradients(const SharedPulls& given) {
    if (given.is_float64) pull_shared_of<double>(given);
    else pull_shared_of<float>(given);
}

template <class T>
void activate_some(const Activating& given) {
    alignas(64) T pre[lanes<T>] = {}, values[lanes<T>], slopes[lanes<T>];
    for (std::int64_t start = 0; start < given.count; start += lanes<T>) {
        const std::size_t size = sizeof(T) * std::size_t(given.count - start < lanes<T> ? given.count - start : lanes<T>);
        std::memcpy(pre, static_cast<const T*>(given.pre) + start, size);
        const int all = as_unrelated(lanes<T>);  // GCC warns of a second round of the loop that it sees does not come
        activate_all<T>(given.activation, given.number, pre, values, slopes, std::size_t(all));
        std::memcpy(static_cast<T*>(given.values) + start, values, size);
        std::memcpy(static_cast<T*>(given.slopes) + start, slopes, size);
    }
}

void activate(const Activating& given) {
    if (given.is_float64) activate_some<double>(given);
    else activate_some<float>(given);
}

}  // namespace

extern const Kernel kernel;
const Kernel kernel = {INSTRUCTION_SET_NAME, workspace_bytes,    train,            probe,   separate,
                       find_positions,       position_gradients, shared_gradients, activate};

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
