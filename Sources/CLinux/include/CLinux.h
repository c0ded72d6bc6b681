#ifndef LIFEBOAT_CLINUX_H
#define LIFEBOAT_CLINUX_H

#include <stddef.h>
#include <stdint.h>

// The Linux calls that Swift's Glibc module does not import: variadic ones, and those behind _GNU_SOURCE.
// Each returns what the call returns, with errno set.

/// pipe2(2) with O_CLOEXEC, its buffer then enlarged to `capacity` bytes where the kernel allows it.
int linux_pipe(int descriptors[2], int capacity);

/// memfd_create(2) with MFD_CLOEXEC, mode 0600: a file that exists in memory only.
int linux_memory_file(const char *name);

/// Whether statfs(2) says that `path` lies in memory (tmpfs or ramfs): 1 or 0, also where it fails.
int linux_is_in_memory(const char *path);

/// open(2) with a mode.
int linux_open(const char *path, int flags, unsigned int mode);

/// renameat2(2) with RENAME_NOREPLACE: fails with EEXIST where `to` exists.
int linux_rename_exclusive(const char *from, const char *to);

/// openat(2) with a mode.
int linux_open_at(int directory, const char *name, int flags, unsigned int mode);

/// renameat2(2) with RENAME_NOREPLACE, below open directories.
int linux_rename_exclusive_at(int from_directory, const char *from, int to_directory, const char *to);

/// renameat2(2) with RENAME_EXCHANGE: each of the two takes the other's name, in one step.
int linux_exchange_at(int a_directory, const char *a, int b_directory, const char *b);

/// flistxattr(2), fgetxattr(2), fsetxattr(2) and fremovexattr(2): the extended attributes of an open file.
int64_t linux_list_attributes(int descriptor, char *names, size_t room);
int64_t linux_get_attribute(int descriptor, const char *name, void *value, size_t room);
int linux_set_attribute(int descriptor, const char *name, const void *value, size_t count);
int linux_remove_attribute(int descriptor, const char *name);

/// lseek(2) with SEEK_DATA and SEEK_HOLE: where from `offset` on a sparse file has data, and where its next hole is.
int64_t linux_next_data(int descriptor, int64_t offset);
int64_t linux_next_hole(int descriptor, int64_t offset);

/// When a file was made (statx(2), `stx_btime`), in nanoseconds since 1970; 0 where the file system does not say.
int64_t linux_birth_time(const char *path);

/// syncfs(2): everything written to the file system that an open file is on.
int linux_sync_file_system(int descriptor);

/// The kind of file system (statfs(2), `f_type`) that an open file is on; -1 where it cannot be told.
int64_t linux_file_system_kind(int descriptor);

/// sync_file_range(2) with SYNC_FILE_RANGE_WRITE: asks the kernel to begin writing these bytes to the disk. A hint,
/// so its failure is not reported; fsync(2) is what counts.
void linux_start_writeback(int descriptor, int64_t offset, int64_t count);

/// Makes SIGTERM, SIGINT and SIGHUP write their number, one byte, to a pipe, and returns the pipe's read end. For once.
int linux_watch_termination(void);

/// Names the calling thread, for `top -H` (15 bytes are kept), and, where `yields` is not 0, lets others go before it:
/// where a server and its dump tool share the machine with us they are the slowest stage, and waiting for us would slow
/// all of it down.
void linux_enter_thread(const char *name, int yields);

/// Keeps the heap small although many threads allocate. The megabyte buffers are not its (Core's ChunkMemory).
void linux_tune_allocator(void);

/// Starts `path` as a process of a session of its own, with `input` (nothing where it is -1) as its standard input and
/// `output` as its standard output and error, and no other descriptor; as another user where `user` is not -1, in
/// `directory`; it writes no core. When the thread that calls this ends, the process is sent `last_signal`, whatever
/// ended the thread: call it from one that waits for the process.
/// Returns its id, or -1 with errno set. Where the program cannot be run it ends with status 127.
int linux_start_owned(
    const char *path, char *const arguments[], char *const environment[], const char *directory, int input, int output,
    int user, int group, int last_signal);

/// _exit(2).
void linux_exit_now(int status) __attribute__((noreturn));

#endif
