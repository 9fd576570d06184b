// Activations and their derivatives, a case each: inlined into the loops of forward and backward pass.
#pragma once

#include "kernel.hpp"
#include "vector.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {

template <class T>
FORCE_INLINE V<T> activated(Activation activation, V<T> pre) {
    switch (activation) {
        case Activation::relu: return larger<T>(V<T>{}, pre);
    }
    __builtin_trap();
}

// The gradient of the pre-activation from that of the activation.
template <class T>
FORCE_INLINE V<T> before_activation(Activation activation, V<T> gradient, V<T> pre) {
    switch (activation) {
        case Activation::relu: return pre > T(0) ? gradient : V<T>{};
    }
    __builtin_trap();
}

}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
