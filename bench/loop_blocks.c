/* Counts the CPU time of each pass of an event loop: from one return of epoll_pwait to its next call.
 *
 * Loaded into a front by LD_PRELOAD (bench/loop_blocks.py). CPU time, because it does not depend on what else
 * runs on the machine. Passes of at least LEAST go to $MODELSWAP_BENCH_BLOCKS/<pid>, as two 64-bit
 * numbers: when it ended (CLOCK_MONOTONIC) and its CPU time, in nanoseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LEAST 100000 /* ns: what is shorter is no delay */

static int file = -1;
static int64_t began;
static int (*next)(int, struct epoll_event *, int, int, const sigset_t *);

static int64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void open_file(void) {
    char path[4096];
    const char *folder = getenv("MODELSWAP_BENCH_BLOCKS");
    next = dlsym(RTLD_NEXT, "epoll_pwait");
    if (folder == NULL) return;
    snprintf(path, sizeof path, "%s/%d", folder, (int)getpid());
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout, const sigset_t *mask) {
    if (next == NULL) open_file();
    if (began && gettid() == getpid()) {
        int64_t pass[2] = {now(CLOCK_MONOTONIC), now(CLOCK_THREAD_CPUTIME_ID) - began};
        if (pass[1] >= LEAST && file >= 0 && write(file, pass, sizeof pass) < 0) file = -1;
    }
    int count = next(fd, events, most, timeout, mask);
    if (gettid() == getpid()) began = now(CLOCK_THREAD_CPUTIME_ID);
    return count;
}
