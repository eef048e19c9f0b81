/* primesieve's generate_primes into std::vector<int64_t>: for each line "START STOP THREADS" of its input, one of JSON.
 *
 *   g++ -O3 -march=native -pthread primesieve_lists.cpp -lprimesieve -o primesieve_lists
 *   echo 0 1000000000 1 | ./primesieve_lists
 *
 * Prints seconds (wall, of the lists alone: the vectors are new each time, as a caller's are), how many primes, and two
 * sums modulo 2^64: of the primes, and of each times its place. generate_primes has no threads of its own; with more
 * than one, each has an equal part of the numbers and a vector of its own, and nobody pays for joining them.
 */
#include <primesieve.hpp>

#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

static std::vector<std::vector<int64_t>> generate(uint64_t start, uint64_t stop, uint64_t parts) {
    std::vector<std::vector<int64_t>> lists(parts);
    const auto fill = [&](uint64_t part) {
        const uint64_t each = (stop - start) / parts + 1, low = start + part * each;
        if (low <= stop) primesieve::generate_primes(low, low + each - 1 < stop ? low + each - 1 : stop, &lists[part]);
    };
    std::vector<std::thread> others;
    for (uint64_t part = 1; part < parts; part++) others.emplace_back(fill, part);
    fill(0);
    for (std::thread &other : others) other.join();
    return lists;
}

int main() {
    uint64_t start, stop, threads;
    while (std::scanf("%" SCNu64 " %" SCNu64 " %" SCNu64, &start, &stop, &threads) == 3 && threads > 0) {
        const auto began = std::chrono::steady_clock::now();
        const auto lists = generate(start, stop, threads);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
        uint64_t count = 0, sum = 0, placed = 0;
        for (const auto &list : lists)
            for (const int64_t prime : list) count++, sum += prime, placed += count * prime;
        std::printf("{\"seconds\": %.9f, \"count\": %" PRIu64 ", \"sum\": %" PRIu64 ", \"placed\": %" PRIu64
                    ", \"version\": \"%s\"}\n",
                    seconds.count(), count, sum, placed, primesieve::primesieve_version().c_str());
        std::fflush(stdout);
    }
    return 0;
}
