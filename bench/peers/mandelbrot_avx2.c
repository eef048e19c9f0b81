/* mandelbrot, by hand: AVX2 intrinsics, two vectors of four pixels in flight, a test every iteration, no shortcut.
 *
 *   mandelbrot_avx2 HEIGHT WIDTH REAL IMAG VIEW_WIDTH MAX_ITER [REPEATS [FILE]]
 *
 * prints one line of JSON: median seconds of the repeats (CPU time of this thread, and wall), iterations, and a checksum
 * over the int32 image, which is equal to the kernel's to the bit; FILE receives that image, raw.
 * Build: gcc -O3 -march=native -mavx2 -ffp-contract=off mandelbrot_avx2.c -o mandelbrot_avx2
 * With -fopenmp it shares out its rows among OMP_NUM_THREADS threads; then only the wall time counts.
 * (-mprefer-vector-width has no say: every vector here is written out. Nothing may be fused: the answer is exact.)
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void mandelbrot(int32_t *image, long height, long width, double real, double imag, double step, long max_iter) {
    const __m256d four = _mm256_set1_pd(4.0), ramp = _mm256_set_pd(3, 2, 1, 0);
    const __m256d middle = _mm256_set1_pd((width - 1) / 2.0), d = _mm256_set1_pd(step), re = _mm256_set1_pd(real);
#pragma omp parallel for schedule(dynamic)
    for (long row = 0; row < height; row++) {
        const __m256d cy = _mm256_set1_pd(imag - (row - (height - 1) / 2.0) * step);
        for (long column = 0; column < width; column += 8) {
            const __m256d at0 = _mm256_add_pd(_mm256_set1_pd((double)column), ramp);
            const __m256d at1 = _mm256_add_pd(_mm256_set1_pd((double)column + 4), ramp);
            const __m256d cx0 = _mm256_add_pd(re, _mm256_mul_pd(_mm256_sub_pd(at0, middle), d));
            const __m256d cx1 = _mm256_add_pd(re, _mm256_mul_pd(_mm256_sub_pd(at1, middle), d));
            __m256d x0 = _mm256_setzero_pd(), y0 = x0, x1 = x0, y1 = x0, xx0 = x0, yy0 = x0, xx1 = x0, yy1 = x0;
            __m256i count0 = _mm256_setzero_si256(), count1 = count0;
            __m256d in0 = _mm256_castsi256_pd(_mm256_set1_epi64x(-1)), in1 = in0;
            for (long n = 0; n < max_iter; n++) {
                /* A lane that is out stays out, whatever it overflows to. */
                count0 = _mm256_sub_epi64(count0, _mm256_castpd_si256(in0));
                count1 = _mm256_sub_epi64(count1, _mm256_castpd_si256(in1));
                y0 = _mm256_add_pd(_mm256_mul_pd(_mm256_add_pd(x0, x0), y0), cy);
                y1 = _mm256_add_pd(_mm256_mul_pd(_mm256_add_pd(x1, x1), y1), cy);
                x0 = _mm256_add_pd(_mm256_sub_pd(xx0, yy0), cx0);
                x1 = _mm256_add_pd(_mm256_sub_pd(xx1, yy1), cx1);
                xx0 = _mm256_mul_pd(x0, x0), yy0 = _mm256_mul_pd(y0, y0);
                xx1 = _mm256_mul_pd(x1, x1), yy1 = _mm256_mul_pd(y1, y1);
                in0 = _mm256_and_pd(in0, _mm256_cmp_pd(_mm256_add_pd(xx0, yy0), four, _CMP_LE_OQ));
                in1 = _mm256_and_pd(in1, _mm256_cmp_pd(_mm256_add_pd(xx1, yy1), four, _CMP_LE_OQ));
                if (_mm256_movemask_pd(_mm256_or_pd(in0, in1)) == 0) break;
            }
            int64_t counts[8];
            _mm256_storeu_si256((__m256i *)counts, count0);
            _mm256_storeu_si256((__m256i *)(counts + 4), count1);
            for (long i = 0; i < 8 && column + i < width; i++) image[row * width + column + i] = (int32_t)counts[i];
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: %s HEIGHT WIDTH REAL IMAG VIEW_WIDTH MAX_ITER [REPEATS [FILE]]\n", argv[0]);
        return 2;
    }
    const long height = atol(argv[1]), width = atol(argv[2]), max_iter = atol(argv[6]);
    const double real = atof(argv[3]), imag = atof(argv[4]), view = atof(argv[5]);
    int repeats = argc > 7 ? atoi(argv[7]) : 3;
    if (repeats < 1) repeats = 1;
    if (repeats > 100) repeats = 100;
    int32_t *image = malloc(sizeof *image * height * width);
    if (image == NULL || height < 1 || width < 1) return 1;
    memset(image, 0, sizeof *image * height * width);
    double seconds[100], walls[100];
    mandelbrot(image, height < 8 ? height : 8, width, real, imag, view / width, 8); /* wake the clock, and the threads */
    for (int i = 0; i < repeats; i++) {
        const double wall = seconds_of(CLOCK_MONOTONIC), cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        mandelbrot(image, height, width, real, imag, view / width, max_iter);
        seconds[i] = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
        walls[i] = seconds_of(CLOCK_MONOTONIC) - wall;
    }
    qsort(seconds, repeats, sizeof *seconds, by_size);
    qsort(walls, repeats, sizeof *walls, by_size);
    int64_t iterations = 0;
    uint64_t checksum = 0;
    for (long i = 0; i < height * width; i++) {
        iterations += image[i];
        checksum = checksum * 31 + (uint64_t)image[i];
    }
    printf("{\"seconds\": %.9f, \"wall\": %.9f, \"iterations\": %lld, \"checksum\": %llu}\n", seconds[repeats / 2],
           walls[repeats / 2], (long long)iterations, (unsigned long long)checksum);
    if (argc > 8) {
        FILE *file = fopen(argv[8], "wb");
        if (file == NULL || fwrite(image, sizeof *image, height * width, file) != (size_t)(height * width)) return 1;
        fclose(file);
    }
    return 0;
}
