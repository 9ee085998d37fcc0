/* Loaded before the C library (LD_PRELOAD): writes down, in order, what a process does to the files below one folder and
 * what it says on standard output, and ends the process at a chosen moment, as a power cut would.
 *
 * POWER_FOLDER: the folder, as an absolute path without symbolic links.
 * POWER_TRACE:  the file that is written; it must not lie in that folder.
 * POWER_OPERATIONS, POWER_MILLISECONDS: the process ends at the first change that comes after so many, or after so much
 * time, whichever is reached first.
 *
 * A record is a `struct record`, then `path_bytes` of path, then `data_bytes` of data; trace.rs reads them. One lock is
 * held from each operation to its record, so that the order is the true one. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind {
    OPENED = 1,   /* path; offset: 1 created, 2 emptied, 4 a folder */
    CLOSED = 2,
    WROTE = 3,    /* offset, data */
    RESIZED = 4,  /* offset: the new length */
    SYNCED = 5,
    REMOVED = 6,  /* path */
    RENAMED = 7,  /* path, data: the new path */
    MADE = 8,     /* path of a folder */
    EXTENDED = 9, /* offset: the length that is at least there */
    SAID = 10,    /* data: bytes for standard output */
    CUT = 11,
    UNKNOWN = 12, /* path: what this layer does not know how to undo */
};

struct record {
    uint32_t kind;
    int32_t fd;
    int64_t offset;
    uint64_t time_ns;
    uint32_t path_bytes;
    uint32_t data_bytes;
};

/* Exit status of a process whose power was cut. */
#define CUT_STATUS 86
#define FDS_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_bytes;
static int trace = -1;
static uint64_t operations, operations_max = UINT64_MAX, cut_at_ns = UINT64_MAX;
/* What each descriptor is: 0 not ours, 1 ours, 2 shared memory, which does not outlive the power. */
static unsigned char kinds[FDS_MAX];

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static uint64_t now_ns(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void give_up(const char *why) {
    dprintf(2, "power layer: %s: %s\n", why, strerror(errno));
    _exit(87);
}

__attribute__((constructor)) static void start(void) {
    const char *at = getenv("POWER_FOLDER"), *to = getenv("POWER_TRACE");
    if (!at || !to) return;
    folder_bytes = strlen(at);
    if (folder_bytes >= sizeof folder) give_up("the folder's path is too long");
    memcpy(folder, at, folder_bytes + 1);
    trace = (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) give_up("cannot make the trace");
    const char *most = getenv("POWER_OPERATIONS"), *time = getenv("POWER_MILLISECONDS");
    if (most) operations_max = strtoull(most, NULL, 10);
    if (time) cut_at_ns = now_ns() + strtoull(time, NULL, 10) * 1000000u;
}

static int is_below(const char *path) {
    return trace >= 0 && strncmp(path, folder, folder_bytes) == 0 &&
           (path[folder_bytes] == '/' || path[folder_bytes] == 0);
}

static int is_shared_memory(const char *path) {
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, "-shm") == 0;
}

static int is_ours(int fd) { return fd >= 0 && fd < FDS_MAX && kinds[fd] == 1; }

/* The path behind a descriptor. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

/* `name` as seen from `dirfd`, as an absolute path. */
static int resolve(int dirfd, const char *name, char *path) {
    if (name[0] == '/') return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    char from[PATH_MAX];
    if (dirfd == AT_FDCWD) {
        if (syscall(SYS_getcwd, from, sizeof from) < 0) return 0;
    } else if (!path_of(dirfd, from)) {
        return 0;
    }
    return snprintf(path, PATH_MAX, "%s/%s", from, name) < PATH_MAX;
}

static void put(enum kind kind, int fd, int64_t offset, const char *path, const void *data, size_t data_bytes) {
    struct record record = {kind, fd, offset, now_ns(), path ? (uint32_t)strlen(path) : 0, (uint32_t)data_bytes};
    struct iovec parts[3] = {{&record, sizeof record}, {(void *)path, record.path_bytes}, {(void *)data, data_bytes}};
    size_t all = sizeof record + record.path_bytes + data_bytes;
    if (syscall(SYS_writev, trace, parts, 3) != (ssize_t)all) give_up("cannot write the trace");
}

/* Before each change: ends the process when its time has come. */
static void count(void) {
    operations++;
    if (operations >= operations_max || now_ns() >= cut_at_ns) {
        put(CUT, -1, (int64_t)operations, NULL, NULL, 0);
        _exit(CUT_STATUS);
    }
}

static int opened(int dirfd, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (trace < 0 || !resolve(dirfd, name, path) || !is_below(path))
        return (int)syscall(SYS_openat, dirfd, name, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat status;
    int is_new = fstatat(AT_FDCWD, path, &status, 0) != 0;
    int changes = ((flags & O_CREAT) && is_new) || (flags & O_TRUNC);
    if (changes && !is_shared_memory(path)) count();
    int fd = (int)syscall(SYS_openat, dirfd, name, flags, mode);
    int error = errno;
    if (fd >= FDS_MAX) give_up("too many open files");
    if (fd >= 0) {
        kinds[fd] = is_shared_memory(path) ? 2 : 1;
        fstat(fd, &status);
        int64_t how = ((flags & O_CREAT) && is_new ? 1 : 0) | (flags & O_TRUNC ? 2 : 0) | (S_ISDIR(status.st_mode) ? 4 : 0);
        if (kinds[fd] == 1) put(OPENED, fd, how, path, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = (mode_t)va_arg(more, int); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int openat(int dirfd, const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    return opened(dirfd, path, flags, mode);
}
int openat64(int dirfd, const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    return opened(dirfd, path, flags | O_LARGEFILE, mode);
}
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) {
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode);
}

int close(int fd) {
    if (fd < 0 || fd >= FDS_MAX || !kinds[fd]) return (int)syscall(SYS_close, fd);
    pthread_mutex_lock(&lock);
    if (kinds[fd] == 1) put(CLOSED, fd, 0, NULL, NULL, 0);
    kinds[fd] = 0;
    int result = (int)syscall(SYS_close, fd);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

/* A descriptor for the same file cannot be told from the first in the trace. */
static void no_copies(int fd) {
    if (is_ours(fd)) {
        char path[PATH_MAX] = "a copied descriptor";
        put(UNKNOWN, fd, 0, path, NULL, 0);
    }
}
int dup(int fd) {
    no_copies(fd);
    return (int)syscall(SYS_dup, fd);
}

static ssize_t wrote(int fd, const struct iovec *parts, int count_of_parts, off_t offset, int is_placed) {
    size_t all = 0;
    for (int i = 0; i < count_of_parts; i++) all += parts[i].iov_len;
    char *data = malloc(all ? all : 1);
    if (!data) give_up("no memory");
    size_t at = 0;
    for (int i = 0; i < count_of_parts; i++) {
        memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    pthread_mutex_lock(&lock);
    if (fd == 1) {
        /* What is said comes after what was done. */
        put(SAID, fd, 0, NULL, data, all);
    } else {
        count();
        if (!is_placed) {
            int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
            offset = (off_t)syscall(SYS_lseek, fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
        }
    }
    ssize_t result;
    if (is_placed)
        result = syscall(SYS_pwrite64, fd, data, all, offset);
    else
        result = syscall(SYS_write, fd, data, all);
    int error = errno;
    if (fd != 1 && result > 0) put(WROTE, fd, offset, NULL, data, (size_t)result);
    pthread_mutex_unlock(&lock);
    free(data);
    errno = error;
    return result;
}

ssize_t write(int fd, const void *data, size_t bytes) {
    if (!is_ours(fd) && (fd != 1 || trace < 0)) return syscall(SYS_write, fd, data, bytes);
    struct iovec part = {(void *)data, bytes};
    return wrote(fd, &part, 1, 0, 0);
}
ssize_t writev(int fd, const struct iovec *parts, int parts_count) {
    if (!is_ours(fd) && (fd != 1 || trace < 0)) return syscall(SYS_writev, fd, parts, parts_count);
    return wrote(fd, parts, parts_count, 0, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
    if (!is_ours(fd)) return syscall(SYS_pwrite64, fd, data, bytes, offset);
    struct iovec part = {(void *)data, bytes};
    return wrote(fd, &part, 1, offset, 1);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) { return pwrite64(fd, data, bytes, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int parts_count, off64_t offset) {
    if (!is_ours(fd)) {
        REAL(pwritev64);
        return real(fd, parts, parts_count, offset);
    }
    return wrote(fd, parts, parts_count, offset, 1);
}
ssize_t pwritev(int fd, const struct iovec *parts, int parts_count, off_t offset) {
    return pwritev64(fd, parts, parts_count, offset);
}

#define CHANGE(fd, call, record) \
    pthread_mutex_lock(&lock); \
    count(); \
    int result = (int)(call); \
    int error = errno; \
    if (result == 0) record; \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return result

int ftruncate64(int fd, off64_t length) {
    if (!is_ours(fd)) return (int)syscall(SYS_ftruncate, fd, length);
    CHANGE(fd, syscall(SYS_ftruncate, fd, length), put(RESIZED, fd, length, NULL, NULL, 0));
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (!is_ours(fd)) return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    if (mode) {
        /* Whoever wants holes can do without. */
        errno = EOPNOTSUPP;
        return -1;
    }
    CHANGE(fd, syscall(SYS_fallocate, fd, mode, offset, length), put(EXTENDED, fd, offset + length, NULL, NULL, 0));
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

int fsync(int fd) {
    if (!is_ours(fd)) return (int)syscall(SYS_fsync, fd);
    /* The real disk need not be waited for: the trace says what would be on it. */
    CHANGE(fd, 0, put(SYNCED, fd, 0, NULL, NULL, 0));
}
int fdatasync(int fd) {
    if (!is_ours(fd)) return (int)syscall(SYS_fdatasync, fd);
    CHANGE(fd, 0, put(SYNCED, fd, 0, NULL, NULL, 0));
}

static int removed(int dirfd, const char *name, int flags) {
    char path[PATH_MAX];
    if (trace < 0 || !resolve(dirfd, name, path) || !is_below(path) || is_shared_memory(path))
        return (int)syscall(SYS_unlinkat, dirfd, name, flags);
    CHANGE(-1, syscall(SYS_unlinkat, dirfd, name, flags), put(REMOVED, -1, 0, path, NULL, 0));
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int dirfd, const char *path, int flags) { return removed(dirfd, path, flags); }
int remove(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

static int renamed(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX];
    if (trace < 0 || !resolve(from_dir, from, old) || !resolve(to_dir, to, new) || (!is_below(old) && !is_below(new)))
        return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    CHANGE(-1, syscall(SYS_renameat2, from_dir, from, to_dir, to, flags),
           put(RENAMED, -1, flags, old, new, strlen(new)));
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renamed(from_dir, from, to_dir, to, 0);
}
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return renamed(from_dir, from, to_dir, to, flags);
}

static int made(int dirfd, const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (trace < 0 || !resolve(dirfd, name, path) || !is_below(path))
        return (int)syscall(SYS_mkdirat, dirfd, name, mode);
    CHANGE(-1, syscall(SYS_mkdirat, dirfd, name, mode), put(MADE, -1, 0, path, NULL, 0));
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int dirfd, const char *path, mode_t mode) { return made(dirfd, path, mode); }

/* Whoever copies within the kernel copies by hand instead. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t bytes, unsigned flags) {
    if (!is_ours(out)) return syscall(SYS_copy_file_range, in, in_at, out, out_at, bytes, flags);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t bytes) {
    if (!is_ours(out)) return syscall(SYS_sendfile, out, in, offset, bytes);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int out, int in, off_t *offset, size_t bytes) { return sendfile64(out, in, offset, bytes); }

/* Changes through memory are not seen, so that they must not happen (shared memory of SQLite aside, which is not kept
 * over a power cut). */
void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off64_t offset) {
    if (is_ours(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) {
        pthread_mutex_lock(&lock);
        put(UNKNOWN, fd, 0, "a file that is written through memory", NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}
void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    return mmap64(at, bytes, protection, flags, fd, offset);
}
