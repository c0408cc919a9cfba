/* Loaded before the C library: makes chosen writes below one folder fail, as on a full or broken disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char root[PATH_MAX];
static long seen, nth;
static int lasting, code;

/* From now on the nth write below the folder fails with this error, and if `on` is set, all that follow. 0: none. */
void fail_at(const char *folder, long number, int error, int on) {
    snprintf(root, sizeof root, "%s/", folder);
    seen = 0, nth = number, code = error, lasting = on;
}

/* How many writes below the folder there were since. */
long writes_seen(void) { return seen; }

static int fails_at(const char *path) {
    if (!root[0] || strncmp(path, root, strlen(root))) return 0;
    seen++;
    if (!nth || (lasting ? seen < nth : seen != nth)) return 0;
    errno = code;
    return 1;
}

static int fails(int descriptor) {
    char link[64], path[PATH_MAX];
    if (!root[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails_at(path);
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int d, const void *b, size_t n) { REAL(write); return fails(d) ? -1 : real(d, b, n); }
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { REAL(pwrite); return fails(d) ? -1 : real(d, b, n, o); }
ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { REAL(pwrite64); return fails(d) ? -1 : real(d, b, n, o); }
int fsync(int d) { REAL(fsync); return fails(d) ? -1 : real(d); }
int fdatasync(int d) { REAL(fdatasync); return fails(d) ? -1 : real(d); }
int ftruncate(int d, off_t n) { REAL(ftruncate); return fails(d) ? -1 : real(d, n); }
int ftruncate64(int d, off64_t n) { REAL(ftruncate64); return fails(d) ? -1 : real(d, n); }
int rename(const char *from, const char *to) { REAL(rename); return fails_at(to) ? -1 : real(from, to); }
