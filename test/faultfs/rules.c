#include "rules.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device_log.h"

enum { RULES_MAX = 32, PATH_PART_MAX = 256, UNLIMITED = -1 };

struct rule {
  enum operation operation;
  char path[PATH_PART_MAX];
  long skip, count, error, bytes_max, delay_ms, jitter_ms, lie, hold;
  long hits;
};

static const char *const names[OPERATIONS] = {
  "write", "read", "fsync", "fsyncdir", "open", "create", "rename", "unlink", "fallocate", "truncate",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cleared = PTHREAD_COND_INITIALIZER;
static struct rule rules[RULES_MAX];
static size_t rule_count;
static long counts[OPERATIONS];
/** Counts the times that rules were cleared: what is held waits for it to change. */
static unsigned long generation;

static int applies(struct rule *rule, enum operation operation, const char *path) {
  if (rule->operation != operation || strstr(path == NULL ? "" : path, rule->path) == NULL) return 0;
  if (rule->skip > 0) {
    rule->skip--;
    return 0;
  }
  if (rule->count == 0) return 0;
  if (rule->count > 0) rule->count--;
  rule->hits++;
  return 1;
}

struct fate rules_consult(enum operation operation, const char *path) {
  struct fate fate = {.error = 0, .bytes_max = -1, .lie = 0};
  long delay_ms = 0;
  pthread_mutex_lock(&lock);
  counts[operation]++;
  for (size_t i = 0; i < rule_count; i++) {
    struct rule *rule = &rules[i];
    if (!applies(rule, operation, path)) continue;
    if (rule->error != 0) fate.error = (int)rule->error;
    if (rule->bytes_max >= 0) fate.bytes_max = rule->bytes_max;
    if (rule->lie) fate.lie = 1;
    delay_ms += rule->delay_ms + (rule->jitter_ms > 0 ? rand() % (rule->jitter_ms + 1) : 0);
    if (!rule->hold) continue;
    const unsigned long held_since = generation;
    while (generation == held_since) pthread_cond_wait(&cleared, &lock);
    break;
  }
  pthread_mutex_unlock(&lock);
  if (delay_ms > 0) usleep((useconds_t)delay_ms * 1000);
  return fate;
}

static int parse_number(struct rule *rule, const char *key, const char *value) {
  const struct { const char *key; long *target; } fields[] = {
    {"skip", &rule->skip}, {"count", &rule->count}, {"errno", &rule->error}, {"short", &rule->bytes_max},
    {"delay", &rule->delay_ms}, {"jitter", &rule->jitter_ms}, {"lie", &rule->lie}, {"hold", &rule->hold},
  };
  char *end;
  const long number = strtol(value, &end, 10);
  if (*value == 0 || *end != 0 || number < 0) return EINVAL;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (strcmp(fields[i].key, key) != 0) continue;
    *fields[i].target = number;
    return 0;
  }
  return EINVAL;
}

static int parse_rule(char *words, struct rule *rule) {
  *rule = (struct rule){.operation = OPERATIONS, .count = UNLIMITED, .bytes_max = -1};
  char *state;
  for (char *word = strtok_r(words, " ", &state); word != NULL; word = strtok_r(NULL, " ", &state)) {
    char *value = strchr(word, '=');
    if (value == NULL) return EINVAL;
    *value++ = 0;
    if (strcmp(word, "op") == 0) {
      for (int i = 0; i < OPERATIONS; i++) if (strcmp(names[i], value) == 0) rule->operation = (enum operation)i;
    } else if (strcmp(word, "path") == 0) {
      if (strlen(value) >= sizeof rule->path) return EINVAL;
      strcpy(rule->path, value);
    } else if (parse_number(rule, word, value) != 0) {
      return EINVAL;
    }
  }
  return rule->operation == OPERATIONS ? EINVAL : 0;
}

static int add_rule(char *words) {
  struct rule rule;
  if (parse_rule(words, &rule) != 0 || rule_count == RULES_MAX) return EINVAL;
  rules[rule_count++] = rule;
  return 0;
}

static void clear(void) {
  rule_count = 0;
  memset(counts, 0, sizeof counts);
  generation++;
  pthread_cond_broadcast(&cleared);
}

int rules_command(char *text) {
  int result = 0;
  char *state;
  for (char *line = strtok_r(text, "\n", &state); line != NULL && result == 0; line = strtok_r(NULL, "\n", &state)) {
    if (strncmp(line, "mark ", 5) == 0) {
      device_log_mark(line + 5);
      continue;
    }
    pthread_mutex_lock(&lock);
    if (strcmp(line, "clear") == 0) clear();
    else result = strncmp(line, "rule ", 5) == 0 ? add_rule(line + 5) : EINVAL;
    pthread_mutex_unlock(&lock);
  }
  return result;
}

size_t rules_report(char *text, size_t size) {
  size_t length = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < OPERATIONS && length < size; i++) length += (size_t)snprintf(text + length, size - length, "%s %ld\n", names[i], counts[i]);
  for (size_t i = 0; i < rule_count && length < size; i++) length += (size_t)snprintf(text + length, size - length, "rule %zu %ld\n", i, rules[i].hits);
  pthread_mutex_unlock(&lock);
  return length < size ? length : size - 1;
}
