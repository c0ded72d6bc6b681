#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

int linux_pipe(int descriptors[2], int capacity) {
    if (pipe2(descriptors, O_CLOEXEC) != 0) {
        return -1;
    }
    // Refused above /proc/sys/fs/pipe-max-size for an unprivileged user: slower then, not wrong.
    int saved = errno;
    (void)fcntl(descriptors[1], F_SETPIPE_SZ, capacity);
    errno = saved;
    return 0;
}

int linux_memory_file(const char *name) {
    int descriptor = memfd_create(name, MFD_CLOEXEC);
    if (descriptor < 0) {
        return -1;
    }
    // libpq ignores a password file that others may read, and a memfd is born with mode 0777.
    if (fchmod(descriptor, 0600) != 0) {
        int saved = errno;
        close(descriptor);
        errno = saved;
        return -1;
    }
    return descriptor;
}

int linux_open(const char *path, int flags, unsigned int mode) {
    return open(path, flags, (mode_t)mode);
}

int linux_rename_exclusive(const char *from, const char *to) {
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 1u /* RENAME_NOREPLACE */);
}

int linux_open_at(int directory, const char *name, int flags, unsigned int mode) {
    return openat(directory, name, flags, (mode_t)mode);
}

int linux_rename_exclusive_at(int from_directory, const char *from, int to_directory, const char *to) {
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 1u /* RENAME_NOREPLACE */);
}

int linux_exchange_at(int a_directory, const char *a, int b_directory, const char *b) {
    return (int)syscall(SYS_renameat2, a_directory, a, b_directory, b, 2u /* RENAME_EXCHANGE */);
}

int64_t linux_list_attributes(int descriptor, char *names, size_t room) {
    return (int64_t)flistxattr(descriptor, names, room);
}

int64_t linux_get_attribute(int descriptor, const char *name, void *value, size_t room) {
    return (int64_t)fgetxattr(descriptor, name, value, room);
}

int linux_set_attribute(int descriptor, const char *name, const void *value, size_t count) {
    return fsetxattr(descriptor, name, value, count, 0);
}

int linux_remove_attribute(int descriptor, const char *name) { return fremovexattr(descriptor, name); }

int64_t linux_next_data(int descriptor, int64_t offset) { return (int64_t)lseek(descriptor, offset, SEEK_DATA); }

int64_t linux_next_hole(int descriptor, int64_t offset) { return (int64_t)lseek(descriptor, offset, SEEK_HOLE); }

int64_t linux_birth_time(const char *path) {
    struct statx facts;
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &facts) != 0 || !(facts.stx_mask & STATX_BTIME)) {
        return 0;
    }
    return (int64_t)facts.stx_btime.tv_sec * 1000000000 + facts.stx_btime.tv_nsec;
}

int linux_sync_file_system(int descriptor) { return syncfs(descriptor); }

int64_t linux_file_system_kind(int descriptor) {
    struct statfs facts;
    return fstatfs(descriptor, &facts) == 0 ? (int64_t)facts.f_type : -1;
}

void linux_start_writeback(int descriptor, int64_t offset, int64_t count) {
    int saved = errno;
    (void)sync_file_range(descriptor, offset, count, SYNC_FILE_RANGE_WRITE);
    errno = saved;
}


// A signal handler can reach nothing but what is static.
static int termination_pipe = -1;

static void on_termination(int number) {
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(termination_pipe, &byte, 1);
    (void)written;
    errno = saved;
}

int linux_watch_termination(void) {
    int descriptors[2];
    if (pipe2(descriptors, O_CLOEXEC) != 0) {
        return -1;
    }
    termination_pipe = descriptors[1];
    struct sigaction action = {.sa_handler = on_termination, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (sigaction(numbers[i], &action, NULL) != 0) {
            return -1;
        }
    }
    return descriptors[0];
}

void linux_enter_thread(const char *name, int yields) {
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
    if (!yields) {
        return;
    }
    // On Linux 0 means the calling thread alone, not the process. Children are not started from these threads.
    (void)setpriority(PRIO_PROCESS, 0, 10);
}

void linux_tune_allocator(void) {
    // Every thread that allocates otherwise gets an arena of its own, and what passes between threads would
    // fill each of them.
    mallopt(M_ARENA_MAX, 2);
    // Each frame is sealed into a mebibyte of its own that is let go at once. Given back to the system it would cost 256
    // page faults to have it again, or not, as it happens to lie.
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
}

// Between fork and exec. A descriptor that somebody has opened without close-on-exec would be the program's as well.
static void close_all_but_standard(void) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0) {
        return;
    }
#endif
    // Kernels before 5.9.
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1 << 16) {
        limit.rlim_cur = 1 << 16;
    }
    for (int descriptor = 3; descriptor < (int)limit.rlim_cur; descriptor++) {
        (void)close(descriptor);
    }
}

int linux_start_owned(
    const char *path, char *const arguments[], char *const environment[], const char *directory, int input, int output,
    int user, int group, int last_signal) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child != 0) {
        return (int)child;
    }
    // Only calls that are safe between fork and exec of a process with threads.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    // What a shell has us ignore, because it runs us behind it, would be ignored by the program as well.
    const int numbers[] = {SIGPIPE, SIGQUIT, SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        signal(numbers[i], SIG_DFL);
    }
    if (input < 0) {
        input = open("/dev/null", O_RDONLY);
    }
    if (setsid() < 0 || input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
        chdir(directory) != 0) {
        _exit(127);
    }
    close_all_but_standard();
    // A core would be the data in memory, on a disk.
    const struct rlimit no_core = {0, 0};
    if (setrlimit(RLIMIT_CORE, &no_core) != 0) {
        _exit(127);
    }
    // Straight to the kernel: the library's calls would first ask every thread of the parent to change as well, and
    // after a fork they are not there to answer.
    if (user >= 0 && (syscall(SYS_setgroups, 0, NULL) != 0 || syscall(SYS_setresgid, group, group, group) != 0 ||
                      syscall(SYS_setresuid, user, user, user) != 0)) {
        _exit(127);
    }
    // After the change of user, which clears it. The parent may have gone before.
    if (prctl(PR_SET_PDEATHSIG, last_signal, 0, 0, 0) != 0 || getppid() != parent) {
        _exit(127);
    }
    execve(path, arguments, environment);
    _exit(127);
}

void linux_exit_now(int status) { _exit(status); }

int linux_is_in_memory(const char *path) {
    struct statfs status;
    if (statfs(path, &status) != 0) return 0;
    return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}
