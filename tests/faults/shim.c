/* A disk and a clock that misbehave on order: preloaded into the program, it stands between it and
 * the C library. Whatever changes a file below FAULTS_ROOT, be it Python's or SQLite's doing, is
 * counted; from one count to another it fails, or kills the process before it is done. How is said
 * in a page of memory that is shared with whoever gives the orders (FAULTS_CONTROL, see `shim.py`),
 * so that they can be given at any moment.
 *
 * A power cut is a kill after which nothing is there that was not synced: files are as long as they
 * were when they were last synced, and names that no sync of their folder has made lasting are gone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { KILL = -1, POWER_CUT = -2, STOP = -3, KILL_AFTER = -4 }; /* any other is an errno */
enum { MOST_FILES = 65536, MOST_NAMES = 8192 };

struct control {
    uint64_t count; /* changes so far */
    uint64_t from, until; /* those that fail: from <= count < until */
    uint64_t hits;
    int64_t clock_ns; /* by how much the wall clock is wrong */
    int64_t order;
    int64_t lasts_ns; /* all is well again so long after the first that failed; 0: never */
    int64_t heals_ns; /* when that is, by the monotonic clock */
};

struct name { /* of a file that was changed since a sync, or that no sync of its folder has named */
    char path[PATH_MAX / 4];
    ino_t inode;
    off_t synced;
    unsigned char grown, named; /* has unsynced bytes; its name is lasting */
    unsigned char folder, used;
};

static struct control *control;
static char root[PATH_MAX];
static size_t root_length;
static unsigned char watched[MOST_FILES]; /* by descriptor */
static struct name *names;
static int named;
static __thread int dies; /* once the change is done */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *symbol) { return dlsym(RTLD_NEXT, symbol); }

#define REAL(type, symbol, ...)                                                                    \
    static type (*next)(__VA_ARGS__);                                                              \
    if (!next)                                                                                     \
    next = (type(*)(__VA_ARGS__))real(symbol)

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("FAULTS_CONTROL"), *under = getenv("FAULTS_ROOT");
    if (!where || !under || !realpath(under, root))
        return;
    int (*opening)(const char *, int, ...) = (int (*)(const char *, int, ...))real("open");
    int descriptor = opening(where, O_RDWR);
    if (descriptor < 0)
        return;
    void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (page == MAP_FAILED)
        return;
    names = calloc(MOST_NAMES, sizeof *names);
    root_length = strlen(root);
    control = page;
}

static int below_root(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Write the path of what lies at `path` into `whole`; say whether it is below the root. */
static int is_ours(const char *path, char *whole) {
    if (!control || !path)
        return 0;
    if (path[0] == '/') {
        if (snprintf(whole, PATH_MAX, "%s", path) >= PATH_MAX)
            return 0;
    } else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here) ||
            (size_t)snprintf(whole, PATH_MAX, "%s/%s", here, path) >= PATH_MAX)
            return 0;
    }
    return below_root(whole);
}

static int is_watched(int descriptor) {
    return control && descriptor >= 0 && descriptor < MOST_FILES && watched[descriptor];
}

static struct name *known(const char *path) {
    for (int index = 0; index < named; index++)
        if (names[index].used && !strcmp(names[index].path, path))
            return &names[index];
    return NULL;
}

static struct name *noted(const char *path, const struct stat *status) {
    struct name *found = known(path);
    if (found)
        return found;
    for (int index = 0; index < named && !found; index++)
        if (!names[index].used)
            found = &names[index];
    if (!found && named < MOST_NAMES)
        found = &names[named++];
    if (!found || strlen(path) >= sizeof found->path)
        return NULL;
    memset(found, 0, sizeof *found);
    strcpy(found->path, path);
    found->used = 1;
    found->named = 1;
    found->inode = status ? status->st_ino : 0;
    found->synced = status ? status->st_size : 0;
    return found;
}

/* Forget what a power cut would leave as it is. */
static void settle(struct name *one) {
    if (one->named && !one->grown)
        one->used = 0;
    while (named && !names[named - 1].used)
        named--;
}

static struct name *of_descriptor(int descriptor, struct stat *status) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fstat(descriptor, status))
        return NULL;
    path[length] = 0;
    return noted(path, status);
}

/* The index of a write-ahead log is shared memory: another thread that reads it while it gets
 * shorter is to wait for the end, not to die by itself. */
static void wait_for_the_end(int number) {
    (void)number;
    for (;;)
        pause();
}

static void cut_power(void) {
    signal(SIGBUS, wait_for_the_end);
    for (int index = named - 1; index >= 0; index--) {
        struct name *one = &names[index];
        if (!one->used)
            continue;
        if (!one->named) {
            if (one->folder)
                rmdir(one->path); /* one with something lasting in it stays, as in practice */
            else
                unlinkat(AT_FDCWD, one->path, 0); /* not ours, which takes the lock */
        } else if (one->grown) {
            struct stat status;
            int ignored = lstat(one->path, &status) || status.st_size <= one->synced
                              ? 0
                              : truncate(one->path, one->synced);
            (void)ignored;
        }
    }
}

/* Count a change, and return the errno with which it is to fail; 0 to go on. Takes the lock. */
static int due(int needs_room) {
    uint64_t now = __atomic_fetch_add(&control->count, 1, __ATOMIC_SEQ_CST);
    dies = 0;
    if (now < control->from || now >= control->until)
        return 0;
    int64_t order = control->order;
    if (order == ENOSPC && !needs_room)
        return 0;
    if (control->lasts_ns) {
        struct timespec clock;
        clock_gettime(CLOCK_MONOTONIC, &clock);
        int64_t at_ns = (int64_t)clock.tv_sec * 1000000000 + clock.tv_nsec;
        if (!control->heals_ns)
            control->heals_ns = at_ns + control->lasts_ns;
        if (at_ns > control->heals_ns)
            return 0;
    }
    __atomic_fetch_add(&control->hits, 1, __ATOMIC_SEQ_CST);
    if (order == STOP) {
        raise(SIGSTOP);
        return 0;
    }
    if (order == KILL_AFTER) {
        dies = 1;
        return 0;
    }
    if (order < 0) {
        pthread_mutex_lock(&lock);
        if (order == POWER_CUT) {
            control->until = 0; /* what undoes the rest is not to be undone */
            cut_power();
        }
        kill(getpid(), SIGKILL);
        pause();
    }
    return (int)order;
}

#define FAIL_IF_DUE(needs_room)                                                                    \
    do {                                                                                           \
        int failed = due(needs_room);                                                              \
        if (failed) {                                                                              \
            errno = failed;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

/* --- names ------------------------------------------------------------------------------------ */

static int opened(int (*next)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!is_ours(path, whole))
        return next(path, flags, mode);
    struct stat status;
    int new = (flags & O_CREAT) && lstat(whole, &status);
    if (new || (flags & O_TRUNC))
        FAIL_IF_DUE(new);
    else if ((flags & O_ACCMODE) != O_RDONLY && control->order != ENOSPC &&
             control->count >= control->from && control->count < control->until &&
             control->order > 0)
        FAIL_IF_DUE(0);
    int descriptor = next(path, flags, mode);
    if (descriptor < 0 || descriptor >= MOST_FILES)
        return descriptor;
    watched[descriptor] = 1;
    if (new) {
        pthread_mutex_lock(&lock);
        struct name *made = fstat(descriptor, &status) ? NULL : noted(whole, &status);
        if (made)
            made->named = 0, made->synced = 0;
        pthread_mutex_unlock(&lock);
    }
    return descriptor;
}

#define OPENING(symbol)                                                                            \
    int symbol(const char *path, int flags, ...) {                                                 \
        static int (*next)(const char *, int, ...);                                                \
        if (!next)                                                                                 \
            next = (int (*)(const char *, int, ...))real(#symbol);                                 \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                  \
        va_end(rest);                                                                              \
        return opened(next, path, flags, mode);                                                    \
    }
OPENING(open)
OPENING(open64)

int close(int descriptor) {
    REAL(int, "close", int);
    if (descriptor >= 0 && descriptor < MOST_FILES)
        watched[descriptor] = 0;
    return next(descriptor);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    char source[PATH_MAX], target[PATH_MAX];
    if (!is_ours(from, source) || !is_ours(to, target))
        return next(from, to);
    FAIL_IF_DUE(1);
    struct stat status;
    int replaces = !lstat(target, &status);
    int done = next(from, to);
    pthread_mutex_lock(&lock);
    struct name *moved = done ? NULL : known(source), *over = done ? NULL : known(target);
    if (over && moved)
        over->used = 0;
    if (moved && strlen(target) < sizeof moved->path) {
        strcpy(moved->path, target);
        moved->named = replaces; /* the old or the new is there: either may be */
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    char whole[PATH_MAX];
    struct stat status;
    if (!is_ours(path, whole) || lstat(whole, &status))
        return next(path);
    FAIL_IF_DUE(0);
    int done = next(path);
    pthread_mutex_lock(&lock);
    struct name *gone = done ? NULL : known(whole);
    if (gone)
        gone->used = 0;
    pthread_mutex_unlock(&lock);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    char whole[PATH_MAX];
    struct stat status;
    if (!is_ours(path, whole) || !lstat(whole, &status))
        return next(path, mode);
    FAIL_IF_DUE(1);
    int done = next(path, mode);
    pthread_mutex_lock(&lock);
    struct name *made = done ? NULL : noted(whole, NULL);
    if (made)
        made->named = 0, made->folder = 1;
    pthread_mutex_unlock(&lock);
    return done;
}

/* --- contents --------------------------------------------------------------------------------- */

static void changing(int descriptor) {
    struct stat status;
    pthread_mutex_lock(&lock);
    struct name *one = of_descriptor(descriptor, &status);
    if (one)
        one->grown = 1;
    pthread_mutex_unlock(&lock);
}

static void synced(int descriptor) {
    struct stat status;
    pthread_mutex_lock(&lock);
    struct name *one = of_descriptor(descriptor, &status);
    if (one && S_ISDIR(status.st_mode)) {
        size_t length = strlen(one->path);
        for (int index = 0; index < named; index++) {
            struct name *other = &names[index];
            if (other->used && !strncmp(other->path, one->path, length) &&
                other->path[length] == '/' && !strchr(other->path + length + 1, '/')) {
                other->named = 1;
                if (!other->grown)
                    other->used = 0;
            }
        }
    } else if (one) {
        one->grown = 0;
        one->synced = status.st_size;
    }
    if (one)
        settle(one);
    pthread_mutex_unlock(&lock);
}

#define WRITING(symbol, parameters, arguments, ...)                                                \
    ssize_t symbol parameters {                                                                    \
        REAL(ssize_t, #symbol, __VA_ARGS__);                                                       \
        if (is_watched(descriptor)) {                                                              \
            FAIL_IF_DUE(1);                                                                        \
            changing(descriptor);                                                                  \
        }                                                                                          \
        return next arguments;                                                                     \
    }
WRITING(write, (int descriptor, const void *data, size_t size), (descriptor, data, size), int,
        const void *, size_t)
WRITING(pwrite, (int descriptor, const void *data, size_t size, off_t at),
        (descriptor, data, size, at), int, const void *, size_t, off_t)
WRITING(pwrite64, (int descriptor, const void *data, size_t size, off64_t at),
        (descriptor, data, size, at), int, const void *, size_t, off64_t)
WRITING(writev, (int descriptor, const struct iovec *parts, int count), (descriptor, parts, count),
        int, const struct iovec *, int)

#define SYNCING(symbol)                                                                            \
    int symbol(int descriptor) {                                                                   \
        REAL(int, #symbol, int);                                                                   \
        if (!is_watched(descriptor))                                                               \
            return next(descriptor);                                                               \
        FAIL_IF_DUE(1);                                                                            \
        int done = next(descriptor);                                                               \
        if (!done)                                                                                 \
            synced(descriptor);                                                                    \
        if (dies)                                                                                  \
            kill(getpid(), SIGKILL);                                                               \
        return done;                                                                               \
    }
SYNCING(fsync)
SYNCING(fdatasync)

#define CUTTING(symbol, offset)                                                                    \
    int symbol(int descriptor, offset size) {                                                      \
        REAL(int, #symbol, int, offset);                                                           \
        if (is_watched(descriptor))                                                                \
            FAIL_IF_DUE(0);                                                                        \
        return next(descriptor, size);                                                             \
    }
CUTTING(ftruncate, off_t)
CUTTING(ftruncate64, off64_t)

/* --- the clock -------------------------------------------------------------------------------- */

int clock_gettime(clockid_t which, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int done = next(which, now);
    if (!done && which == CLOCK_REALTIME && control && control->clock_ns) {
        int64_t whole = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + control->clock_ns;
        now->tv_sec = whole / 1000000000;
        now->tv_nsec = whole % 1000000000;
    }
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(int, "gettimeofday", struct timeval *, void *);
    int done = next(now, zone);
    if (!done && control)
        now->tv_sec += control->clock_ns / 1000000000;
    return done;
}

time_t time(time_t *where) {
    REAL(time_t, "time", time_t *);
    time_t now = next(NULL) + (control ? control->clock_ns / 1000000000 : 0);
    if (where)
        *where = now;
    return now;
}
