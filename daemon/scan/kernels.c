/* The compiled loops of the scan. What each computes, plainly, stands in kernels.py and cells.py.
 *
 * Pixels are summed up into cells of 8 x 8, and four of these make a patch, for which the sea around is known.
 * Lines of the image, rows of cells and rows of patches are kept in circles: line l lies at l mod the circle's
 * length, which is even for cells. All arrays are dense; the callers see to their sizes.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CELL 8
#define PATCH 2             /* cells to a side of a patch */
#define TILE 512            /* samples at a time: what lies between the loops stays in the first cache */
#define ROW (TILE + 32)

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline double mind(double a, double b) { return a < b ? a : b; }
static inline double maxd(double a, double b) { return a > b ? a : b; }
static inline float maxf(float a, float b) { return a > b ? a : b; }
static inline float square(uint16_t v) { float x = (float)v; return x * x; }

/* --- pixels to cells ----------------------------------------------------------------------------------- */

/* Sums of three squares down each column, for eight lines. */
FAST static void triples(const uint16_t *restrict const *r, int64_t n, float *restrict t) {
    const uint16_t *restrict r0 = r[0], *restrict r1 = r[1], *restrict r2 = r[2], *restrict r3 = r[3],
                   *restrict r4 = r[4], *restrict r5 = r[5], *restrict r6 = r[6], *restrict r7 = r[7],
                   *restrict r8 = r[8], *restrict r9 = r[9];
    for (int64_t i = 0; i < n; i++) {
        float q0 = square(r0[i]), q1 = square(r1[i]), q2 = square(r2[i]), q3 = square(r3[i]), q4 = square(r4[i]);
        float q5 = square(r5[i]), q6 = square(r6[i]), q7 = square(r7[i]), q8 = square(r8[i]), q9 = square(r9[i]);
        float p12 = q1 + q2, p34 = q3 + q4, p56 = q5 + q6, p78 = q7 + q8;
        t[i] = q0 + p12;
        t[ROW + i] = p12 + q3;
        t[2 * ROW + i] = q2 + p34;
        t[3 * ROW + i] = p34 + q5;
        t[4 * ROW + i] = q4 + p56;
        t[5 * ROW + i] = p56 + q7;
        t[6 * ROW + i] = q6 + p78;
        t[7 * ROW + i] = p78 + q9;
    }
}

/* How many of eight lines lie below a number, at each column. */
FAST static void count_below(const uint16_t *restrict const *r, const uint16_t *restrict bound, int64_t n,
                             uint16_t *restrict out) {
    const uint16_t *restrict r1 = r[1], *restrict r2 = r[2], *restrict r3 = r[3], *restrict r4 = r[4],
                   *restrict r5 = r[5], *restrict r6 = r[6], *restrict r7 = r[7], *restrict r8 = r[8];
    for (int64_t i = 0; i < n; i++) {
        uint16_t b = bound[i];
        out[i] = (uint16_t)((r1[i] < b) + (r2[i] < b) + (r3[i] < b) + (r4[i] < b) + (r5[i] < b) + (r6[i] < b) +
                            (r7[i] < b) + (r8[i] < b));
    }
}

/* Sum, sum of squares and maximum of s over the eight lines of each column. */
FAST static void columns(const float *restrict t, int64_t n, float *restrict total, float *restrict squares,
                         float *restrict peak) {
    for (int64_t i = 0; i < n; i++) {
        float a = 0, b = 0, c = 0;
        for (int k = 0; k < CELL; k++) {
            float s = t[k * ROW + i] + t[k * ROW + i + 1] + t[k * ROW + i + 2];
            a += s;
            b += s * s;
            c = maxf(c, s);
        }
        total[i] = a;
        squares[i] = b;
        peak[i] = c;
    }
}

/* Reduce eight columns to a cell, by halves. */
FAST static void across(const float *restrict t, int64_t cells, float *restrict half, float *restrict quarter,
                        float *restrict out) {
    for (int64_t i = 0; i < 4 * cells; i++) half[i] = t[2 * i] + t[2 * i + 1];
    for (int64_t i = 0; i < 2 * cells; i++) quarter[i] = half[2 * i] + half[2 * i + 1];
    for (int64_t i = 0; i < cells; i++) out[i] = quarter[2 * i] + quarter[2 * i + 1];
}

FAST static void across_max(const float *restrict t, int64_t cells, float *restrict half, float *restrict quarter,
                            float *restrict out) {
    for (int64_t i = 0; i < 4 * cells; i++) half[i] = maxf(t[2 * i], t[2 * i + 1]);
    for (int64_t i = 0; i < 2 * cells; i++) quarter[i] = maxf(half[2 * i], half[2 * i + 1]);
    for (int64_t i = 0; i < cells; i++) out[i] = maxf(quarter[2 * i], quarter[2 * i + 1]);
}

/* DN^2 < noise is DN < bound; the noise is that of patches. */
FAST static void bounds(const float *restrict noise, int64_t patches, uint64_t *restrict bound) {
    for (int64_t c = 0; c < patches; c++) {
        float b = sqrtf(noise[c] > 0 ? (noise[c] < 4.29e9f ? noise[c] : 4.29e9f) : 0);
        uint64_t whole = (uint64_t)(int32_t)b, four = 0x0001000100010001u * (whole + (b > (float)whole));
        bound[4 * c] = bound[4 * c + 1] = bound[4 * c + 2] = bound[4 * c + 3] = four;
    }
}

FAST static void across_counts(uint16_t *restrict t, int64_t cells, float *restrict out) {
    for (int64_t i = 0; i < cells; i++) {
        uint16_t total = 0;
        for (int k = 0; k < CELL; k++) total = (uint16_t)(total + t[CELL * i + k]);
        out[i] = (float)total;
    }
}

void sum_cells(const uint16_t *lines, int64_t circle_lines, int64_t samples, int64_t first_row, int64_t stop_row,
               int64_t total_lines, const float *noise, int64_t circle, int64_t cols, float *sums) {
    float t[8 * ROW], column[3 * ROW], half[ROW], quarter[ROW];
    uint16_t ones[ROW], counts[ROW];
    union {
        uint64_t wide[ROW / 4];
        uint16_t each[ROW];
    } bound;
    for (int64_t i = 0; i < ROW; i++) ones[i] = 1;
    for (int64_t row = first_row; row < stop_row; row++) {
        const uint16_t *at[10];
        for (int k = 0; k < 10; k++)
            at[k] = lines + min64(max64(row * CELL + k - 1, 0), total_lines - 1) % circle_lines * samples;
        int64_t here = row % circle;
        for (int64_t start = 0; start < samples; start += TILE) {
            int64_t stop = min64(start + TILE, samples), low = max64(start - 1, 0), high = min64(stop + 1, samples);
            int64_t col = start / CELL, cells = (stop + CELL - 1) / CELL - col, shift = low - start + 1;
            const uint16_t *r[10];
            for (int k = 0; k < 10; k++) r[k] = at[k] + low;
            triples(r, high - low, t + shift);
            for (int k = 0; k < CELL; k++) { /* pixels beyond the scene repeat its last ones */
                if (shift) t[k * ROW] = t[k * ROW + 1];
                for (int64_t i = high - start + 1; i < cells * CELL + 2; i++) t[k * ROW + i] = t[k * ROW + high - start];
            }
            columns(t, cells * CELL, column, column + ROW, column + 2 * ROW);
            float *out = sums + here * cols + col;
            int64_t plane = circle * cols;
            across(column, cells, half, quarter, out);
            across(column + ROW, cells, half, quarter, out + plane);
            across_max(column + 2 * ROW, cells, half, quarter, out + 2 * plane);
            for (int k = 0; k < 10; k++) r[k] = at[k] + start;
            bounds(noise + here / PATCH * ((cols + 1) / PATCH) + col / PATCH, (cells + 1) / PATCH, bound.wide);
            for (int which = 0; which < 2; which++) {
                count_below(r, which ? bound.each : ones, stop - start, counts);
                for (int64_t i = stop - start; i < cells * CELL; i++) counts[i] = counts[stop - start - 1];
                across_counts(counts, cells, out + (3 + which) * plane);
            }
        }
    }
}

/* --- the sea around cells ------------------------------------------------------------------------------ */

FAST static void add(int64_t *restrict total, const int64_t *restrict row, int64_t n) {
    for (int64_t i = 0; i < n; i++) total[i] += row[i];
}

FAST static void take(int64_t *restrict total, const int64_t *restrict row, int64_t n) {
    for (int64_t i = 0; i < n; i++) total[i] -= row[i];
}

/* Put (sign 1) or take off (-1) the sums of the columns at most `reach` away. */
FAST static void box(const int64_t *restrict columns_, int64_t cols, int64_t reach, int64_t *restrict upto,
                     int64_t *restrict out, int sign) {
    int64_t running = 0;
    for (int64_t i = 0; i <= reach; i++) upto[i] = 0;
    for (int64_t i = 0; i < cols; i++) upto[i + reach + 1] = running += columns_[i];
    for (int64_t i = cols + reach + 1; i < cols + 2 * reach + 1; i++) upto[i] = running;
    if (sign > 0)
        for (int64_t i = 0; i < cols; i++) out[i] = upto[i + 2 * reach + 1] - upto[i];
    else
        for (int64_t i = 0; i < cols; i++) out[i] -= upto[i + 2 * reach + 1] - upto[i];
}

int ring_sums(const int64_t *values, int64_t fields, int64_t circle, int64_t cols, int64_t first, int64_t stop,
              int64_t begin, int64_t end, int64_t guard, int64_t radius, int64_t *out) {
    int64_t *work = malloc((size_t)(3 * cols + 2 * radius + 1) * sizeof *work);
    if (!work) return 1;
    int64_t *outer = work, *inner = work + cols, *upto = work + 2 * cols;
    for (int64_t field = 0; field < fields; field++) {
        const int64_t *grid = values + field * circle * cols;
#define LINE(r) (grid + (r) % circle * cols)
        memset(outer, 0, (size_t)(2 * cols) * sizeof *work);
        for (int64_t row = max64(first - radius, begin); row < min64(first + radius, end); row++)
            add(outer, LINE(row), cols);
        for (int64_t row = max64(first - guard, begin); row < min64(first + guard, end); row++)
            add(inner, LINE(row), cols);
        for (int64_t row = first; row < stop; row++) {
            int64_t *here = out + (field * (stop - first) + row - first) * cols;
            if (row + radius < end) add(outer, LINE(row + radius), cols);
            if (row + guard < end) add(inner, LINE(row + guard), cols);
            box(outer, cols, radius, upto, here, 1);
            box(inner, cols, guard, upto, here, -1);
            if (row - radius >= begin) take(outer, LINE(row - radius), cols);
            if (row - guard >= begin) take(inner, LINE(row - guard), cols);
        }
#undef LINE
    }
    free(work);
    return 0;
}

/* Natural logarithm to 1e-7, of numbers above zero: 2 artanh((m - 1) / (m + 1)) + e ln 2 for x = m 2^e. */
static inline float logarithm(float x) {
    union {
        float f;
        int32_t i;
    } u = {x};
    int32_t e = (u.i - 0x3f3504f3) >> 23; /* so that m lies within the square root of 2 around 1 */
    u.i -= e << 23;
    float t = (u.f - 1) / (u.f + 1), t2 = t * t;
    float series = 2 + t2 * (2.0f / 3 + t2 * (2.0f / 5 + t2 * (2.0f / 7 + t2 * (2.0f / 9))));
    return t * series + (float)e * 0.693147181f;
}

FAST static void levels(const float *restrict peak, const float *restrict gain, int64_t cols, float *restrict out) {
    for (int64_t c = 0; c < cols; c++) out[c] = logarithm(maxf(peak[c] * gain[c] * (1 / 9.0f), 1e-12f));
}

/* Repeat each patch's number for its cells. */
static void widened(const float *restrict patches, int64_t cols, float *restrict cells) {
    for (int64_t c = 0; c < cols; c++) cells[c] = patches[c / PATCH];
}

FAST static void weigh_row(const uint8_t *restrict sea, const float *restrict level, int64_t cols, float unit,
                           int64_t *restrict count, int64_t *restrict total, int64_t *restrict squares) {
    for (int64_t p = 0; p < (cols + 1) / PATCH; p++) {
        int64_t c = PATCH * p, d = c + (c + 1 < cols), two = d - c;
        int64_t here = sea[c] ? (int32_t)(level[c] * unit) : 0, next = two && sea[d] ? (int32_t)(level[d] * unit) : 0;
        count[p] += sea[c] + two * sea[d];
        total[p] += here + next;
        squares[p] += here * here + next * next;
    }
}

int weigh_cells(int64_t first, int64_t stop, int64_t circle, int64_t cols, const float *sums, const float *gain,
                const uint8_t *sea, double unit, float *level, int64_t *fields) {
    int64_t across = (cols + 1) / PATCH, plane = circle / PATCH * across;
    float *wide = malloc((size_t)cols * sizeof *wide);
    if (!wide) return 1;
    for (int64_t row = first; row < stop; row++) {
        int64_t i = row % circle * cols, o = row % circle / PATCH * across;
        int64_t *here = fields + o;
        if (row % PATCH == 0) {
            for (int k = 0; k < 3; k++) memset(here + k * plane, 0, (size_t)across * sizeof *here);
            widened(gain + o, cols, wide);
        }
        levels(sums + 2 * circle * cols + i, wide, cols, level + i);
        weigh_row(sea + i, level + i, cols, (float)unit, here, here + plane, here + 2 * plane);
    }
    free(wide);
    return 0;
}

/* Up to which level the cells of each patch speak for the sea. */
FAST static void brightest_levels(const int64_t *restrict rings, int64_t plane, int64_t across, double sigmas,
                                  double unit, float *restrict out) {
    for (int64_t p = 0; p < across; p++) {
        double count = (double)max64(rings[p], 1), mean = (double)rings[plane + p] / count;
        double variance = maxd((double)rings[2 * plane + p] / count - mean * mean, 0.0);
        out[p] = (float)((mean + sigmas * sqrt(variance)) / unit);
    }
}

FAST static void keep_row(const uint8_t *restrict sea, const float *restrict level, const float *restrict brightest,
                          int64_t cols, uint8_t *restrict keep) {
    for (int64_t c = 0; c < cols; c++) keep[c] = sea[c] && level[c] <= brightest[c];
}

FAST static void sum_kept(const uint8_t *restrict keep, const float *restrict total, const float *restrict squares,
                          const float *restrict gain, int64_t cols, double most, double *restrict kept, int64_t across) {
    for (int64_t p = 0; p < across; p++) {
        double scale = gain[p] * (1 / 9.0), one = scale * (1.0 / (CELL * CELL)), two = scale * one;
        for (int64_t c = PATCH * p; c < min64(PATCH * (p + 1), cols); c++) {
            if (!keep[c]) continue;
            kept[p] += 1;
            kept[across + p] += mind(total[c] * one, most);
            kept[2 * across + p] += mind(squares[c] * two, most * most);
        }
    }
}

int trim_cells(int64_t first, int64_t stop, int64_t circle, int64_t cols, const int64_t *rings, double sigmas,
               const float *sums, const float *gain, const float *nesz, const uint8_t *sea, const float *level,
               double unit, double kept_unit, double brightest, int64_t *kept) {
    int64_t across = (cols + 1) / PATCH, plane = circle / PATCH * across;
    int64_t ring = (stop - first + 1) / PATCH * across;
    float *bound = malloc((size_t)(across + cols) * sizeof *bound), *wide = bound + across;
    double *sum = malloc((size_t)(3 * across) * sizeof *sum);
    uint8_t *keep = malloc((size_t)cols);
    int failed = !bound || !sum || !keep;
    for (int64_t row = first; !failed && row < stop; row += PATCH) {
        int64_t o = row % circle / PATCH * across;
        brightest_levels(rings + (row - first) / PATCH * across, ring, across, sigmas, unit, bound);
        widened(bound, cols, wide);
        memset(sum, 0, (size_t)(3 * across) * sizeof *sum);
        for (int64_t r = row; r < min64(row + PATCH, stop); r++) {
            int64_t i = r % circle * cols;
            keep_row(sea + i, level + i, wide, cols, keep);
            sum_kept(keep, sums + i, sums + circle * cols + i, gain + o, cols, brightest, sum, across);
        }
        for (int64_t p = 0; p < across; p++) {
            kept[o + p] = (int64_t)sum[p];
            kept[plane + o + p] = (int64_t)(sum[across + p] * kept_unit);
            kept[2 * plane + o + p] = (int64_t)(sum[2 * across + p] * kept_unit);
            kept[3 * plane + o + p] = (int64_t)(sum[p] * mind(nesz[o + p], brightest) * kept_unit);
        }
    }
    free(bound);
    free(sum);
    free(keep);
    return failed;
}

FAST void limit_patches(int64_t n, const int64_t *rings, int64_t least, double unit, const double *table,
                        int64_t shares, int64_t spreads, double share_step, double spread_step, float unknown,
                        float *sea) {
    for (int64_t o = 0; o < n; o++) {
        int64_t count = rings[o];
        if (count < least) {
            sea[o] = 0;
            sea[n + o] = unknown;
            sea[2 * n + o] = INFINITY;
            continue;
        }
        double share = 1.0 / ((double)count * unit);
        double mean = (double)rings[n + o] * share, noise = (double)rings[3 * n + o] * share;
        double spread = sqrt(maxd((double)rings[2 * n + o] * share - mean * mean, 0.0)) / maxd(mean, 1e-12);
        double x = mind(spread / spread_step, (double)spreads - 1.001);
        double y = mind(maxd(noise / maxd(mean, 1e-12) / share_step, 0.0), (double)shares - 1.001);
        int64_t j = (int64_t)x, i = (int64_t)y;
        double u = x - (double)j, v = y - (double)i;
        const double *low = table + i * spreads + j, *high = low + spreads;
        double factor = (1 - v) * (low[0] + u * (low[1] - low[0])) + v * (high[0] + u * (high[1] - high[0]));
        sea[o] = (float)(mean - noise);
        sea[n + o] = (float)spread;
        sea[2 * n + o] = (float)factor;
    }
}

int64_t cells_over(int64_t first, int64_t stop, int64_t circle, int64_t cols, const float *sums, const float *limits,
                   const uint8_t *searched, int64_t *places, float *limit) {
    int64_t across = (cols + 1) / PATCH, count = 0;
    for (int64_t row = first; row < stop; row++) {
        const float *peak = sums + (2 * circle + row % circle) * cols;
        const float *most = limits + (row - first) / PATCH * across;
        const uint8_t *looked = searched + (row - first) * cols;
        for (int64_t c = 0; c < cols; c++)
            if (looked[c] && peak[c] > most[c / PATCH]) {
                places[2 * count] = row;
                places[2 * count + 1] = c;
                limit[count++] = most[c / PATCH];
            }
    }
    return count;
}

int narrow_waters(const int64_t *places, int64_t n, int64_t begin, int64_t end, int64_t circle, int64_t cols,
                  int64_t guard, int64_t radius, int64_t least, double sigmas, const float *sums, const float *level,
                  const float *gain, const float *nesz, const uint8_t *water, float unknown, float *out) {
    int64_t side = PATCH * (2 * radius + 1), plane = circle * cols, across = (cols + 1) / PATCH;
    int64_t *at = malloc((size_t)(side * side) * sizeof *at);
    if (!at) return 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t row = places[2 * k] * PATCH, col = places[2 * k + 1] * PATCH, count = 0;
        int64_t x0 = max64(col - radius * PATCH, 0), x1 = min64(col + (radius + 1) * PATCH, cols);
        int64_t near0 = col - guard * PATCH, near1 = col + (guard + 1) * PATCH;
        double total = 0, total2 = 0;
        for (int64_t y = max64(row - radius * PATCH, begin); y < min64(row + (radius + 1) * PATCH, end); y++) {
            int near = y >= row - guard * PATCH && y < row + (guard + 1) * PATCH;
            int64_t line = y % circle * cols;
            for (int64_t x = x0; x < x1; x++) {
                if (!water[line + x] || (near && x >= near0 && x < near1)) continue;
                double here = level[line + x];
                at[count++] = line + x;
                total += here;
                total2 += here * here;
            }
        }
        out[k] = 0;
        out[n + k] = unknown;
        out[2 * n + k] = 0;
        if (count < least) continue;
        total /= (double)count;
        double brightest = total + sigmas * sqrt(maxd(total2 / (double)count - total * total, 0.0));
        double kept = 0, mean = 0, mean2 = 0, noise = 0;
        for (int64_t j = 0; j < count; j++) {
            int64_t i = at[j], p = i / cols / PATCH * across + i % cols / PATCH;
            if (level[i] > brightest) continue;
            double scale = gain[p] / 9.0;
            kept += 1;
            mean += sums[i] * scale / (CELL * CELL);
            mean2 += sums[plane + i] * scale * scale / (CELL * CELL);
            noise += nesz[p];
        }
        mean /= kept;
        noise /= kept;
        out[k] = (float)(mean - noise);
        out[n + k] = (float)(sqrt(maxd(mean2 / kept - mean * mean, 0.0)) / maxd(mean, 1e-12));
        out[2 * n + k] = (float)noise;
    }
    free(at);
    return 0;
}

/* --- pixels above their thresholds --------------------------------------------------------------------- */

/* Which of a cell's 8 x 8 pixels have land at most `reach` away, in line and in sample: bit 8 y + x. */
static uint64_t beside_land(int64_t row, int64_t col, int64_t reach, int64_t total_lines, const int64_t *first,
                            const int64_t *start, const int64_t *stop) {
    int64_t top = row * CELL, left = col * CELL;
    uint64_t mask = 0;
    for (int64_t line = max64(top - reach, 0); line < min64(top + CELL + reach, total_lines); line++) {
        int64_t low = first[line], high = first[line + 1];
        while (low < high) { /* the first run that ends within reach or beyond */
            int64_t middle = (low + high) / 2;
            if (stop[middle] <= left - reach) low = middle + 1;
            else high = middle;
        }
        uint64_t bits = 0;
        for (; low < first[line + 1] && start[low] < left + CELL + reach; low++) {
            int64_t x0 = max64(start[low] - reach - left, 0), x1 = min64(stop[low] - 1 + reach - left, CELL - 1);
            for (int64_t x = x0; x <= x1; x++) bits |= 1ull << x;
        }
        if (bits)
            for (int64_t y = max64(line - reach - top, 0); y <= min64(line + reach - top, CELL - 1); y++)
                mask |= bits << (CELL * y);
    }
    return mask;
}

/* The image around cells. */
typedef struct {
    const uint16_t *lines;
    int64_t circle, samples, total_lines;
} image;

/* s of a cell's 8 x 8 pixels; those beyond the scene have 0. */
static void sums_of(const image *scene, int64_t row, int64_t col, float *restrict s) {
    int64_t top = row * CELL, left = col * CELL, high = min64(CELL, scene->total_lines - top);
    int64_t wide = min64(CELL, scene->samples - left);
    float square_[CELL + 2][CELL + 2];
    for (int64_t y = -1; y <= high; y++) {
        const uint16_t *line = scene->lines + min64(max64(top + y, 0), scene->total_lines - 1) % scene->circle * scene->samples;
        float *out = square_[y + 1];
        for (int64_t x = 0; x < wide; x++) out[x + 1] = square(line[left + x]);
        out[0] = square(line[max64(left - 1, 0)]);
        out[wide + 1] = square(line[min64(left + wide, scene->samples - 1)]);
    }
    memset(s, 0, CELL * CELL * sizeof *s);
    for (int64_t y = 0; y < high; y++) {
        float column[CELL + 2];
        for (int64_t x = 0; x < wide + 2; x++) column[x] = square_[y][x] + square_[y + 1][x] + square_[y + 2][x];
        for (int64_t x = 0; x < wide; x++) s[CELL * y + x] = column[x] + column[x + 1] + column[x + 2];
    }
}

#define AHEAD 3 /* cells */

/* Ask for a cell's pixels, which have long left the cache. */
static void fetch(const image *scene, int64_t row, int64_t col) {
    for (int64_t line = max64(row * CELL - 1, 0); line < min64(row * CELL + CELL + 1, scene->total_lines); line++)
        __builtin_prefetch(scene->lines + line % scene->circle * scene->samples + col * CELL);
}

/* The brightest of a cell's pixels beside land. */
typedef struct {
    float peak; /* its s; negative without any, 0 where not worked out yet */
    int32_t line, sample;
} shore;

static shore shore_of(const float *s, int64_t row, int64_t col, uint64_t mask) {
    shore found = {-1, 0, 0};
    for (; mask; mask &= mask - 1) {
        int bit = __builtin_ctzll(mask);
        if (s[bit] > found.peak)
            found = (shore){s[bit], (int32_t)(row * CELL + bit / CELL), (int32_t)(col * CELL + bit % CELL)};
    }
    return found;
}

/* What was found in one row of cells, by cell, line and sample: bring it in the order of line and sample. */
static void by_line(int64_t n, int32_t *restrict found, float *restrict sums, uint8_t *restrict shaded,
                    int32_t *restrict room) {
    int64_t at[CELL + 1] = {0};
    float *sums_ = (float *)(room + 3 * n);
    uint8_t *shaded_ = (uint8_t *)(sums_ + n);
    memcpy(room, found, (size_t)(3 * n) * sizeof *found);
    memcpy(sums_, sums, (size_t)n * sizeof *sums);
    memcpy(shaded_, shaded, (size_t)n);
    for (int64_t i = 0; i < n; i++) at[room[3 * i + 1] % CELL + 1]++;
    for (int k = 0; k < CELL; k++) at[k + 1] += at[k];
    for (int64_t i = 0; i < n; i++) {
        int64_t to = at[room[3 * i + 1] % CELL]++;
        memcpy(found + 3 * to, room + 3 * i, 3 * sizeof *found);
        sums[to] = sums_[i];
        shaded[to] = shaded_[i];
    }
}

int64_t exceeding(const uint16_t *lines, int64_t circle, int64_t samples, int64_t total_lines, const int64_t *cells,
                  int64_t n, const float *limits, const uint8_t *ashore, int64_t rows, int64_t cols,
                  const int64_t *first, const int64_t *start, const int64_t *stop, int64_t reach, int64_t shade,
                  int32_t *found, float *sums, uint8_t *shaded, int64_t *left_out) {
    int64_t count = 0, row_begins = 0, far = (shade + CELL - 1) / CELL; /* cells that `shade` reaches over */
    int64_t low = max64(cells[0] - far, 0), high = min64(cells[2 * n - 2] + far + 1, rows);
    const image scene = {lines, circle, samples, total_lines};
    float s[CELL * CELL];
    shore *cache = calloc((size_t)((high - low) * cols), sizeof *cache);
    int32_t *room = malloc((size_t)(CELL * CELL * cols) * (4 * sizeof *room + sizeof *sums + 1));
    if (!cache || !room) {
        free(cache);
        free(room);
        return -1;
    }
    *left_out = 0;
    for (int64_t k = 0; k < n; k++) {
        int64_t row = cells[2 * k], col = cells[2 * k + 1], before = count;
        if (k && row != cells[2 * k - 2]) {
            by_line(count - row_begins, found + 3 * row_begins, sums + row_begins, shaded + row_begins, room);
            row_begins = count;
        }
        int by_land = ashore[row * cols + col];
        uint64_t mask = by_land ? beside_land(row, col, reach, total_lines, first, start, stop) : 0;
        *left_out += __builtin_popcountll(mask);
        if (k + AHEAD < n) fetch(&scene, cells[2 * (k + AHEAD)], cells[2 * (k + AHEAD) + 1]);
        sums_of(&scene, row, col, s);
        if (by_land) cache[(row - low) * cols + col] = shore_of(s, row, col, mask);
        for (int bit = 0; bit < CELL * CELL; bit++) {
            if (!(s[bit] > limits[k]) || (mask >> bit & 1)) continue;
            shaded[count] = 0;
            found[3 * count] = (int32_t)k;
            found[3 * count + 1] = (int32_t)(row * CELL + bit / CELL);
            found[3 * count + 2] = (int32_t)(col * CELL + bit % CELL);
            sums[count++] = s[bit];
        }
        if (!by_land || count == before) continue;
        for (int64_t y = max64(row - far, 0); y < min64(row + far + 1, rows); y++)
            for (int64_t x = max64(col - far, 0); x < min64(col + far + 1, cols); x++) {
                if (!ashore[y * cols + x]) continue;
                shore *near = cache + (y - low) * cols + x;
                if (near->peak == 0) {
                    mask = beside_land(y, x, reach, total_lines, first, start, stop);
                    if (mask) sums_of(&scene, y, x, s);
                    *near = shore_of(s, y, x, mask);
                }
                for (int64_t i = before; i < count; i++)
                    if (near->peak > sums[i] && llabs(near->line - found[3 * i + 1]) <= shade &&
                        llabs(near->sample - found[3 * i + 2]) <= shade)
                        shaded[i] = 1;
            }
    }
    by_line(count - row_begins, found + 3 * row_begins, sums + row_begins, shaded + row_begins, room);
    free(cache);
    free(room);
    return count;
}

/* --- clusters ------------------------------------------------------------------------------------------ */

static int64_t root(int64_t *parent, int64_t i) {
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

static void unite(int64_t *parent, int64_t i, int64_t j) {
    int64_t a = root(parent, i), b = root(parent, j);
    if (a < b) parent[b] = a;
    else parent[a] = b;
}

int64_t link_pixels(const int64_t *line, const int64_t *sample, int64_t n, int64_t gap, int64_t *label) {
    /* Pixels of a line in steps of at most gap are a run: two runs are joined where their ends come that near. */
    int64_t *parent = malloc((size_t)(4 * n + 2) * sizeof *parent), count = 0, runs = 0, rows = 0;
    if (!parent) return -1;
    int64_t *begins = parent + n, *stops = begins + n, *lines = stops + n; /* of runs, of runs, of lines in runs */
    for (int64_t i = 0; i < n; i++) {
        if (i && line[i] == line[i - 1] && sample[i] - sample[i - 1] <= gap) {
            stops[runs - 1] = i;
            continue;
        }
        if (!i || line[i] != line[i - 1]) lines[rows++] = runs;
        parent[runs] = runs;
        begins[runs] = stops[runs] = i;
        runs++;
    }
    lines[rows] = runs;
    for (int64_t k = 0; k < rows; k++)
        for (int64_t m = k + 1; m < rows && line[begins[lines[m]]] - line[begins[lines[k]]] <= gap; m++)
            for (int64_t i = lines[k], j = lines[m]; i < lines[k + 1] && j < lines[m + 1];) {
                if (sample[stops[j]] < sample[begins[i]] - gap) j++;
                else if (sample[stops[i]] < sample[begins[j]] - gap) i++;
                else {
                    unite(parent, i, j);
                    if (sample[stops[i]] < sample[stops[j]]) i++;
                    else j++;
                }
            }
    for (int64_t k = 0; k < runs; k++) { /* a component's root is its first run */
        int64_t at = root(parent, k);
        label[begins[k]] = at == k ? count++ : label[begins[at]];
        for (int64_t i = begins[k] + 1; i <= stops[k]; i++) label[i] = label[begins[k]];
    }
    free(parent);
    return count;
}

void sum_clusters(const int64_t *label, int64_t n, const int64_t *line, const int64_t *sample, const double *contrast,
                  double *sums, int64_t *brightest) {
    for (int64_t i = 0; i < n; i++) {
        double x = (double)sample[i], y = (double)line[i], weight = maxd(contrast[i] - 1, 1e-6);
        double *s = sums + 7 * label[i];
        int64_t *top = brightest + label[i];
        if (*top < 0) {
            double fresh[7] = {x, y, x + 1, y + 1, 0, 0, 0};
            memcpy(s, fresh, sizeof fresh);
            *top = i;
        }
        s[0] = mind(s[0], x);
        s[1] = mind(s[1], y);
        s[2] = maxd(s[2], x + 1);
        s[3] = maxd(s[3], y + 1);
        s[4] += weight;
        s[5] += weight * y;
        s[6] += weight * x;
        if (contrast[i] > contrast[*top]) *top = i;
    }
}
