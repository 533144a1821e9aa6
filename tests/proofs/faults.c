/* A library to preload: it counts every call that changes files below one directory, and at a
   chosen one ends the process group, stops the process, answers an error, or does half of a
   write.

   PROOF_ROOT    the directory; calls elsewhere are not seen
   PROOF_COUNTS  a file of 64 zeroed 32-bit counters, shared by the process group
   PROOF_LOG     a file that gets a line a call: kind, n, result, errno, inode, path, path2
   PROOF_ALL     set: every call is logged; else only those that were struck
   PROOF_KIND, PROOF_AT   strike at the n-th call of that kind (from 1)
   PROOF_DO      kill | stop | short | an errno's number
   PROOF_THEN    after that, calls of these kinds (",write,create,") get the errno too

   Counting is one for the process group, whatever its threads: a ptracer counts by thread. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utime.h>

enum { CREATE, OPEN, READ, WRITE, PWRITE, RENAME, LINK, SYMLINK, UNLINK, MKDIR, RMDIR, CHMOD,
       UTIME, FSYNC, FDATASYNC, SYNCFS, TRUNCATE, COPY, CLONE, ALLOCATE, KINDS };
static const char *const NAMES[] = { "create", "open", "read", "write", "pwrite", "rename",
    "link", "symlink", "unlink", "mkdir", "rmdir", "chmod", "utime", "fsync", "fdatasync",
    "syncfs", "truncate", "copy", "clone", "allocate" };
enum { STRUCK = 63 }; /* the counter that says whether the strike was made */

static const char *root, *then, *logged;
static size_t root_length;
static uint32_t *counts;
static int all, kind_struck = -1, error_struck, kills, stops, shorts, ready;
static uint32_t at;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("PROOF_COUNTS"), *what = getenv("PROOF_DO");
    root = getenv("PROOF_ROOT");
    logged = getenv("PROOF_LOG");
    if (!root || !file || !logged) return;
    root_length = strlen(root);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    counts = mmap(NULL, 64 * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (counts == MAP_FAILED) return;
    all = getenv("PROOF_ALL") != NULL;
    then = getenv("PROOF_THEN");
    if (what) {
        const char *name = getenv("PROOF_KIND"), *n = getenv("PROOF_AT");
        for (int k = 0; name && k < KINDS; k++)
            if (!strcmp(NAMES[k], name)) kind_struck = k;
        at = n ? strtoul(n, NULL, 10) : 0;
        kills = !strcmp(what, "kill");
        stops = !strcmp(what, "stop");
        shorts = !strcmp(what, "short");
        error_struck = atoi(what);
    }
    ready = 1;
}

struct call { int kind; uint32_t n; char one[4352], two[4352]; };

static void say(struct call *c, long result, int code, unsigned long inode) {
    char line[9216];
    int length = snprintf(line, sizeof line, "%s\t%u\t%ld\t%d\t%lu\t%s\t%s\n", NAMES[c->kind], c->n,
                          result, code, inode, c->one, c->two);
    int fd = syscall(SYS_openat, AT_FDCWD, logged, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, (size_t)length);
        syscall(SYS_close, fd);
    }
}

static void name_fd(char *out, int fd) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = syscall(SYS_readlinkat, AT_FDCWD, link, out, 4351);
    out[got > 0 ? got : 0] = 0;
}

static void name_at(char *out, int dir, const char *path) {
    if (!path) path = "";
    if (path[0] == '/') { snprintf(out, 4352, "%s", path); return; }
    if (dir != AT_FDCWD) name_fd(out, dir);
    else if (syscall(SYS_getcwd, out, 4352) < 0) out[0] = 0;
    size_t have = strlen(out);
    snprintf(out + have, 4352 - have, "/%s", path);
}

static int below(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static unsigned long inode_at(const char *path) {
    struct stat s;
    return syscall(SYS_newfstatat, AT_FDCWD, path, &s, AT_SYMLINK_NOFOLLOW) ? 0 : s.st_ino;
}

static unsigned long inode_of(int fd) {
    struct stat s;
    return syscall(SYS_newfstatat, fd, "", &s, AT_EMPTY_PATH) ? 0 : s.st_ino;
}

/* What to do instead of the call: 0 nothing, -1 half of it, else the errno to answer. */
static int strike(struct call *c, unsigned long inode) {
    c->n = __atomic_add_fetch(&counts[c->kind], 1, __ATOMIC_SEQ_CST);
    int here = c->kind == kind_struck && c->n == at, code = 0;
    if (here && kills) {
        say(c, -1, 0, inode);
        __atomic_store_n(&counts[STRUCK], 1, __ATOMIC_SEQ_CST);
        syscall(SYS_kill, 0, SIGKILL);
        for (;;) syscall(SYS_pause);
    }
    if (here && stops) { /* to this thread: no other may take the signal while it goes on */
        say(c, -1, 0, inode);
        syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), SIGSTOP);
    }
    if (here && shorts) code = -1;
    else if (here) code = error_struck;
    else if (then && __atomic_load_n(&counts[STRUCK], __ATOMIC_SEQ_CST)) {
        char word[32];
        snprintf(word, sizeof word, ",%s,", NAMES[c->kind]);
        if (strstr(then, word)) code = error_struck;
    }
    if (here) __atomic_store_n(&counts[STRUCK], 1, __ATOMIC_SEQ_CST);
    if (code) say(c, -1, code, inode);
    return code;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, #name)

/* By paths: two of them, either may be NULL. The inode logged is of the name that is there after
   a call that makes one. */
#define PATHS(KIND, dir1, path1, dir2, path2, CALL) \
    if (!ready) return CALL; \
    int before = errno; \
    struct call c = { .kind = KIND }; \
    name_at(c.one, dir1, path1); \
    if (path2) name_at(c.two, dir2, path2); \
    if (!below(c.one) && !(path2 && below(c.two))) { errno = before; return CALL; } \
    int code = strike(&c, 0); \
    if (code > 0) { errno = code; return -1; } \
    errno = before; \
    int result = CALL; \
    if (all) { int e = errno; say(&c, result, result < 0 ? e : 0, inode_at(path2 ? c.two : c.one)); errno = e; } \
    return result

#define FDS(KIND, fd, type, CALL, HALF) \
    if (!ready) return CALL; \
    int before = errno; \
    struct call c = { .kind = KIND }; \
    name_fd(c.one, fd); \
    if (!below(c.one)) { errno = before; return CALL; } \
    int code = strike(&c, inode_of(fd)); \
    if (code > 0) { errno = code; return -1; } \
    errno = before; \
    type result = code < 0 ? HALF : CALL; \
    if (all) { int e = errno; say(&c, (long)result, result < 0 ? e : 0, inode_of(fd)); errno = e; } \
    return result

static int kind_of_open(int flags) {
    if (flags & O_CREAT) return CREATE;
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC ? OPEN : READ;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) {
    REAL(int, open, const char *, int, ...); MODE(flags)
    PATHS(kind_of_open(flags), AT_FDCWD, path, 0, NULL, real(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    REAL(int, open64, const char *, int, ...); MODE(flags)
    PATHS(kind_of_open(flags), AT_FDCWD, path, 0, NULL, real(path, flags, mode));
}
int openat(int dir, const char *path, int flags, ...) {
    REAL(int, openat, int, const char *, int, ...); MODE(flags)
    PATHS(kind_of_open(flags), dir, path, 0, NULL, real(dir, path, flags, mode));
}
int openat64(int dir, const char *path, int flags, ...) {
    REAL(int, openat64, int, const char *, int, ...); MODE(flags)
    PATHS(kind_of_open(flags), dir, path, 0, NULL, real(dir, path, flags, mode));
}
int creat(const char *path, mode_t mode) {
    REAL(int, creat, const char *, mode_t);
    PATHS(CREATE, AT_FDCWD, path, 0, NULL, real(path, mode));
}
ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, write, int, const void *, size_t);
    FDS(WRITE, fd, ssize_t, real(fd, data, n), real(fd, data, n > 1 ? n / 2 : n));
}
ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    FDS(WRITE, fd, ssize_t, real(fd, v, n), real(fd, v, n > 1 ? n / 2 : n));
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t where) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    FDS(PWRITE, fd, ssize_t, real(fd, data, n, where), real(fd, data, n > 1 ? n / 2 : n, where));
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t where) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    FDS(PWRITE, fd, ssize_t, real(fd, data, n, where), real(fd, data, n > 1 ? n / 2 : n, where));
}
int rename(const char *a, const char *b) {
    REAL(int, rename, const char *, const char *);
    PATHS(RENAME, AT_FDCWD, a, AT_FDCWD, b, real(a, b));
}
int renameat(int d, const char *a, int e, const char *b) {
    REAL(int, renameat, int, const char *, int, const char *);
    PATHS(RENAME, d, a, e, b, real(d, a, e, b));
}
int renameat2(int d, const char *a, int e, const char *b, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    PATHS(RENAME, d, a, e, b, real(d, a, e, b, flags));
}
int link(const char *a, const char *b) {
    REAL(int, link, const char *, const char *);
    PATHS(LINK, AT_FDCWD, a, AT_FDCWD, b, real(a, b));
}
int linkat(int d, const char *a, int e, const char *b, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    PATHS(LINK, d, a, e, b, real(d, a, e, b, flags));
}
int symlink(const char *to, const char *path) {
    REAL(int, symlink, const char *, const char *);
    PATHS(SYMLINK, AT_FDCWD, path, 0, NULL, real(to, path));
}
int symlinkat(const char *to, int dir, const char *path) {
    REAL(int, symlinkat, const char *, int, const char *);
    PATHS(SYMLINK, dir, path, 0, NULL, real(to, dir, path));
}
int unlink(const char *path) {
    REAL(int, unlink, const char *);
    PATHS(UNLINK, AT_FDCWD, path, 0, NULL, real(path));
}
int unlinkat(int dir, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    PATHS(flags & AT_REMOVEDIR ? RMDIR : UNLINK, dir, path, 0, NULL, real(dir, path, flags));
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    PATHS(MKDIR, AT_FDCWD, path, 0, NULL, real(path, mode));
}
int mkdirat(int dir, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    PATHS(MKDIR, dir, path, 0, NULL, real(dir, path, mode));
}
int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    PATHS(RMDIR, AT_FDCWD, path, 0, NULL, real(path));
}
int chmod(const char *path, mode_t mode) {
    REAL(int, chmod, const char *, mode_t);
    PATHS(CHMOD, AT_FDCWD, path, 0, NULL, real(path, mode));
}
int fchmodat(int dir, const char *path, mode_t mode, int flags) {
    REAL(int, fchmodat, int, const char *, mode_t, int);
    PATHS(CHMOD, dir, path, 0, NULL, real(dir, path, mode, flags));
}
int fchmod(int fd, mode_t mode) {
    REAL(int, fchmod, int, mode_t);
    FDS(CHMOD, fd, int, real(fd, mode), real(fd, mode));
}
int utimensat(int dir, const char *path, const struct timespec t[2], int flags) {
    REAL(int, utimensat, int, const char *, const struct timespec *, int);
    PATHS(UTIME, dir, path, 0, NULL, real(dir, path, t, flags));
}
int futimens(int fd, const struct timespec t[2]) {
    REAL(int, futimens, int, const struct timespec *);
    FDS(UTIME, fd, int, real(fd, t), real(fd, t));
}
int utimes(const char *path, const struct timeval t[2]) {
    REAL(int, utimes, const char *, const struct timeval *);
    PATHS(UTIME, AT_FDCWD, path, 0, NULL, real(path, t));
}
int utime(const char *path, const struct utimbuf *t) {
    REAL(int, utime, const char *, const struct utimbuf *);
    PATHS(UTIME, AT_FDCWD, path, 0, NULL, real(path, t));
}
int fsync(int fd) {
    REAL(int, fsync, int);
    FDS(FSYNC, fd, int, real(fd), real(fd));
}
int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    FDS(FDATASYNC, fd, int, real(fd), real(fd));
}
int syncfs(int fd) {
    REAL(int, syncfs, int);
    FDS(SYNCFS, fd, int, real(fd), real(fd));
}
int truncate(const char *path, off_t n) {
    REAL(int, truncate, const char *, off_t);
    PATHS(TRUNCATE, AT_FDCWD, path, 0, NULL, real(path, n));
}
int truncate64(const char *path, off64_t n) {
    REAL(int, truncate64, const char *, off64_t);
    PATHS(TRUNCATE, AT_FDCWD, path, 0, NULL, real(path, n));
}
int ftruncate(int fd, off_t n) {
    REAL(int, ftruncate, int, off_t);
    FDS(TRUNCATE, fd, int, real(fd, n), real(fd, n));
}
int ftruncate64(int fd, off64_t n) {
    REAL(int, ftruncate64, int, off64_t);
    FDS(TRUNCATE, fd, int, real(fd, n), real(fd, n));
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    FDS(COPY, out, ssize_t, real(in, from, out, to, n, flags), real(in, from, out, to, n > 1 ? n / 2 : n, flags));
}
ssize_t sendfile(int out, int in, off_t *from, size_t n) {
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    FDS(COPY, out, ssize_t, real(out, in, from, n), real(out, in, from, n > 1 ? n / 2 : n));
}
ssize_t sendfile64(int out, int in, off64_t *from, size_t n) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    FDS(COPY, out, ssize_t, real(out, in, from, n), real(out, in, from, n > 1 ? n / 2 : n));
}
int posix_fallocate(int fd, off_t from, off_t n) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    FDS(ALLOCATE, fd, int, real(fd, from, n), real(fd, from, n));
}
int fallocate(int fd, int mode, off_t from, off_t n) {
    REAL(int, fallocate, int, int, off_t, off_t);
    FDS(ALLOCATE, fd, int, real(fd, mode, from, n), real(fd, mode, from, n));
}
int ioctl(int fd, unsigned long request, ...) {
    REAL(int, ioctl, int, unsigned long, ...);
    va_list rest;
    va_start(rest, request);
    void *value = va_arg(rest, void *);
    va_end(rest);
    if (request != FICLONE && request != FICLONERANGE) return real(fd, request, value);
    FDS(CLONE, fd, int, real(fd, request, value), real(fd, request, value));
}
