// Products of matrices whose rows hold points, with the sums in registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vector.hpp"

namespace jumpstart {
namespace INSTRUCTION_SET {
namespace {

#if VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr int most_vectors = 6;
constexpr bool many_registers = true;  // 32, not 16
#else
constexpr int most_vectors = 3;
constexpr bool many_registers = false;
#endif
template <int VECTORS>
constexpr int most_rows = VECTORS == 1 ? 8 : 4;  // of a block whose sums stay in registers

// How the points lie in memory: in whole vectors, of which so many are a block, and the last block what is left. Padded
// to whole blocks where sums over units are to be rounded alike at all points.
template <class T>
struct Layout {
    int count = 0, block_vectors = 0, stride = 0;

    Layout(int points, bool in_whole_blocks) : count(points) {
        const int all = (points + lanes<T> - 1) / lanes<T>;
        const int blocks = (all + most_vectors - 1) / most_vectors;
        block_vectors = (all + blocks - 1) / blocks;
        stride = (in_whole_blocks ? blocks * block_vectors : all) * lanes<T>;
    }
    int vectors() const { return stride / lanes<T>; }
};

class Arena {
public:
    explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}
    template <class T>
    T* take(std::size_t count) {
        T* taken = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
        used_ += (count * sizeof(T) + 63) / 64 * 64;
        return taken;
    }
    std::size_t used() const { return used_; }

private:
    char* memory_;
    std::size_t used_ = 0;
};

// A sum over k of w[row·row_step + k·sum_step] · x[k·x_step + column].
template <class T>
struct Product {
    const T* w;
    int row_step, sum_step;
    const T* x;
    int x_step, terms;
};

template <class T, int ROWS, int VECTORS>
FORCE_INLINE void accumulate(V<T> (&sums)[ROWS][VECTORS], const Product<T>& product, int row, int column) {
    const T* w = product.w + row * product.row_step;
    const T* x = product.x + column;
    for (int k = 0; k < product.terms; ++k) {
        V<T> factors[VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) factors[v] = load(x + v * lanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            const T weight = w[r * product.row_step];
#pragma GCC unroll 8
            for (int v = 0; v < VECTORS; ++v) sums[r][v] += weight * factors[v];
        }
        w += product.sum_step;
        x += product.x_step;
    }
}

// Rows of sums of products, a block of rows and of vectors at a time; `finish(row, column, sums)` gets each block.
template <class T, int VECTORS, int ROWS, class Finish>
FORCE_INLINE void block_of_rows(const T* bias, int bias_step, const Product<T>* products, int count, int row,
                                int column, Finish& finish) {
    static const T zero = 0;
    V<T> sums[ROWS][VECTORS];
    const T* const starts = bias ? bias + row * bias_step : unread(&zero);
    if (!bias) bias_step = 0;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        const V<T> start = broadcast<T>(starts[r * bias_step]);
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = start;
    }
    for (int p = 0; p < count; ++p) accumulate<T, ROWS, VECTORS>(sums, products[p], row, column);
    finish(row, column, sums);
}

template <class T, int VECTORS, int ROWS, class Finish>
FORCE_INLINE void some_rows(int rows, const T* bias, int bias_step, const Product<T>* products, int count, int row,
                            int column, Finish& finish) {
    if (rows == ROWS) block_of_rows<T, VECTORS, ROWS>(bias, bias_step, products, count, row, column, finish);
    else if constexpr (ROWS > 1)
        some_rows<T, VECTORS, ROWS - 1>(rows, bias, bias_step, products, count, row, column, finish);
}

template <class T, int VECTORS = most_vectors, class Finish>
FORCE_INLINE void multiply_block(int vectors, int rows, const T* bias, int bias_step, const Product<T>* products,
                                 int count, int column, Finish& finish) {
    if (vectors == VECTORS) {
        constexpr int most = most_rows<VECTORS>;
        const int groups = (rows + most - 1) / most;
        const int least = groups == 1 ? rows : rows / groups, larger_groups = rows - least * groups;
        for (int group = 0, row = 0; group < groups; ++group) {
            const int size = least + int(group < larger_groups);
            some_rows<T, VECTORS, most>(size, bias, bias_step, products, count, row, column, finish);
            row += size;
        }
    } else if constexpr (VECTORS > 1) {
        multiply_block<T, VECTORS - 1>(vectors, rows, bias, bias_step, products, count, column, finish);
    }
}

template <class T, class Finish>
FORCE_INLINE void multiply(const Layout<T>& layout, int rows, const T* bias, int bias_step,
                           const Product<T>* products, int count, Finish finish) {
    const int all = layout.vectors();
    for (int first = 0; first < all; first += layout.block_vectors) {
        const int vectors = all - first < layout.block_vectors ? all - first : layout.block_vectors;
        multiply_block<T>(vectors, rows, bias, bias_step, products, count, first * lanes<T>, finish);
    }
}

// gradient[row·row_stride + column·column_step] = Σ over points a[row] · b[column]; the bias's b is 1.
template <class T>
struct Outer {
    const T* a;
    int a_stride, rows;
    const T* b;
    int b_stride, columns;
    const T* ones;  // null without a bias
    int vectors;
    T* gradient;
    int row_stride, column_step, bias_column;
};

// How many vectors are reduced together where so many are left.
template <class T>
constexpr int together(int left) {
    int count = 4 < lanes<T> ? 4 : lanes<T>;
    while (count < left) count *= 2;
    return count;
}

// Part of an outer product, in tiles whose sums stay in registers until a tree of additions reduces them together.
template <class T, int ROWS, int COLUMNS>
void outer_tiles(const Outer<T>& outer, int first_row, int last_row, int first_column, int last_column) {
    constexpr int size = (ROWS * COLUMNS + lanes<T> - 1) / lanes<T> * lanes<T>;
    const bool is_row = outer.column_step == 1 && (!outer.ones || outer.bias_column == outer.columns);
    for (int row = first_row; row < last_row; row += ROWS) {
        const T* a[ROWS];
        for (int r = 0; r < ROWS; ++r) a[r] = outer.a + (row + r < last_row ? row + r : last_row - 1) * outer.a_stride;
        const int rows = last_row - row < ROWS ? last_row - row : ROWS;
        for (int column = first_column; column < last_column; column += COLUMNS) {
            const T* b[COLUMNS];
            for (int c = 0; c < COLUMNS; ++c) {
                const int real = column + c < outer.columns ? column + c : outer.columns - 1;
                b[c] = outer.ones && column + c >= outer.columns ? outer.ones : outer.b + real * outer.b_stride;
            }
            V<T> sums[size] = {};
            for (int v = 0; v < outer.vectors; ++v) {
                V<T> factors[COLUMNS];
#pragma GCC unroll 16
                for (int c = 0; c < COLUMNS; ++c) factors[c] = load(b[c] + v * lanes<T>);
#pragma GCC unroll 16
                for (int r = 0; r < ROWS; ++r) {
                    const V<T> left = load(a[r] + v * lanes<T>);
#pragma GCC unroll 16
                    for (int c = 0; c < COLUMNS; ++c) sums[r * COLUMNS + c] += left * factors[c];
                }
            }
            alignas(64) T totals[size];
            constexpr int whole = ROWS * COLUMNS / lanes<T> * lanes<T>, left = ROWS * COLUMNS - whole;
#pragma GCC unroll 16
            for (int s = 0; s < whole; s += lanes<T>) store(totals + s, reduced_rows<T, Add>(sums + s));
            if constexpr (left > 0)
                store(totals + whole, reduced_rows<T, Add, together<T>(left)>(sums + whole));
            if (column + COLUMNS <= last_column && is_row) {
                for (int r = 0; r < rows; ++r)
                    std::memcpy(outer.gradient + (row + r) * outer.row_stride + column, totals + r * COLUMNS,
                                COLUMNS * sizeof(T));
                continue;
            }
            for (int c = 0; c < COLUMNS && column + c < last_column; ++c) {
                const int place = column + c == outer.columns ? outer.bias_column : (column + c) * outer.column_step;
                for (int r = 0; r < rows; ++r)
                    outer.gradient[(row + r) * outer.row_stride + place] = totals[r * COLUMNS + c];
            }
        }
    }
}

// Tiles whose sums fill the registers, and others for what they would leave over.
template <class T>
void outer_product(const Outer<T>& outer) {
    constexpr int rows = 4, columns = many_registers ? 4 : 3, size = rows * columns;
    const int all_columns = outer.columns + (outer.ones ? 1 : 0);
    if constexpr (many_registers) switch (outer.rows) {
            case 1: return outer_tiles<T, 1, 8>(outer, 0, 1, 0, all_columns);
            case 2: return outer_tiles<T, 2, 3>(outer, 0, 2, 0, all_columns);
            case 3: return outer_tiles<T, 3, 4>(outer, 0, 3, 0, all_columns);
            case 4: return outer_tiles<T, 4, 5>(outer, 0, 4, 0, all_columns);
            case 5: return outer_tiles<T, 5, 3>(outer, 0, 5, 0, all_columns);
        }
    else if (outer.rows < 4)
        return outer_tiles<T, 2, 4>(outer, 0, outer.rows, 0, all_columns);
    const bool small = outer.rows < 2 * rows;  // then more kinds of tiles cost more than they save
    const int rows_left = small ? 0 : outer.rows % rows, columns_left = small ? 0 : all_columns % columns;
    const int last_row = outer.rows - (rows_left < 3 ? rows_left : 0);
    if constexpr (many_registers) {
        const int wider = (columns_left == 1 || columns_left == 2) && all_columns > columns ? columns + columns_left : 0;
        outer_tiles<T, rows, columns>(outer, 0, last_row, 0, all_columns - wider);
        if (wider == 5) outer_tiles<T, rows, 5>(outer, 0, last_row, all_columns - 5, all_columns);
        if (wider == 6) outer_tiles<T, rows, 6>(outer, 0, last_row, all_columns - 6, all_columns);
    } else {
        const int last_column = all_columns - columns_left;
        outer_tiles<T, rows, columns>(outer, 0, last_row, 0, last_column);
        if (columns_left == 1) outer_tiles<T, size, 1>(outer, 0, last_row, last_column, all_columns);
        if (columns_left == 2) outer_tiles<T, size / 2, 2>(outer, 0, last_row, last_column, all_columns);
    }
    if (rows_left == 1) outer_tiles<T, 1, size>(outer, last_row, outer.rows, 0, all_columns);
    if (rows_left == 2) outer_tiles<T, 2, size / 2>(outer, last_row, outer.rows, 0, all_columns);
}

}  // namespace
}  // namespace INSTRUCTION_SET
}  // namespace jumpstart
