/*
 * faultfs: a directory, mounted elsewhere, in which operations fail, lie, are slow or wait as rules say (rules.h), and
 * in which everything that one file sees can be logged (device_log.h). With a disk image as that file, a loop device
 * and a filesystem on it, this is a disk whose power can be cut anywhere afterwards.
 *
 *   cc -O2 -Wall faultfs.c rules.c device_log.c -o faultfs $(pkg-config --cflags --libs fuse3) -lpthread
 *   faultfs [--remove-open] SOURCE MOUNTPOINT [LOG IMAGE_NAME]
 *
 * A file that is removed while it is open is renamed, and removed when it is closed, so that it can still be asked for its
 * size. With --remove-open it is removed at once.
 *
 * It stays in the foreground until it is unmounted or told to end. MOUNTPOINT/.control takes commands, and tells counts
 * when it is read. The kernel caches no names and no attributes, and writes go through at once.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "device_log.h"
#include "rules.h"

enum { CONTROL_BYTES_MAX = 64 * 1024, WRITE_BYTES_MAX = 1024 * 1024 };

static const char CONTROL[] = "/.control";
static int source = -1;
static int remove_open;

/* fh of an open file is its descriptor; the control file has none. */
enum { CONTROL_HANDLE = 0 };

static int is_control(const char *path) { return path != NULL && strcmp(path, CONTROL) == 0; }
/** A path of the mount as one that is relative to the source. */
static const char *below(const char *path) { return path[1] == 0 ? "." : path + 1; }
static int descriptor_of(const struct fuse_file_info *info) { return (int)info->fh; }
static int answer(int result) { return result < 0 ? -errno : 0; }

/* ---- names and attributes ---- */

static int op_getattr(const char *path, struct stat *stat, struct fuse_file_info *info) {
  if (is_control(path)) {
    *stat = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1};
    return 0;
  }
  if (info != NULL && info->fh != CONTROL_HANDLE) return answer(fstat(descriptor_of(info), stat));
  return answer(fstatat(source, below(path), stat, AT_SYMLINK_NOFOLLOW));
}

static int op_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *info, enum fuse_readdir_flags flags) {
  (void)offset, (void)info, (void)flags;
  const int descriptor = openat(source, below(path), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return -errno;
  DIR *directory = fdopendir(descriptor);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    const struct stat stat = {.st_ino = entry->d_ino, .st_mode = (mode_t)entry->d_type << 12};
    fill(buffer, entry->d_name, &stat, 0, 0);
  }
  closedir(directory);
  return 0;
}

static int op_mkdir(const char *path, mode_t mode) { return answer(mkdirat(source, below(path), mode)); }
static int op_rmdir(const char *path) { return answer(unlinkat(source, below(path), AT_REMOVEDIR)); }
static int op_symlink(const char *target, const char *path) { return answer(symlinkat(target, source, below(path))); }
static int op_link(const char *from, const char *to) { return answer(linkat(source, below(from), source, below(to), 0)); }

static int op_readlink(const char *path, char *buffer, size_t size) {
  const ssize_t length = readlinkat(source, below(path), buffer, size - 1);
  if (length < 0) return -errno;
  buffer[length] = 0;
  return 0;
}

static int op_unlink(const char *path) {
  const struct fate fate = rules_consult(OP_UNLINK, path);
  if (fate.error != 0) return -fate.error;
  return fate.lie ? 0 : answer(unlinkat(source, below(path), 0));
}

static int op_rename(const char *from, const char *to, unsigned flags) {
  const struct fate fate = rules_consult(OP_RENAME, from);
  if (fate.error != 0) return -fate.error;
  return fate.lie ? 0 : answer(renameat2(source, below(from), source, below(to), flags));
}

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *info) {
  (void)info;
  return answer(fchmodat(source, below(path), mode, 0));
}

static int op_chown(const char *path, uid_t user, gid_t group, struct fuse_file_info *info) {
  (void)info;
  return answer(fchownat(source, below(path), user, group, AT_SYMLINK_NOFOLLOW));
}

static int op_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *info) {
  (void)info;
  return answer(utimensat(source, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int op_statfs(const char *path, struct statvfs *status) {
  (void)path;
  return answer(fstatvfs(source, status));
}

/* ---- open files ---- */

/** The file behind is opened without what concerns only the mount: direct IO there is no direct IO here. */
static int open_behind(const char *path, int flags, mode_t mode, struct fuse_file_info *info) {
  const int descriptor = openat(source, below(path), flags & ~(O_DIRECT | O_NOFOLLOW | O_SYNC | O_DSYNC), mode);
  if (descriptor < 0) return -errno;
  info->fh = (uint64_t)descriptor;
  return 0;
}

static int op_open(const char *path, struct fuse_file_info *info) {
  if (is_control(path)) {
    info->fh = CONTROL_HANDLE;
    info->direct_io = 1;
    return 0;
  }
  const struct fate fate = rules_consult(OP_OPEN, path);
  return fate.error != 0 ? -fate.error : open_behind(path, info->flags, 0, info);
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *info) {
  const struct fate fate = rules_consult(OP_CREATE, path);
  return fate.error != 0 ? -fate.error : open_behind(path, info->flags | O_CREAT, mode, info);
}

static int op_release(const char *path, struct fuse_file_info *info) {
  (void)path;
  if (info->fh != CONTROL_HANDLE) close(descriptor_of(info));
  return 0;
}

static int read_control(char *buffer, size_t size, off_t offset) {
  char text[CONTROL_BYTES_MAX];
  const size_t length = rules_report(text, sizeof text);
  if ((size_t)offset >= length) return 0;
  const size_t bytes = length - (size_t)offset < size ? length - (size_t)offset : size;
  memcpy(buffer, text + offset, bytes);
  return (int)bytes;
}

static int write_control(const char *buffer, size_t size) {
  char text[CONTROL_BYTES_MAX + 1];
  if (size > CONTROL_BYTES_MAX) return -EFBIG;
  memcpy(text, buffer, size);
  text[size] = 0;
  const int error = rules_command(text);
  return error != 0 ? -error : (int)size;
}

static int op_read(const char *path, char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
  if (info->fh == CONTROL_HANDLE) return read_control(buffer, size, offset);
  const struct fate fate = rules_consult(OP_READ, path);
  if (fate.error != 0) return -fate.error;
  if (fate.bytes_max >= 0 && size > (size_t)fate.bytes_max) size = (size_t)fate.bytes_max;
  const ssize_t count = pread(descriptor_of(info), buffer, size, offset);
  return count < 0 ? -errno : (int)count;
}

static int op_write(const char *path, const char *buffer, size_t size, off_t offset, struct fuse_file_info *info) {
  if (info->fh == CONTROL_HANDLE) return write_control(buffer, size);
  const struct fate fate = rules_consult(OP_WRITE, path);
  if (fate.lie) return (int)size;
  if (fate.error != 0 && fate.bytes_max < 0) return -fate.error;
  if (fate.bytes_max >= 0 && size > (size_t)fate.bytes_max) size = (size_t)fate.bytes_max;
  const ssize_t count = size == 0 ? 0 : pwrite(descriptor_of(info), buffer, size, offset);
  if (count < 0) return -errno;
  if (device_log_covers(path)) device_log_write((uint64_t)offset, buffer, (size_t)count);
  return fate.error != 0 ? -fate.error : (int)count;
}

static int op_fsync(const char *path, int data_only, struct fuse_file_info *info) {
  const struct fate fate = rules_consult(OP_FSYNC, path);
  if (fate.error != 0) return -fate.error;
  if (fate.lie) return 0;
  if (device_log_covers(path)) {
    /* What counts is what the log says; the image itself need not reach any disk. */
    device_log_flush();
    return 0;
  }
  return answer(data_only ? fdatasync(descriptor_of(info)) : fsync(descriptor_of(info)));
}

static int op_fsyncdir(const char *path, int data_only, struct fuse_file_info *info) {
  (void)data_only, (void)info;
  if (path == NULL) return -ENOENT;
  const struct fate fate = rules_consult(OP_FSYNCDIR, path);
  if (fate.error != 0) return -fate.error;
  if (fate.lie) return 0;
  const int descriptor = openat(source, below(path), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return -errno;
  const int result = answer(fsync(descriptor));
  close(descriptor);
  return result;
}

static int op_truncate(const char *path, off_t bytes, struct fuse_file_info *info) {
  if (is_control(path)) return 0;
  const struct fate fate = rules_consult(OP_TRUNCATE, path);
  if (fate.error != 0) return -fate.error;
  if (info != NULL && info->fh != CONTROL_HANDLE) return answer(ftruncate(descriptor_of(info), bytes));
  const int descriptor = openat(source, below(path), O_WRONLY);
  if (descriptor < 0) return -errno;
  const int result = answer(ftruncate(descriptor, bytes));
  close(descriptor);
  return result;
}

static int op_fallocate(const char *path, int mode, off_t offset, off_t bytes, struct fuse_file_info *info) {
  const struct fate fate = rules_consult(OP_FALLOCATE, path);
  if (fate.error != 0) return -fate.error;
  if (fallocate(descriptor_of(info), mode, offset, bytes) != 0) return -errno;
  if (device_log_covers(path) && (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) device_log_discard((uint64_t)offset, (uint64_t)bytes);
  return 0;
}

static off_t op_lseek(const char *path, off_t offset, int whence, struct fuse_file_info *info) {
  (void)path;
  const off_t result = lseek(descriptor_of(info), offset, whence);
  return result < 0 ? -errno : result;
}

/* ---- extended attributes ---- */

static const char *source_path;

static int attribute_path(char *buffer, size_t size, const char *path) {
  return snprintf(buffer, size, "%s%s", source_path, path) < (int)size ? 0 : -ENAMETOOLONG;
}

static int op_setxattr(const char *path, const char *name, const char *value, size_t size, int flags) {
  char full[4096];
  const int error = attribute_path(full, sizeof full, path);
  return error != 0 ? error : answer(lsetxattr(full, name, value, size, flags));
}

static int op_getxattr(const char *path, const char *name, char *value, size_t size) {
  char full[4096];
  const int error = attribute_path(full, sizeof full, path);
  if (error != 0) return error;
  const ssize_t length = lgetxattr(full, name, value, size);
  return length < 0 ? -errno : (int)length;
}

/* ---- the filesystem ---- */

static void *op_init(struct fuse_conn_info *connection, struct fuse_config *config) {
  connection->max_write = WRITE_BYTES_MAX;
  config->use_ino = 1;
  config->hard_remove = remove_open;
  config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
  return NULL;
}

static const struct fuse_operations operations = {
  .init = op_init, .getattr = op_getattr, .readdir = op_readdir, .mkdir = op_mkdir, .rmdir = op_rmdir,
  .symlink = op_symlink, .link = op_link, .readlink = op_readlink, .unlink = op_unlink, .rename = op_rename,
  .chmod = op_chmod, .chown = op_chown, .utimens = op_utimens, .statfs = op_statfs,
  .open = op_open, .create = op_create, .release = op_release, .read = op_read, .write = op_write,
  .fsync = op_fsync, .fsyncdir = op_fsyncdir, .truncate = op_truncate, .fallocate = op_fallocate, .lseek = op_lseek,
  .setxattr = op_setxattr, .getxattr = op_getxattr,
};

int main(int count, char **words) {
  if (count > 1 && strcmp(words[1], "--remove-open") == 0) {
    remove_open = 1;
    words[1] = words[0];
    words++;
    count--;
  }
  if (count != 3 && count != 5) {
    fprintf(stderr, "usage: %s [--remove-open] SOURCE MOUNTPOINT [LOG IMAGE_NAME]\n", words[0]);
    return 2;
  }
  source_path = words[1];
  source = open(source_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (source < 0) {
    perror(source_path);
    return 1;
  }
  if (count == 5) {
    const int error = device_log_open(words[3], words[4]);
    if (error != 0) {
      fprintf(stderr, "%s: %s\n", words[3], strerror(error));
      return 1;
    }
  }
  umask(0);
  char *arguments[] = {words[0], "-f", words[2], NULL};
  return fuse_main(3, arguments, &operations, NULL);
}
