#include "device_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR_BYTES = 512, NAME_MAX_BYTES = 256 };
enum { FLAG_FLUSH = 1, FLAG_DISCARD = 4, FLAG_MARK = 8 };

static const uint64_t LOG_MAGIC = 0x6a736677736872ULL;

struct superblock {
  uint64_t magic, version, entries;
  uint32_t sector_bytes;
} __attribute__((packed));

struct entry {
  uint64_t sector, sectors, flags, data_bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_descriptor = -1;
static char image_path[NAME_MAX_BYTES];

int device_log_open(const char *log, const char *image_name) {
  if (snprintf(image_path, sizeof image_path, "/%s", image_name) >= (int)sizeof image_path) return ENAMETOOLONG;
  log_descriptor = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (log_descriptor < 0) return errno;
  /* The number of entries stays 0: who reads the log reads it to its end. */
  char sector[SECTOR_BYTES] = {0};
  const struct superblock super = {.magic = LOG_MAGIC, .version = 1, .entries = 0, .sector_bytes = SECTOR_BYTES};
  memcpy(sector, &super, sizeof super);
  return write(log_descriptor, sector, sizeof sector) == sizeof sector ? 0 : EIO;
}

int device_log_covers(const char *path) {
  return log_descriptor >= 0 && path != NULL && strcmp(path, image_path) == 0;
}

/** A log with a gap would prove nothing, so the filesystem ends with it. */
static void append(const struct entry *entry, const void *data, size_t bytes) {
  if (log_descriptor < 0) return;
  char head[SECTOR_BYTES] = {0};
  char padding[SECTOR_BYTES] = {0};
  memcpy(head, entry, sizeof *entry);
  const size_t padded = (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
  const struct iovec pieces[] = {
    {.iov_base = head, .iov_len = sizeof head},
    {.iov_base = (void *)data, .iov_len = bytes},
    {.iov_base = padding, .iov_len = padded - bytes},
  };
  pthread_mutex_lock(&lock);
  const ssize_t written = writev(log_descriptor, pieces, 3);
  pthread_mutex_unlock(&lock);
  if (written == (ssize_t)(sizeof head + padded)) return;
  perror("faultfs: the device log cannot be written");
  abort();
}

void device_log_write(uint64_t offset, const void *data, size_t bytes) {
  if (offset % SECTOR_BYTES != 0 || bytes % SECTOR_BYTES != 0) {
    fprintf(stderr, "faultfs: a disk is not written in parts of a sector: %zu bytes at %llu\n", bytes, (unsigned long long)offset);
    abort();
  }
  append(&(struct entry){.sector = offset / SECTOR_BYTES, .sectors = bytes / SECTOR_BYTES}, data, bytes);
}

void device_log_discard(uint64_t offset, uint64_t bytes) {
  append(&(struct entry){.sector = offset / SECTOR_BYTES, .sectors = bytes / SECTOR_BYTES, .flags = FLAG_DISCARD}, NULL, 0);
}

void device_log_flush(void) {
  append(&(struct entry){.flags = FLAG_FLUSH}, NULL, 0);
}

void device_log_mark(const char *text) {
  const size_t bytes = strlen(text);
  append(&(struct entry){.flags = FLAG_MARK, .data_bytes = bytes}, text, bytes);
}
