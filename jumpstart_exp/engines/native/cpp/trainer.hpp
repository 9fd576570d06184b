// Networks of one precision, as kernel.cpp sees them: each is a source file's only work, for they take minutes to compile.
#pragma once

#include "kernel.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {

template <class T>
struct Trainer {
    static std::size_t workspace_bytes(const Spec&, int train_points, int val_points);
    static void train(const Spec&, const Points& train, const Points& val, void* workspace, Control&, Outcome&);
    static void probe(const Spec&, const Points& train, const Points& val, void* workspace, Probe&);
};

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
