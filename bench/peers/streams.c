/* What memory gives to C: STREAM's triad (McCalpin, 1995), a[i] = b[i] + s*c[i], 24 bytes an element; or reading alone.
 *
 *   gcc -O3 -march=native -fopenmp streams.c -o streams
 *   OMP_NUM_THREADS=2 ./streams ELEMENTS REPEATS [nontemporal | reads]
 *
 * Prints a line of GB/s (10^9 bytes) for each repeat. Arrays are aligned to pages, in huge ones where the system has
 * them (numpy asks for them, too), and first touched by the threads that use them. Plain stores, as STREAM has them;
 * with `nontemporal` stores that go past the caches where the compiler has an intrinsic for them, as the vendors' tuned
 * builds have; with `reads` the sum of one array, 8 bytes an element: what a kernel that hardly writes can reach.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __AVX__
#include <immintrin.h>
#endif

static double *pages(long n) {
    const size_t huge = 2 << 20, size = (n * sizeof(double) + huge - 1) / huge * huge;
    double *array = aligned_alloc(huge, size);
    if (!array) {
        fprintf(stderr, "no memory for arrays of %ld numbers\n", n);
        exit(1);
    }
#ifdef MADV_HUGEPAGE
    madvise(array, size, MADV_HUGEPAGE);
#endif
    return array;
}

static void triad(double *restrict a, const double *restrict b, const double *restrict c, double s, long n) {
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

static void triad_nontemporal(double *restrict a, const double *restrict b, const double *restrict c, double s, long n) {
#if defined(__AVX512F__)
    const __m512d scale = _mm512_set1_pd(s);
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i += 8)
        _mm512_stream_pd(a + i, _mm512_fmadd_pd(scale, _mm512_load_pd(c + i), _mm512_load_pd(b + i)));
#elif defined(__AVX__)
    const __m256d scale = _mm256_set1_pd(s);
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i += 4)
        _mm256_stream_pd(a + i, _mm256_add_pd(_mm256_mul_pd(scale, _mm256_load_pd(c + i)), _mm256_load_pd(b + i)));
#else
    triad(a, b, c, s, n);
#endif
}

/* In 64 sums, so that no addition waits for the one before. */
static double sum(const double *b, long n) {
    double total = 0;
#pragma omp parallel reduction(+ : total)
    {
        double part[64] = {0};
#pragma omp for schedule(static)
        for (long i = 0; i < n - 63; i += 64)
            for (long k = 0; k < 64; k++) part[k] += b[i + k];
        for (long k = 0; k < 64; k++) total += part[k];
    }
    for (long i = n / 64 * 64; i < n; i++) total += b[i];
    return total;
}

int main(int argc, char **argv) {
    if (argc < 3 || atol(argv[1]) < 8 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: %s ELEMENTS REPEATS [nontemporal | reads]\n", argv[0]);
        return 2;
    }
    const long n = atol(argv[1]) / 8 * 8;
    const int repeats = atoi(argv[2]);
    const int past = argc > 3 && !strcmp(argv[3], "nontemporal"), reads = argc > 3 && !strcmp(argv[3], "reads");
    double *a = pages(n), *b = pages(n), *c = pages(n), total = 0, right = 0;
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) a[i] = 0.0, b[i] = 1.0 + i % 7, c[i] = 2.0 + i % 5;
    for (int r = -1; r < repeats; r++) { /* the first is not counted, as in STREAM */
        const double start = omp_get_wtime();
        if (reads)
            total = sum(b, n);
        else
            (past ? triad_nontemporal : triad)(a, b, c, 3.0, n);
        const double seconds = omp_get_wtime() - start;
        if (r >= 0) printf("%.3f\n", (reads ? 8e-9 : 24e-9) * n / seconds);
    }
    for (long i = 0; i < n; i++) right += 1.0 + i % 7; /* exact: whole numbers below 2^53 */
    int wrong = reads && total != right;
    for (long i = 0; i < n && !reads; i += 997) wrong |= a[i] != (1.0 + i % 7) + 3.0 * (2.0 + i % 5);
    if (wrong) fprintf(stderr, "wrong answer\n");
    return wrong;
}
