/*
 * What goes wrong, and when: rules that the control file sets, and counts of what was asked for.
 *
 * One line of the control file, one command:
 *
 *   rule op=OP [path=PART] [skip=N] [count=N] [errno=N] [short=BYTES] [delay=MS] [jitter=MS] [lie=1] [hold=1]
 *   clear
 *   mark TEXT
 *
 * A rule applies to operations of its kind on paths that contain PART, after SKIP of them, to COUNT of them (default:
 * all). `short` writes or reads so many bytes at most, and with `errno` fails after that. `delay` and up to `jitter`
 * milliseconds pass before the operation. `lie` reports success without doing anything. `hold` keeps the operation
 * until the rules are cleared. `mark` goes to the device log (see device_log.h).
 */
#ifndef TIDEMARK_FAULTFS_RULES_H
#define TIDEMARK_FAULTFS_RULES_H

#include <stddef.h>

enum operation {
  OP_WRITE, OP_READ, OP_FSYNC, OP_FSYNCDIR, OP_OPEN, OP_CREATE, OP_RENAME, OP_UNLINK, OP_FALLOCATE, OP_TRUNCATE,
  OPERATIONS
};

/** What is to become of one operation. */
struct fate {
  /** 0, or the error to answer. */
  int error;
  /** At most so many bytes; -1: all. */
  long bytes_max;
  /** Report success, do nothing. */
  int lie;
};

/** Counts the operation, waits as long as the rules say, and answers its fate. `path` is NULL for an open file that was removed. */
struct fate rules_consult(enum operation operation, const char *path);

/** Runs the commands of a text, each ending with a newline. Answers 0, or EINVAL for one that it does not know. */
int rules_command(char *text);

/** Writes what was counted into a text: a line per operation, and a line per rule with the number of its hits. */
size_t rules_report(char *text, size_t size);

#endif
