/*
 * Everything that reaches one file, in order: writes with their data, discards, flushes, and marks of the test.
 *
 * The file is a disk image, so the log is what a disk saw. Its format is that of the kernel's dm-log-writes target
 * (Documentation/admin-guide/device-mapper/log-writes.rst): a superblock, then for each entry a sector that describes
 * it and the sectors of its data. All numbers are little-endian.
 */
#ifndef TIDEMARK_FAULTFS_DEVICE_LOG_H
#define TIDEMARK_FAULTFS_DEVICE_LOG_H

#include <stddef.h>
#include <stdint.h>

/** Opens the log for the file of that name, in the root of the filesystem. Answers 0 or an errno. */
int device_log_open(const char *log, const char *image_name);

/** True for the path of the file whose writes are logged. */
int device_log_covers(const char *path);

void device_log_write(uint64_t offset, const void *data, size_t bytes);
/** From here on the range reads as zeros. */
void device_log_discard(uint64_t offset, uint64_t bytes);
/** What was written before is stable when this is in the log. */
void device_log_flush(void);
void device_log_mark(const char *text);

#endif
