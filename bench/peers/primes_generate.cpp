// The peer of kernels.primes: primesieve's generate_primes into a std::vector<int64_t>, on one core.
//
//   g++ -O3 -march=native primes_generate.cpp -lprimesieve -o primes_generate
//   ./primes_generate N [START] [REPEATS]
//
// Prints one line for each repeat, "seconds count last": wall seconds around the call alone (the vector's memory and its
// first touch included, its release not), how many primes there are in START .. N, and the largest of them.
// The version of primesieve goes to stderr. Exit code 2 where the arguments are no such numbers.

#include <primesieve.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

static bool number(const char* text, uint64_t* value) {
  char* end;
  *value = std::strtoull(text, &end, 10);
  return *text != '-' && *text != '\0' && *end == '\0';
}

int main(int argc, char** argv) {
  uint64_t n = 0, start = 2, repeats = 1;
  if (argc < 2 || argc > 4 || !number(argv[1], &n) || (argc > 2 && !number(argv[2], &start)) ||
      (argc > 3 && !number(argv[3], &repeats))) {
    std::fprintf(stderr, "usage: %s N [START] [REPEATS]\n", argv[0]);
    return 2;
  }
  std::fprintf(stderr, "primesieve %s\n", primesieve::primesieve_version().c_str());
  for (uint64_t i = 0; i < repeats; i++) {
    std::vector<int64_t> primes;
    auto begin = std::chrono::steady_clock::now();
    primesieve::generate_primes(start, n, &primes);
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::printf("%.6f %zu %lld\n", seconds.count(), primes.size(), primes.empty() ? 0LL : (long long)primes.back());
  }
}
