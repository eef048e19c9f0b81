/* STREAM's triad (McCalpin, 1995): a[i] = b[i] + s*c[i] over arrays that no cache holds, 24 bytes an element.
 *
 *   gcc -O3 -march=native -fopenmp stream_triad.c -o stream_triad
 *   OMP_NUM_THREADS=2 ./stream_triad ELEMENTS REPEATS [nontemporal]
 *
 * Prints a line of GB/s (10^9 bytes) for each repeat. Arrays are aligned to pages and first touched by the threads that
 * use them. Plain stores, as STREAM has them; with the third word, stores that go past the caches where the compiler
 * has an intrinsic for them, as the vendors' tuned builds have.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

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

int main(int argc, char **argv) {
    if (argc < 3 || atol(argv[1]) < 8 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: %s ELEMENTS REPEATS [nontemporal]\n", argv[0]);
        return 2;
    }
    const long n = atol(argv[1]) / 8 * 8;
    const int repeats = atoi(argv[2]);
    const int past = argc > 3 && !strcmp(argv[3], "nontemporal");
    double *a = aligned_alloc(4096, (n * sizeof *a + 4095) / 4096 * 4096);
    double *b = aligned_alloc(4096, (n * sizeof *b + 4095) / 4096 * 4096);
    double *c = aligned_alloc(4096, (n * sizeof *c + 4095) / 4096 * 4096);
    if (!a || !b || !c) {
        fprintf(stderr, "no memory for three arrays of %ld numbers\n", n);
        return 1;
    }
#pragma omp parallel for schedule(static)
    for (long i = 0; i < n; i++) a[i] = 0.0, b[i] = 1.0 + i % 7, c[i] = 2.0 + i % 5;
    for (int r = -1; r < repeats; r++) { /* the first is not counted, as in STREAM */
        const double start = omp_get_wtime();
        (past ? triad_nontemporal : triad)(a, b, c, 3.0, n);
        const double seconds = omp_get_wtime() - start;
        if (r >= 0) printf("%.3f\n", 24e-9 * n / seconds);
    }
    for (long i = 0; i < n; i += 997)
        if (a[i] != (1.0 + i % 7) + 3.0 * (2.0 + i % 5)) {
            fprintf(stderr, "wrong at %ld\n", i);
            return 1;
        }
    return 0;
}
