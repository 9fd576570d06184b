// The networks of one precision: NUMBER is float or double.
#include "trainer.hpp"

#include "training.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

// Numbers below the normal ones count as 0 while a network trains: Adam's moments decay into them, and they are slow.
class FlushToZero {
#if defined(__x86_64__)
public:
    FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before_); }

private:
    unsigned before_;
#elif defined(__aarch64__)
public:
    FlushToZero() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" ::"r"(before_ | (std::uint64_t(1) << 24)));
    }
    ~FlushToZero() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

private:
    std::uint64_t before_;
#endif
};

}  // namespace

template <class T>
std::size_t Trainer<T>::workspace_bytes(const Spec& spec, int train_points, int val_points) {
    const Points train{nullptr, nullptr, nullptr, train_points, 0}, val{nullptr, nullptr, nullptr, val_points, 0};
    return Network<T>(spec, train, val, nullptr).bytes();
}

template <class T>
void Trainer<T>::train(const Spec& spec, const Points& train, const Points& val, void* workspace, Control& control,
                       Outcome& outcome) {
    const FlushToZero flush;
    Network<T>(spec, train, val, workspace).run(control, outcome);
}

template <class T>
void Trainer<T>::probe(const Spec& spec, const Points& train, const Points& val, void* workspace, Probe& probed) {
    const FlushToZero flush;
    Network<T>(spec, train, val, workspace).probe(probed);
}

template struct Trainer<NUMBER>;

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
