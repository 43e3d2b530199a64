// Writes so many bytes of lines to standard output as fast as it is read, and then how long that took.
//   flood BYTES LINE-LENGTH RESULT-FILE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    long long left = atoll(argv[1]);
    int length = atoi(argv[2]);
    static char block[65536];
    for (size_t i = 0; i < sizeof block; i++) block[i] = (i + 1) % length == 0 ? '\n' : 'a' + i % 26;
    long long began = now();
    while (left > 0) {
        ssize_t count = write(1, block, left < (long long)sizeof block ? (size_t)left : sizeof block);
        if (count <= 0) return 1;
        left -= count;
    }
    long long took = now() - began;
    FILE *file = fopen(argv[3], "w");
    if (file == NULL) return 1;
    fprintf(file, "%lld\n", took);
    return fclose(file) == 0 ? 0 : 1;
}
